"""Choosing among actions by their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.schedules import Schedule


class EpsilonGreedy:
    """The action of the highest value, any of them where several are; with probability epsilon, any action at all.

    Given how often each action was tried in this very situation, `bonus / sqrt(tries)` is added to the values, and of
    equals those are taken that were tried least, so that a world without reward is searched rather than wandered.

    Args:
        epsilon: By environment step.
        generator: Draws; its state belongs to `state_dict`.
        bonus: In units of the values, for an action that was tried once; twice that for one that never was.
    """

    def __init__(self, epsilon: Schedule, generator: torch.Generator, bonus: float = 0.0):
        if not bonus >= 0:
            raise ValueError(f"bonus is {bonus}; it must not be negative")
        self._epsilon, self._generator, self._bonus = epsilon, generator, bonus

    def __call__(self, q: Tensor, step: int, tries: Tensor | None = None) -> Tensor:
        """Actions for values `[E, A]` and tries `[E, A]`.  `[E]`."""
        draws = torch.rand(q.shape, generator=self._generator)  # [E, A], settles ties
        random = torch.rand(len(q), generator=self._generator) < self.epsilon(step)
        if tries is not None:
            q = q + self._bonus * torch.where(tries > 0, tries.clamp(min=1).rsqrt(), 2.0)
        candidates = random.unsqueeze(1) | (q == q.max(dim=1, keepdim=True).values)
        if tries is not None:
            least = tries.masked_fill(~candidates, torch.inf).min(dim=1, keepdim=True).values
            candidates &= tries == least
        return draws.masked_fill(~candidates, -1).argmax(dim=1)

    def epsilon(self, step: int) -> float:
        """The share of random actions at `step`."""
        return self._epsilon(step)

    def state_dict(self) -> dict[str, Any]:
        """The generator's state."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the generator."""
        self._generator.set_state(state["generator"])


class Tries:
    """How often each action was tried in each situation, counted in a table of hashes.

    Two situations that share a cell share a count: with the default size, one in a thousand once a thousand times as
    many cells as that are in use.

    Args:
        actions: A.
        cells: A power of two.
    """

    def __init__(self, actions: int, cells: int = 2**20):
        self._counts = np.zeros((cells, actions), dtype=np.int32)

    def add(self, identity: np.ndarray, action: np.ndarray) -> None:
        """Count one try each.  `[E]`, `[E]`."""
        np.add.at(self._counts, (self._cells(identity), action), 1)

    def of(self, identity: np.ndarray) -> Tensor:
        """Tries of every action.  `[E]` -> `[E, A]` float32."""
        return torch.from_numpy(self._counts[self._cells(identity)].astype(np.float32))

    def state_dict(self) -> dict[str, Any]:
        """The counts that are not 0, and where."""
        at = np.flatnonzero(self._counts)
        return {"at": at, "counts": self._counts.reshape(-1)[at]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the counts."""
        self._counts[:] = 0
        self._counts.reshape(-1)[state["at"]] = state["counts"]

    def _cells(self, identity: np.ndarray) -> np.ndarray:
        return identity & (len(self._counts) - 1)
