"""Ways to break recall on purpose: if an agent does as well with one of these, it does not use what it recalls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engram_rl.agents.common.seeding import copied
from engram_rl.memory import DifferentiableNeuralDictionary


@dataclass(frozen=True)
class Neighbours:
    """Entries recalled for E situations, K each.

    Attributes:
        slots: Whose, -1 for none. `[E, K]`
        values: What is stored with them. `[E, K, V]`
        trust: How far they are believed, 0 to 1. `[E, K]`
    """

    slots: Tensor
    values: Tensor
    trust: Tensor


class Control:
    """Recall as it is."""

    def choose(self, slots: Tensor, memory: DifferentiableNeuralDictionary) -> Tensor:
        """Which entries are shown instead of these. `[E, K]` -> `[E, K]`."""
        return slots

    def alter(self, neighbours: Neighbours, memory: DifferentiableNeuralDictionary) -> Neighbours:
        """What is shown of them instead."""
        return neighbours

    def copied(self) -> Control:
        """Another for a player: what it draws changes nothing here."""
        return self

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class Empty(Control):
    """Nothing is ever recalled."""

    def choose(self, slots: Tensor, memory: DifferentiableNeuralDictionary) -> Tensor:
        """None. `[E, K]`."""
        return torch.full_like(slots, -1)


class Random(Control):
    """Any entries are recalled, as many as the right ones.

    Args:
        generator: Draws them.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def choose(self, slots: Tensor, memory: DifferentiableNeuralDictionary) -> Tensor:
        """Uniform over the memory. `[E, K]`."""
        return torch.where(slots >= 0, self._drawn(slots, memory), -1)

    def alter(self, neighbours: Neighbours, memory: DifferentiableNeuralDictionary) -> Neighbours:
        """All are trusted: how far could tell which of them are right."""
        return replace(neighbours, trust=(neighbours.slots >= 0).float())

    def copied(self) -> Random:
        """One that will draw the same."""
        return Random(copied(self._generator))

    def state_dict(self) -> dict[str, Any]:
        """The generator's state."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._generator.set_state(state["generator"])

    def _drawn(self, slots: Tensor, memory: DifferentiableNeuralDictionary) -> Tensor:
        every = memory.slots
        if not len(every):
            return torch.full_like(slots, -1)
        return every[torch.randint(len(every), slots.shape, generator=self._generator)]


class Shuffled(Random):
    """The right entries are recalled, but each tells what came of another.

    Args:
        generator: Draws the others.
        outcome: Columns of a value that tell what came of it.
    """

    def __init__(self, generator: torch.Generator, outcome: int) -> None:
        super().__init__(generator)
        self._outcome = outcome

    def copied(self) -> Shuffled:
        """One that will draw the same."""
        return Shuffled(copied(self._generator), self._outcome)

    def choose(self, slots: Tensor, memory: DifferentiableNeuralDictionary) -> Tensor:
        """The right ones. `[E, K]`."""
        return slots

    def alter(self, neighbours: Neighbours, memory: DifferentiableNeuralDictionary) -> Neighbours:
        """The first columns of their values are those of any entries."""
        if not len(memory):
            return neighbours
        others = memory.values[self._drawn(neighbours.slots, memory)]  # [E, K, V]
        own = neighbours.values[..., self._outcome :]
        return replace(neighbours, values=torch.cat([others[..., : self._outcome], own], dim=2))
