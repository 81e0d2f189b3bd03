"""Going back to a cell by actions that are known to have led there, and noticing when they do not."""

from __future__ import annotations

from typing import Any

import numpy as np

NONE = -1
_PARTS = ("active", "targets", "actions", "lengths", "done")
_COUNTS = ("arrived", "missed", "cut")


class Returning:
    """What each environment does to get to its target, one action after the other.

    Args:
        num_envs: E.
        dim: Numbers in a cell, D.

    Attributes:
        active: Whether an environment is on its way. `[E]` of bool
        arrived: Returns that ended in the cell that they were to.
        missed: Returns that ended elsewhere.
        cut: Returns that the time limit ended on the way, where no more is said of where they led.
    """

    def __init__(self, num_envs: int, dim: int) -> None:
        self.active = np.zeros(num_envs, bool)
        self.arrived = self.missed = self.cut = 0
        self._targets = np.zeros((num_envs, dim), np.float32)  # [E, D]
        self._actions = np.full((num_envs, 1), NONE, np.int64)  # [E, L]
        self._lengths = np.zeros(num_envs, np.int64)  # [E]
        self._done = np.zeros(num_envs, np.int64)  # [E] actions taken

    def begin(
        self, envs: np.ndarray, here: np.ndarray, targets: np.ndarray, actions: np.ndarray, lengths: np.ndarray
    ) -> None:
        """Environments `[B]` in cells `[B, D]` go to others `[B, D]` by actions `[B, L]`, so many of them `[B]`.

        A way of no actions leads to where an episode began, which is elsewhere if this one began elsewhere.
        """
        right = (here == targets).all(1)
        self.arrived += int(((lengths == 0) & right).sum())
        self.missed += int(((lengths == 0) & ~right).sum())
        if actions.shape[1] > self._actions.shape[1]:
            more = max(actions.shape[1], 2 * self._actions.shape[1]) - self._actions.shape[1]
            self._actions = np.pad(self._actions, ((0, 0), (0, more)), constant_values=NONE)
        self._targets[envs], self._lengths[envs], self._done[envs] = targets, lengths, 0
        self._actions[envs, : actions.shape[1]] = actions
        self.active[envs] = lengths > 0

    def act(self, actions: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        """`actions` `[E]`, but the next one of the way where an environment is on it; what is not allowed ends it."""
        env = np.arange(len(actions))
        following = self._actions[env, np.where(self.active, self._done, 0)]
        if allowed is not None:
            self._miss(self.active & ~allowed[env, np.maximum(following, 0)])
        return np.where(self.active, following, actions)

    def observe(self, next_cells: np.ndarray, terminated: np.ndarray, truncated: np.ndarray) -> None:
        """Every environment took a step, into cells `[E, D]`; episodes that ended, `[E]`, end the way as well."""
        self._done += self.active
        there = self.active & (self._done == self._lengths)
        right = there & ~terminated & (next_cells == self._targets).all(1)
        self.arrived += int(right.sum())
        self.active &= ~right
        self._miss(self.active & (there | terminated))
        self.cut += int((self.active & truncated).sum())
        self.active &= ~truncated

    def stop(self) -> None:
        """All environments begin anew: nobody is on its way."""
        self.active[:] = False

    def state_dict(self) -> dict[str, Any]:
        """Where everybody is on its way."""
        held = {name: self._part(name).copy() for name in _PARTS}
        return held | {name: getattr(self, name) for name in _COUNTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name in _PARTS:
            setattr(self, name if name == "active" else f"_{name}", state[name].copy())
        for name in _COUNTS:
            setattr(self, name, state[name])

    def _part(self, name: str) -> np.ndarray:
        return getattr(self, name if name == "active" else f"_{name}")

    def _miss(self, envs: np.ndarray) -> None:
        """These `[E]` of bool are on no way any more."""
        self.missed += int(envs.sum())
        self.active &= ~envs
