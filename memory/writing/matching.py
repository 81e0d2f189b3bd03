"""Which entry a row to be written stands for: by identity, or by lying close to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engram_rl.memory.indexes.reranking import nearest
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.writing.batch import Batch

if TYPE_CHECKING:
    from engram_rl.memory.dictionary import DifferentiableNeuralDictionary

AT_ONCE = 128
"""Rows that are compared with each other."""


def matched(memory: DifferentiableNeuralDictionary, batch: Batch) -> tuple[Batch, Tensor]:
    """The first rows, up to one that might stand for the same entry as an earlier row; and their slots, -1 if new."""
    if not memory.write_rule.matches:
        batch = batch[: batch.distinct()]
        return batch, torch.full((len(batch),), -1, device=memory.device)
    within = memory.match_within
    if within is None:
        batch = batch[: batch.distinct()]
        return batch, _named(memory, batch)
    batch = batch[: min(AT_ONCE, batch.distinct())]
    known = torch.maximum(_named(memory, batch), _close(memory, batch, within))
    rows = _first_repeat(memory, batch, known, within)
    return batch[:rows], known[:rows]


def _named(memory: DifferentiableNeuralDictionary, batch: Batch) -> Tensor:
    return torch.from_numpy(memory.identities.find(batch.identity)).to(memory.device)


def _close(memory: DifferentiableNeuralDictionary, batch: Batch, within: float) -> Tensor:
    """The slot of the nearest entry where it has the same modalities and is near enough; only for unnamed rows."""
    near = nearest(memory.store, memory.index, batch.keys, 1, memory.slot_table)
    slots = near.slots.squeeze(1)
    alike = (memory.store.present[slots.clamp(min=0)] == batch.keys.present).all(1)
    match = near.valid.squeeze(1) & (near.distances.squeeze(1) <= within) & alike
    return torch.where(match & ~batch.named.to(memory.device), slots, -1)


def _first_repeat(memory: DifferentiableNeuralDictionary, batch: Batch, known: Tensor, within: float) -> int:
    """The first row that an earlier one, once written, might attract."""
    B = len(batch)
    every = Keys(*(part.expand(B, *part.shape) for part in (batch.keys.vectors, batch.keys.codes, batch.keys.present)))
    near = memory.store.distances(batch.keys, every) <= within  # [B, B]
    same = (known.unsqueeze(1) == known) & (known >= 0)
    repeats = (near | same).tril(-1).any(1).nonzero().squeeze(1)
    return int(repeats[0]) if len(repeats) else B
