"""The uniformly random agent: the floor that every result is read against."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space

from engram_rl.agents.agent import Observation, Transition


class RandomAgent:
    """Draws every action uniformly from the vectorised action space."""

    memory_parts = ()

    def __init__(self, action_space: Space, seed: int):
        self._space = action_space
        self._space.seed(seed)

    def act(self, observation: Observation, *, explore: bool = True, mask: np.ndarray | None = None) -> np.ndarray:
        """Draw one action per environment, among those that are allowed."""
        actions = np.asarray(self._space.sample())
        if mask is None:
            return actions
        first = np.asarray(getattr(self._space, "start", 0))
        return first + np.where(mask, self._space.np_random.random(mask.shape), -1.0).argmax(axis=1)

    def observe(self, transition: Transition) -> None:
        """Nothing is learned."""

    def learn(self) -> dict[str, float]:
        """Nothing is learned."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator."""
        return {"generator": [space.bit_generator.state for space in [self._space.np_random]]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the generator."""
        self._space.np_random.bit_generator.state = state["generator"][0]
