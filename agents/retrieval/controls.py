"""Ways to break retrieval on purpose: if an agent does as well with one of these, it does not use what it retrieves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.agents.common.seeding import copied, generator_for
from engram_rl.memory.sharded import AnyMemory


class Control:
    """Retrieval as it is; what breaks it says otherwise in `choose`, `alter` or both."""

    def choose(self, slots: Tensor, memory: AnyMemory) -> Tensor:
        """Which entries are retrieved instead of these, -1 for none. `[R, K]` -> `[R, K]`."""
        return slots

    def alter(self, slots: Tensor, values: Tensor, confidence: Tensor, memory: AnyMemory) -> tuple[Tensor, Tensor]:
        """What is said of them instead: values `[R, K, V]` and confidence `[R, K]` of slots `[R, K]`."""
        return values, confidence

    def copied(self) -> Control:
        """Another for a player: what it draws changes nothing here."""
        return self

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class Empty(Control):
    """Nothing is ever retrieved."""

    def choose(self, slots: Tensor, memory: AnyMemory) -> Tensor:
        """None. `[R, K]`."""
        return torch.full_like(slots, -1)


class Random(Control):
    """Any entries are retrieved, as many as the right ones.

    Args:
        generator: Draws them.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def choose(self, slots: Tensor, memory: AnyMemory) -> Tensor:
        """Uniform over the memory. `[R, K]`."""
        return torch.where(slots >= 0, self._drawn(slots, memory), -1)

    def alter(self, slots: Tensor, values: Tensor, confidence: Tensor, memory: AnyMemory) -> tuple[Tensor, Tensor]:
        """All are believed: how far could tell which of them are right."""
        return values, (slots >= 0).float()

    def copied(self) -> Random:
        """One that will draw the same."""
        return Random(copied(self._generator))

    def state_dict(self) -> dict[str, Any]:
        """The generator's state."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._generator.set_state(state["generator"])

    def _drawn(self, slots: Tensor, memory: AnyMemory) -> Tensor:
        every = memory.slots
        if not len(every):
            return torch.full_like(slots, -1)
        return every[torch.randint(len(every), slots.shape, generator=self._generator)]


class Shuffled(Random):
    """The right entries are retrieved, but each tells what came of another.

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

    def choose(self, slots: Tensor, memory: AnyMemory) -> Tensor:
        """The right ones. `[R, K]`."""
        return slots

    def alter(self, slots: Tensor, values: Tensor, confidence: Tensor, memory: AnyMemory) -> tuple[Tensor, Tensor]:
        """The first columns of their values are those of any entries."""
        if not len(memory):
            return values, confidence
        others = memory.values[self._drawn(slots, memory)]  # [R, K, V]
        return torch.cat([others[..., : self._outcome], values[..., self._outcome :]], dim=2), confidence


CONTROLS = ("none", "empty", "shuffled", "random", "last_site", "novelty")
"""What a YAML may name; "last_site" puts a register in the place of the memory (`last_site.py`), "novelty" leaves
retrieval out, so that only what the environment says is new is left."""


def make_control(name: str, seed: int, outcome: int) -> Control | None:
    """The control of that name; None for none.

    Args:
        name: One of `CONTROLS`.
        seed: Of what it draws.
        outcome: Columns of a value that tell what came of an entry.
    """
    generator = generator_for(seed, "control")
    made = {"empty": Empty(), "shuffled": Shuffled(generator, outcome), "random": Random(generator)}
    return made.get(name)
