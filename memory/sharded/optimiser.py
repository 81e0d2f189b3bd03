"""Gradient steps on rows that lie in shards: each shard has an optimiser of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from engram_rl.memory.checks import limited
from engram_rl.memory.learning import LARGEST_GRADIENT, RowRMSprop, RowSGD, too_steep
from engram_rl.memory.reading import Found
from engram_rl.memory.sharded.memory import ShardedMemory


class ShardedOptimiser:
    """What `RowSGD` and `RowRMSprop` are to one memory.

        optimiser = ShardedOptimiser(memory, RowRMSprop, lr=1e-4)
        loss(memory.lookup(query).value).backward()
        optimiser.step(found)

    Args:
        memory: Whose entries move.
        kind: Of the optimiser that each shard has.
        arguments: Its own.
    """

    def __init__(self, memory: ShardedMemory, kind: Callable[..., RowSGD] = RowRMSprop, **arguments: Any) -> None:
        self.memory = memory
        self._number, self._like = memory.optimised_by(partial(kind, **arguments))

    def step(self, *found: Found) -> None:
        """Move keys and values of what was found; gradients are used up by that.

        Raises:
            RuntimeError: A lookup ran without gradients, or no backward pass has reached what has a step size above 0.
            ValueError: A gradient is NaN, infinite or too large: nothing has been changed then; or leads where no key
                or value may be: then that shard has not changed.
        """
        found, leaves = self._like._gradients_of(found)
        if not found:
            return
        keys, values = (torch.cat([part.flatten(0, 1) for part in parts]) for parts in zip(*leaves, strict=True))
        if not (limited(keys, LARGEST_GRADIENT) and limited(values, LARGEST_GRADIENT)):
            raise too_steep()
        slots = torch.cat([one.slots.flatten() for one in found])
        generation = torch.cat([one.generation.flatten() for one in found])
        self.memory.stepped(self._number, slots, generation, keys, values)
        for one in found:
            one.keys.grad = one.values.grad = None  # type: ignore[union-attr]

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what shards remember of their rows is in the state of the memory."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is nothing to restore."""
