"""An environment of one's own: a cart fetches what was ordered; nothing in it knows of Engram."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SIDE = 5
SHELVES = {0: (0, 4), 1: (4, 0), 2: (4, 4)}
MOVES = np.array([(0, -1), (0, 1), (-1, 0), (1, 0)])


class Warehouse(gym.Env):
    """Go to the shelf of the order.

    Observation: `position` [2] of the cart, `order` in 0 .. 2, `camera` [25] (1 where the cart is seen, with noise) and
    `clock` [1]. Actions: up, down, left, right. Reward: 1 at the ordered shelf, where the episode ends; 0 elsewhere.
    After 30 steps the episode is truncated.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - as in Gymnasium

    def __init__(self, noise: float = 0.1) -> None:
        self.noise = noise
        self.action_space = spaces.Discrete(4)
        self.observation_space = spaces.Dict(
            {
                "camera": spaces.Box(-np.inf, np.inf, (SIDE * SIDE,), np.float32),
                "position": spaces.Box(0, SIDE - 1, (2,), np.float32),
                "order": spaces.Discrete(len(SHELVES)),
                "clock": spaces.Box(0, 30, (1,), np.float32),
            }
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start in the corner with a new order."""
        super().reset(seed=seed)
        self._position, self._steps = np.zeros(2, np.int64), 0
        self._order = int(self.np_random.integers(len(SHELVES)))
        return self._observe(), {}

    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
        """Move the cart by one place."""
        self._position = np.clip(self._position + MOVES[action], 0, SIDE - 1)
        self._steps += 1
        there = tuple(self._position) == SHELVES[self._order]
        return self._observe(), float(there), there, self._steps >= 30, {}

    def _observe(self) -> dict[str, Any]:
        camera = self.noise * self.np_random.standard_normal((SIDE, SIDE))
        camera[tuple(self._position)] += 1
        return {
            "camera": camera.reshape(-1).astype(np.float32),
            "position": self._position.astype(np.float32),
            "order": self._order,
            "clock": np.array([self._steps], np.float32),
        }


gym.register("Warehouse-v0", f"{__name__}:Warehouse")
