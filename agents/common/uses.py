"""Which entries were looked up elsewhere, so that they count as used where they are forgotten by use."""

from __future__ import annotations

import torch
from torch import Tensor

from engram_rl.memory.sharded import AnyMemory


def names_of(memory: AnyMemory, slots: Tensor) -> Tensor:
    """What entries are called for good: their slots and which entry of its slot each is.  `[...]` -> `[n, 2]`.

    Slots of -1, which are nobody's, are left out.
    """
    at = slots[slots >= 0]
    return torch.stack([at, memory.generation[at].to(at.dtype)], dim=1).cpu()


def use(memory: AnyMemory, names: Tensor) -> Tensor:
    """Count these entries as looked up, but those that were forgotten since; their slots.  `[n, 2]` -> `[m]`."""
    if not len(names):
        return names.new_empty(0).to(memory.device)
    slots, generation = names.to(memory.device).unbind(1)
    there = slots < memory.capacity
    there &= memory.generation[slots.clamp(max=memory.capacity - 1)] == generation
    memory.touch(slots[there])
    return slots[there]
