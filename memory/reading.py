"""What a lookup finds, and how neighbours become a value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engram_rl.memory.indexes.reranking import Neighbours
from engram_rl.memory.kernels import Kernel, weigh
from engram_rl.memory.keys.masked import KeyStore, rows_at
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.subsets import evidence


@dataclass(frozen=True)
class Found:
    """The neighbours of each query, nearest first, and the value they give together.

    Where a query has fewer than k neighbours the rest is `valid = False` with slot -1 and weight, distance and
    values 0; one without any has the value 0. With S references, k stands for `S * k`: the neighbours under the first
    combination, then those under the second, and so on.

    Attributes:
        value: Sum of the neighbours' values by weight. `[B, V]`
        slots: Where the neighbours are stored. `[B, k]` int64
        weights: Sum to 1 over the neighbours. `[B, k]`
        distances: Weighted squared distances over the modalities that were asked for. `[B, k]`
        valid: Whether there is a neighbour. `[B, k]` bool
        values: The neighbours' values; a leaf that collects a gradient if gradients are on. `[B, k, V]`
        keys: Likewise the vectors of their keys; None if gradients are off. `[B, k, D]`
        generation: Which entry a slot held when it was read; `same_entries` of the dictionary compares it. `[B, k]`
        evidence: What share of the value each combination gave; None without references. `[B, S]`
    """

    value: Tensor
    slots: Tensor
    weights: Tensor
    distances: Tensor
    valid: Tensor
    values: Tensor
    keys: Tensor | None
    generation: Tensor
    evidence: Tensor | None = None


def read(
    store: KeyStore,
    values: Tensor,
    generation: Tensor,
    kernel: Kernel,
    query: Keys,
    near: Neighbours,
    combinations: int = 1,
) -> Found:
    """`o = sum_i w_i v_i` with `w_i = k(h, h_i) / sum_j k(h, h_j)`: Pritzel et al. 2017, equations 1 and 2.

    Args:
        store: Holds the keys.
        values: Of all slots. `[N, V]`
        generation: Of all slots. `[N]`
        kernel: Distance to weight.
        query: For each of B queries one key, or S side by side, one per combination. `[B * S]` rows
        near: Their neighbours. `[B * S, k]`
        combinations: S.
    """
    each = near.slots.shape  # [B S, k]
    whole = (each[0] // combinations, combinations * each[1])  # [B, S k]
    slots, distances, valid = (t.reshape(whole) for t in near[:3])
    at, absent = (slots, None) if near.complete else (slots.clamp(min=0), ~valid.unsqueeze(2))
    own = _gathered(values, at, absent)  # [B, S k, V]
    keys = shares = None
    parts = torch.empty(0)
    if torch.is_grad_enabled():
        own.requires_grad_()
        keys = _gathered(store.vectors, at, absent).requires_grad_()
    if keys is not None and store.space.plain and near.complete and combinations == 1:
        distances = store.plain_distances(query.vectors, keys)
    elif torch.is_grad_enabled() or combinations > 1:
        parts, distances = _distances(store, query, at, keys, near.valid)
    similarity = kernel.log_similarity(distances).reshape(each)
    weights = weigh(similarity, None if near.complete else near.valid)  # [B S, k]
    if combinations > 1:
        shares = evidence(parts, query.present, store.penalties(), weights, combinations)  # [B, S]
        weights = weights * shares.reshape(-1, 1)
    weights = weights.reshape(whole)
    value = torch.bmm(weights.unsqueeze(1), own).squeeze(1)
    return Found(value, slots, weights, distances, valid, own, keys, rows_at(generation, at), shares)


def _gathered(buffer: Tensor, at: Tensor, absent: Tensor | None) -> Tensor:
    """A copy of the rows at slots, 0 where nothing is.  `[B, k, ...]`."""
    gathered = rows_at(buffer, at)
    return gathered if absent is None else gathered.masked_fill_(absent, 0)


def _distances(store: KeyStore, query: Keys, at: Tensor, keys: Tensor | None, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiable, by part `[B S, k, M]` and in all `[B, S k]`."""
    entries = store.gather(at)
    if keys is not None:
        entries = Keys(keys, entries.codes, entries.present)
    parts = store.part_distances(query, entries.reshape(*valid.shape)).masked_fill(~valid.unsqueeze(2), 0)
    return parts, store.weighted(parts, query).reshape(at.shape)
