"""A room in which every step costs and the goal pays nothing."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

ID = "benchmarks.worlds.room:CostlyRoom-v0"
SIDE, LIMIT = 6, 50
SHORTEST = 2 * (SIDE - 1)


class CostlyRoom(gym.Env):
    """An open room, from one corner to the other: -1 for every step but the last, which pays nothing."""

    observation_space = gym.spaces.Box(0, SIDE - 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(4)
    moves = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin in the first corner."""
        super().reset(seed=seed)
        self._place, self._steps = np.zeros(2, np.int64), 0
        return self._place.astype(np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Walk; the walls stop."""
        self._place = np.clip(self._place + self.moves[action], 0, SIDE - 1)
        self._steps += 1
        arrived = bool((self._place == SIDE - 1).all())
        cut = self._steps >= LIMIT and not arrived
        return self._place.astype(np.float32), 0.0 if arrived else -1.0, arrived, cut, {}


gym.register("CostlyRoom-v0", entry_point=f"{__name__}:CostlyRoom")
