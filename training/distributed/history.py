"""What led environments to where they are: the seed each was last reset with, and its actions since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class History:
    """Seeds and actions of E environments that need not have taken the same number of steps.

    Args:
        actions: Of all environments, as an example of shape and type. `[E, ...]`
    """

    def __init__(self, actions: np.ndarray):
        self.seeds: list[int | None] = [None] * len(actions)
        self.counts = np.zeros(len(actions), dtype=np.int64)  # [E]
        self._actions = np.zeros((1024, *actions.shape), dtype=actions.dtype)  # [T, E, ...]

    @property
    def actions(self) -> np.ndarray:
        """`[T, E, ...]`; of each environment only the first `counts` mean something."""
        return self._actions[: self.counts.max(initial=0)]

    def begin(self, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        """These environments `[B]` were reset."""
        for row, seed in zip(rows, seeds, strict=True):
            self.seeds[row] = seed
            self.counts[row] = 0

    def add(self, rows: np.ndarray, actions: np.ndarray) -> None:
        """These environments were given these actions. `[B]`, `[B, ...]`."""
        if self.counts[rows].max() == len(self._actions):
            self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)])
        self._actions[self.counts[rows], rows] = actions
        self.counts[rows] += 1

    def last(self) -> np.ndarray:
        """The last action of each, an arbitrary one where it took none. `[E, ...]`."""
        return np.asarray(self._actions[np.maximum(self.counts - 1, 0), np.arange(len(self.counts))])

    def state_dict(self) -> dict[str, Any]:
        """Seeds, actions and how many of them count."""
        return {"seeds": list(self.seeds), "actions": self.actions.copy(), "counts": self.counts.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: It is of other actions or of another number of environments.
        """
        actions = state["actions"]
        if actions.shape[1:] != self._actions.shape[1:]:
            raise ValueError(
                f"The checkpoint's environments took actions of shape {actions.shape[1:]}, these take "
                f"{self._actions.shape[1:]}."
            )
        self.seeds = list(state["seeds"])
        self.counts = np.array(state["counts"])
        self._actions = np.zeros((max(1024, 2 * len(actions)), *actions.shape[1:]), dtype=self._actions.dtype)
        self._actions[: len(actions)] = actions
