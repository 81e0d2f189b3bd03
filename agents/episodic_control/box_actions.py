"""Actions of a Box as numbers from -1 to 1, so that distances between them mean the same in every environment."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.common.scaling import SANE


class BoxActions:
    """Actions of a bounded Box as rows of numbers from -1, its lower bounds, to 1, its upper ones.

    Args:
        space: Of one environment.
        agent: Whose actions they are, for the error.

    Attributes:
        size: Numbers of an action, A.

    Raises:
        ValueError: No Box of floating-point numbers, or one that has infinite bounds.
    """

    def __init__(self, space: spaces.Space, agent: str):
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            raise ValueError(
                f"{agent} acts in a Box of numbers, but this environment has {space}, actions to choose among. Use an "
                f"agent that chooses: agent=nec, agent=mfec or agent=episodic."
            )
        if (
            not isinstance(space, spaces.Box)
            or not np.issubdtype(space.dtype, np.floating)
            or not math.prod(space.shape)
        ):
            raise ValueError(
                f"{agent} acts in a Box of floating-point numbers, but this environment has {space}. Convert its "
                f"actions with a wrapper, such as gymnasium.wrappers.TransformAction."
            )
        low, high = space.low.astype(np.float64).ravel(), space.high.astype(np.float64).ravel()
        unbounded = np.flatnonzero((np.abs(low) >= SANE) | (np.abs(high) >= SANE))
        if len(unbounded):
            at = int(unbounded[0])
            raise ValueError(
                f"{agent} needs both bounds of every number of an action, but number {at} of {space} lies between "
                f"{low[at]:g} and {high[at]:g}. Give bounds with a wrapper, such as "
                f"gymnasium.wrappers.TransformAction with a bounded action_space."
            )
        self.size = math.prod(space.shape)
        self._space = space
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self._half_or_one = np.where(self._half > 0, self._half, 1.0)  # where only one number is allowed

    def scaled(self, actions: np.ndarray) -> Tensor:
        """Actions as environments take them, as numbers from -1 to 1. `[N, *shape]` to `[N, A]` of float32."""
        numbers = np.reshape(actions, (len(actions), -1)).astype(np.float64)
        return torch.from_numpy((numbers - self._middle) / self._half_or_one).clamp(-1, 1).float()

    def named(self, scaled: Tensor) -> np.ndarray:
        """Actions as environments take them, never beyond the bounds. `[N, A]` to `[N, *shape]`."""
        numbers = self._middle + self._half * scaled.double().cpu().numpy()
        shaped = numbers.reshape(-1, *self._space.shape).astype(self._space.dtype)
        return np.clip(shaped, self._space.low, self._space.high)
