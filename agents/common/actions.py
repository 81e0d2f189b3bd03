"""Finite action spaces as a count: Discrete as it is, MultiDiscrete as every combination of its parts."""

from __future__ import annotations

import math

import numpy as np
from gymnasium import spaces

MOST = 512
"""Combinations that an agent with one memory for each can search in a step."""


class Actions:
    """Actions numbered `0 .. count - 1`.

    Args:
        space: Discrete, or MultiDiscrete with one axis.
        agent: Whose actions they are, for the error.

    Raises:
        ValueError: Another space, or more combinations than can be searched.
    """

    def __init__(self, space: spaces.Space, agent: str):
        if isinstance(space, spaces.Discrete):
            self._parts, self._start, self._single = [int(space.n)], np.array([space.start]), True
        elif isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
            self._parts, self._start, self._single = space.nvec.tolist(), space.start, False
        else:
            raise ValueError(
                f"{agent} chooses among Discrete or MultiDiscrete actions, but this environment has {space}. Use an "
                f"agent for such actions, or discretise with a wrapper, such as gymnasium.wrappers.TransformAction."
            )
        self.count = math.prod(self._parts)
        if self.count > MOST:
            raise ValueError(
                f"{agent} keeps a memory for each combination of actions; {space} has {self.count}, at most {MOST} "
                f"can be searched in a step. Choose fewer with a wrapper, such as gymnasium.wrappers.TransformAction."
            )

    def numbered(self, actions: np.ndarray) -> np.ndarray:
        """The number of each action. `[E]`, or `[E, P]` for P parts, to `[E]`."""
        parts = np.reshape(actions, (len(actions), -1)) - self._start  # [E, P]
        return np.ravel_multi_index(tuple(parts.T), self._parts)

    def named(self, numbers: np.ndarray) -> np.ndarray:
        """The action of each number, as the environments take it. `[E]` to `[E]` or `[E, P]`."""
        parts = np.stack(np.unravel_index(numbers, self._parts), axis=1) + self._start  # [E, P]
        return parts[:, 0] if self._single else parts
