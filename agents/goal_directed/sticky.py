"""Exploring at random with repeats: an action goes on for a while before another is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from engram_rl.memory.checks import number

NONE = -1


class StickyExplorer:
    """Repeats the last action with a given probability, and draws any other time (Ecoffet et al. 2021, methods).

    Args:
        num_actions: A.
        num_envs: E.
        repeat: The probability, 0.95 in the paper.
        generator: Of the draws.
    """

    def __init__(self, num_actions: int, num_envs: int, repeat: float, generator: torch.Generator) -> None:
        self._num_actions, self._repeat = num_actions, number("repeat", repeat, 0, most=1)
        self._generator = generator
        self._last = np.full(num_envs, NONE)  # [E], none where exploring has just begun

    def __call__(self, allowed: np.ndarray | None) -> np.ndarray:
        """An action for each environment, of those allowed `[E, A]`. `[E]`."""
        env = np.arange(len(self._last))
        draws = torch.rand(len(env), self._num_actions + 1, generator=self._generator).numpy()
        repeats = (self._last != NONE) & (draws[:, -1] < self._repeat)
        if allowed is None:
            return np.where(repeats, self._last, draws[:, :-1].argmax(1))
        repeats &= allowed[env, self._last]
        return np.where(repeats, self._last, np.where(allowed, draws[:, :-1], -1).argmax(1))

    def observe(self, actions: np.ndarray, fresh: np.ndarray) -> None:
        """Environments did actions `[E]`; where `fresh` `[E]` exploring begins anew with the next."""
        self._last = np.where(fresh, NONE, actions)

    def forget(self) -> None:
        """Exploring begins anew everywhere."""
        self._last[:] = NONE

    def state_dict(self) -> dict[str, Any]:
        """The last actions and the generator."""
        return {"last": self._last.copy(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._last = state["last"].copy()
        self._generator.set_state(state["generator"])
