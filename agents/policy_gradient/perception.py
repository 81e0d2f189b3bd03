"""What a policy sees of an observation: a row of numbers, perhaps normalised, or pictures as they are."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.observations import map_observation, space_bytes, to_tensors
from engram_rl.agents.common.scaling import SCALE_RULE, has_picture

LIMIT = 10.0
"""Normalised numbers are clipped to this many standard deviations."""

EPSILON = float(np.finfo(np.float32).eps)
"""Of a number, what a float32 rounds away."""


class Perception(Protocol):
    """Turns observations into what a network takes, once for acting and learning alike."""

    def __call__(self, observation: Observation, *, learn: bool) -> Any:
        """Tensors `[E, ...]`, perhaps by name; `learn` says whether running statistics take the observation in."""

    def state_dict(self) -> dict[str, Any]:
        """The running statistics."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""


class AsTensors:
    """Observations with pictures, copied as they are: bytes stay bytes until the network scales them."""

    def __init__(self, device: torch.device):
        self._device = device

    def __call__(self, observation: Observation, *, learn: bool) -> Any:
        """`[E, ...]`, perhaps by name."""
        return to_tensors(map_observation(np.copy, observation), self._device)

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class AsRows:
    """Vectors, symbol grids, codes and Dicts of these as one row of numbers each, codes as one-hot.

    Args:
        space: Of one environment.
        device: Of the tensors.
        normalise: Whether each number is brought to mean 0 and standard deviation 1 over all that was seen so far.
        scale_rule: How numbers are scaled first.
    """

    def __init__(
        self, space: spaces.Space, device: torch.device, normalise: bool = False, scale_rule: int = SCALE_RULE
    ):
        self._rows, self._device = Flatten(space, scale_rule), device
        self.size = self._rows.size
        self.moments = RunningMoments(self.size) if normalise else None

    def __call__(self, observation: Observation, *, learn: bool) -> Tensor:
        """`[E, ...]`, perhaps by name, to `[E, F]` of float32."""
        rows = self._rows(to_tensors(observation))
        if not self.moments:
            return rows.to(self._device, copy=True)  # what is kept of an environment is a copy
        if learn:
            self.moments.update(rows.numpy())
        return torch.as_tensor(self.moments.normalised(rows.numpy()), device=self._device)

    def state_dict(self) -> dict[str, Any]:
        """The running moments."""
        return self.moments.state_dict() if self.moments else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        if self.moments:
            self.moments.load_state_dict(state)


def bytes_seen(space: spaces.Space, scale_rule: int = SCALE_RULE) -> int:
    """Bytes of an observation as it is kept: pictures as they come, all else as a row of float32, codes one-hot."""
    return space_bytes(space) if has_picture(space, scale_rule) else 4 * spaces.flatdim(space)


def make_perception(
    space: spaces.Space, device: torch.device, normalise: bool, scale_rule: int = SCALE_RULE
) -> Perception:
    """Observations as tensors where a part is a picture, as rows of numbers otherwise.

    Raises:
        ValueError: Pictures are to be normalised.
    """
    if not has_picture(space, scale_rule):
        return AsRows(space, device, normalise, scale_rule)
    if normalise:
        raise ValueError(
            f"normalise_observations=true is for rows of numbers, but this environment shows pictures ({space}), which "
            f"the network scales. Set agent.normalise_observations=false."
        )
    return AsTensors(device)


class RunningMoments:
    """Mean and variance of all rows so far, in one pass (Chan et al. 1983, the parallel update).

    Args:
        size: Columns.
    """

    def __init__(self, size: int):
        self.mean, self.variance, self.count = np.zeros(size), np.zeros(size), 0.0

    def update(self, rows: np.ndarray) -> None:
        """Take in rows. `[B, F]`."""
        rows = rows.astype(np.float64)
        mean, variance, count = rows.mean(axis=0), rows.var(axis=0), len(rows)
        gap, total = mean - self.mean, self.count + count
        between = gap * gap * (self.count * count / total)
        self.variance = (self.variance * self.count + variance * count + between) / total
        self.mean = self.mean + gap * (count / total)
        self.count = total

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation; 1 of what never changes but by the rounding of a float32. `[F]`."""
        changes = self.variance > np.square(EPSILON * self.mean)
        return np.sqrt(np.where(changes, self.variance, 1.0))

    def normalised(self, rows: np.ndarray) -> np.ndarray:
        """Rows in standard deviations from the mean, clipped. `[B, F]` of float32."""
        return np.clip((rows - self.mean) / self.deviation, -LIMIT, LIMIT).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """The moments."""
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.mean, self.variance, self.count = state["mean"], state["variance"], state["count"]


class RewardScale:
    """Divides rewards by the standard deviation of the discounted return so far (Engstrom et al. 2020, 2005.12729).

    Args:
        num_envs: E.
        discount: gamma.
    """

    def __init__(self, num_envs: int, discount: float):
        self._returns, self._discount = np.zeros(num_envs), discount  # [E]
        self._moments = RunningMoments(1)

    def __call__(self, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        """`[E]` to `[E]`, clipped."""
        self._returns = self._returns * self._discount + reward
        self._moments.update(self._returns[:, None])
        self._returns[done] = 0
        return np.clip(reward / self._moments.deviation, -LIMIT, LIMIT)

    def state_dict(self) -> dict[str, Any]:
        """The open returns and their moments."""
        return {"returns": self._returns, "moments": self._moments.state_dict()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore what `state_dict` gave; nothing, of runs that scaled rewards otherwise or not at all."""
        if state is not None and "moments" in state:
            self._returns = state["returns"]
            self._moments.load_state_dict(state["moments"])


ORDINARY = (1e-3, 1e3)
"""Sizes of returns that a network of ordinary rates learns to predict."""


class ModestRewards:
    """Divides rewards by the size of the discounted return, where that is out of the ordinary; else leaves them.

    The size is the root of the mean square of all returns so far, which a reward that never changes has too.

    Args:
        num_envs: E.
        discount: gamma.
    """

    def __init__(self, num_envs: int, discount: float):
        self._returns, self._discount = np.zeros(num_envs), discount  # [E]
        self._square, self._count = 0.0, 0

    def __call__(self, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        """`[E]` to `[E]`."""
        self._returns = self._returns * self._discount + reward
        self._count += 1
        self._square += (float(np.square(self._returns).mean()) - self._square) / self._count
        self._returns[done] = 0
        return reward / self.size

    @property
    def size(self) -> float:
        """What rewards are divided by; 1 where they are ordinary, or have all been 0."""
        size = math.sqrt(self._square)
        least, most = ORDINARY
        return 1.0 if least <= size <= most or size == 0 else size

    def state_dict(self) -> dict[str, Any]:
        """The open returns and the size of all."""
        return {"returns": self._returns, "square": self._square, "count": self._count}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore what `state_dict` gave; nothing, of runs that scaled rewards otherwise or not at all."""
        if state is not None and "square" in state:
            self._returns, self._square, self._count = state["returns"], state["square"], state["count"]
