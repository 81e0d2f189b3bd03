"""The uniformly random agent: the floor that every result is read against."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space, spaces

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.actions import require_mask


class RandomAgent:
    """Draws every action uniformly from the vectorised action space."""

    memory_parts = ()

    def __init__(self, action_space: Space, seed: int):
        self._space = action_space
        self._space.seed(seed)

    def act(
        self,
        observation: Observation,
        *,
        explore: bool = True,
        mask: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw one action for each environment, or for each of `rows`, of those allowed `[B, A]`."""
        if rows is not None:
            everywhere = None if mask is None else self._everywhere(mask, rows)
            return self.act(observation, explore=explore, mask=everywhere)[rows]
        if mask is None:
            return np.asarray(self._space.sample())
        starts, sizes = self._codes()  # [E, ...] each
        parts = sizes.reshape(len(sizes), -1)[0]  # [P] choices of each part
        allowed = require_mask(mask, len(sizes), int(parts.sum()))
        draws = np.where(allowed, self._space.np_random.random(allowed.shape), -np.inf)
        chosen = [part.argmax(axis=1) for part in np.split(draws, np.cumsum(parts)[:-1], axis=1)]
        return (np.stack(chosen, axis=1).reshape(sizes.shape) + starts).astype(self._space.dtype)

    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Where actions of all environments begin to count, and how many choices there are. `[E, ...]` each."""
        space = self._space
        if isinstance(space, spaces.MultiDiscrete):
            return space.start, space.nvec
        if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer):  # what Gymnasium makes of parts
            return space.low, space.high - space.low + 1
        raise ValueError(f"A mask is for Discrete and MultiDiscrete actions, not for {space}.")

    def _everywhere(self, mask: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """A mask of some rows as one of all environments. `[B, A]` to `[E, A]`."""
        starts, _ = self._codes()
        whole = np.ones((len(starts), mask.shape[1]), dtype=bool)
        whole[rows] = mask
        return whole

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
        [self._space.np_random.bit_generator.state] = state["generator"]
