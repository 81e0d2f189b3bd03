"""Writing a batch as if row after row, in pieces as large as that allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engram_rl.memory.writing.batch import Batch
from engram_rl.memory.writing.matching import matched

if TYPE_CHECKING:
    from engram_rl.memory.dictionary import DifferentiableNeuralDictionary


def store(memory: DifferentiableNeuralDictionary, batch: Batch) -> Tensor:
    """The slot of each row.  `[B]`."""
    slots = [torch.empty(0, dtype=torch.int64, device=memory.device)]
    size = len(batch)
    while len(batch):
        slots.append(_store_first(memory, batch[: min(size, memory.capacity)]))
        size = 2 * len(slots[-1])  # rows that depend on each other come in runs
        batch = batch[len(slots[-1]) :]
    return torch.cat(slots)


def _store_first(memory: DifferentiableNeuralDictionary, batch: Batch) -> Tensor:
    """Store rows up to the first that depends on an earlier one."""
    batch, known = matched(memory, batch)
    new = known < 0
    slots, victims = memory.slot_table.room(int(new.sum()), memory.forgetting)
    if len(batch) > 1 and _entangled(memory, batch, known, victims):
        return _store_first(memory, batch[: len(batch) // 2])
    stored = known.clone()
    stored[new] = slots
    old = stored[~new]
    memory.values[old] = memory.write_rule.combine(memory.values[old], batch.values[~new])
    memory.values[slots] = batch.values[new]
    memory.slot_table.take(slots, victims)
    memory.usage.forget(slots)
    memory.identities.set(slots.cpu().numpy(), batch.identity[new.cpu().numpy()])
    memory.store.put(stored, batch.keys)
    memory.index.written(stored)
    memory.forgetting.written(stored, new, batch.priority)
    return stored


def _entangled(memory: DifferentiableNeuralDictionary, batch: Batch, known: Tensor, victims: Tensor) -> bool:
    """Whether storing one row might change which entry makes room for another."""
    if not len(victims):
        return False
    if memory.forgetting.lowest_birth(batch.priority) <= memory.forgetting.score[victims[-1]]:
        return True
    return bool((known >= 0).any() and torch.isin(victims, known).any())
