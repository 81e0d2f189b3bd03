"""The same layout every episode, for environments that draw one at each reset."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class FixedLayout(gym.Wrapper):
    """Resets with one seed for ever, whatever seed is asked for.

    Args:
        env: Draws its layout when it is reset.
        seed: Of the layout.
    """

    def __init__(self, env: gym.Env, seed: int = 0):
        super().__init__(env)
        self._seed = seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset to the same layout."""
        return self.env.reset(seed=self._seed, options=options)
