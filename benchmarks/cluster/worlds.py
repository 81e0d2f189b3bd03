"""An environment that waits, as simulators and robots do, and computes nothing."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Waits(gym.Env):
    """Episodes of 50 steps, each of which takes some seconds without a processor.

    Args:
        least: Seconds that a step takes at least.
        most: Seconds that it takes at most.
        drawn: Whether every step's seconds are drawn anew, uniformly; else each environment has its own, by its seed.
    """

    observation_space = spaces.Box(0, 50, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, least: float = 0.02, most: float = 0.02, drawn: bool = True):
        self._least, self._most, self._drawn = least, most, drawn
        self._own: float | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode; nothing is waited for."""
        super().reset(seed=seed)
        if self._own is None:
            self._own = self._least + (self._most - self._least) * (16 if seed is None else seed % 16) / 15
        self._count = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Wait."""
        assert self._own is not None
        time.sleep(float(self.np_random.uniform(self._least, self._most)) if self._drawn else self._own)
        self._count += 1
        return self._seen(), float(action), False, self._count == 50, {}

    def _seen(self) -> np.ndarray:
        return np.array([self._count, 0], dtype=np.float32)


gym.register("Waits-v0", f"{__name__}:Waits")
