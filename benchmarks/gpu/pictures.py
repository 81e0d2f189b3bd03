"""A game of pictures that costs next to nothing: four frames of 84 x 84 bytes, drawn once."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SHAPE, DRAWN = (84, 84, 4), 64


class Pictures(gym.Env[Any, Any]):
    """Noise behind a bar; who names the bar's quarter of the picture is paid, and after 200 steps it is over."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, SHAPE, np.uint8)
        self.action_space = spaces.Discrete(4)
        drawn = np.random.default_rng(0).integers(0, 100, (DRAWN, *SHAPE)).astype(np.uint8)
        for number, picture in enumerate(drawn):
            picture[21 * (number % 4) : 21 * (number % 4) + 21] += 150
        self._drawn, self._shown, self._steps = drawn, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin with any picture."""
        super().reset(seed=seed)
        self._steps = 0
        return self._show(), {}

    def step(self, action: Any) -> Any:
        """Paid for the quarter of the bar."""
        reward = float(int(action) == self._shown % 4)
        self._steps += 1
        return self._show(), reward, self._steps >= 200, False, {}

    def _show(self) -> Any:
        self._shown = int(self.np_random.integers(DRAWN))
        return self._drawn[self._shown]


gym.register("Pictures-v0", f"{__name__}:Pictures")
