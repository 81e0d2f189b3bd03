"""Lookups in several memories of one kind: what `lookup` gives of each, computed together where that is the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.indexes.exact import Neighbours, nearest
from engram_rl.memory.keys.plain import PlainStore
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.modes import in_own_mode
from engram_rl.memory.reading import Found, log_similarity, note_each, slots_found, weigh
from engram_rl.memory.waiting import AT_HAND
from engram_rl.memory.writing.batch import checked_slots


@in_own_mode
def lookup_in_each(
    memories: Sequence[DifferentiableNeuralDictionary],
    queries: Sequence[Tensor],
    touch: bool = True,
    exclude: Sequence[Tensor] | None = None,
) -> list[Found]:
    """What `lookup` gives of one memory after the other, computed together as far as no memory matters.

    Where keys are one vector, that is all but the searches; a query that finds fewer than k has its memory asked alone
    if gradients are on.

    Args:
        memories: Distinct ones of the same key, k and kernel.
        queries: Those of each memory. `[B, D]`s
        touch: As for `lookup`.
        exclude: Slots that the queries of each must not find, -1 for none. `[B]`s
    """
    hidden: list[Tensor | None] = [None] * len(memories) if exclude is None else list(exclude)
    first, rows = memories[0], [query.shape[0] for query in queries]
    together = all(isinstance(one.store, PlainStore) and one.device.type in AT_HAND for one in memories) and all(rows)
    if not together or (torch.is_grad_enabled() and any(len(one) <= one.k for one in memories)):
        parts = zip(memories, queries, hidden, strict=True)
        return [memory.lookup(query, touch=touch, exclude=slots) for memory, query, slots in parts]
    asked = first.store.pack(torch.cat(list(queries)))  # [R, D]
    near = [
        nearest(one.store, one.index, query, one.k, one.slot_table, slots)
        for one, query, slots in zip(memories, asked.split(rows), _hidden_in(memories, hidden, rows), strict=True)
    ]
    found = read_in_each(memories, asked, near)
    if touch:
        note_each([one.usage for one in memories], found, [one.complete for one in near])
        for memory, mine, neighbours in zip(memories, found, near, strict=True):
            slots = mine.slots.reshape(-1) if neighbours.complete else slots_found(mine, neighbours.nobody)
            memory.forgetting.retrieved(slots)
    return found


def _hidden_in(
    memories: Sequence[DifferentiableNeuralDictionary], hidden: list[Tensor | None], rows: list[int]
) -> list[Tensor | None]:
    return [
        None if slots is None else checked_slots(slots, n, memory.device, memory.generation)
        for memory, slots, n in zip(memories, hidden, rows, strict=True)
    ]


def read_in_each(
    memories: Sequence[DifferentiableNeuralDictionary], asked: Keys, near: Sequence[Neighbours]
) -> list[Found]:
    """As `read`, of several memories whose keys are one vector; with gradients on, no query lacks a neighbour.

    Args:
        memories: A of them.
        asked: The queries of one memory after those of the other. `[R, D]`
        near: Their neighbours, by memory. `[B, k]`s
    """
    complete = all(one.complete for one in near)
    at = [one.slots if complete else one.slots.clamp(min=0) for one in near]
    parts = list(zip(memories, at, strict=True))
    values = [torch.embedding(memory.values, slots) for memory, slots in parts]  # [B, k, V]s
    keys: list[Tensor] | list[None] = [None] * len(parts)
    valid = None if complete else torch.cat([one.valid for one in near])  # [R, k]
    if valid is not None:
        values = [v.masked_fill(~one.valid.unsqueeze(2), 0) for v, one in zip(values, near, strict=True)]
    if torch.is_grad_enabled():
        keys = [torch.embedding(memory.store.vectors, slots) for memory, slots in parts]  # [B, k, D]s
        for leaf in (*values, *keys):
            leaf.requires_grad_()
        distances = memories[0].store.distances_at(asked, torch.cat(at), torch.cat(keys))
    else:
        distances = torch.cat([one.distances for one in near])  # [R, k]
    weights = weigh(log_similarity(memories[0].kernel, distances), valid)  # [R, k]
    value = torch.bmm(weights.unsqueeze(1), torch.cat(values)).squeeze(1)  # [R, V]
    rows = [slots.shape[0] for slots in at]
    of_each = zip(
        parts,
        near,
        values,
        keys,
        value.split_with_sizes(rows),
        weights.split_with_sizes(rows),
        distances.split_with_sizes(rows),
        strict=True,
    )
    return [
        Found(
            value=mine,
            slots=one.slots,
            weights=weight,
            distances=distance,
            valid=one.valid,
            values=stored,
            keys=key,
            generation=memory.generation.take(slots),
            source=id(memory.store),
        )
        for (memory, slots), one, stored, key, mine, weight, distance in of_each
    ]
