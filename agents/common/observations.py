"""Observations as batches: one array, or one per name; and as tensors for a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Observation
from engram_rl.memory import identify
from engram_rl.memory.checks import require_ram


def map_observation(function: Callable[..., Any], *observations: Any) -> Any:
    """Apply `function` to the array, or to each named array, of observations of the same structure."""
    first = observations[0]
    if isinstance(first, dict):
        return {name: map_observation(function, *(o[name] for o in observations)) for name in first}
    return function(*observations)


def rows_of(observation: Any, at: Any) -> Any:
    """What every part holds at an index, such as rows `[N]` or a pair of (environment, step)."""
    if isinstance(observation, dict):
        return {name: rows_of(part, at) for name, part in observation.items()}
    return observation[at]


def put_rows(held: Any, at: Any, rows: Any) -> None:
    """Put rows into every part at an index."""
    if isinstance(held, dict):
        for name, part in held.items():
            put_rows(part, at, rows[name])
    else:
        held[at] = rows


def batch_size(observation: Observation) -> int:
    """How many rows an observation has."""
    return batch_size(next(iter(observation.values()))) if isinstance(observation, dict) else len(observation)


def to_tensors(observation: Observation, device: torch.device | str = "cpu") -> Any:
    """The same structure as tensors on `device`; dtypes stay as they are, so that images travel as bytes."""
    return map_observation(lambda part: torch.as_tensor(part, device=device), observation)


def hash_observations(observation: Observation) -> torch.Tensor:
    """A 64-bit fingerprint of each row: equal observations have equal ones. `[B]` of int64."""
    if not isinstance(observation, dict):
        return identify(observation)
    parts = [hash_observations(observation[name]).numpy() for name in sorted(observation)]
    return identify(np.stack(parts, axis=1))


def require_rows(what: str, rows: int, space: spaces.Space, remedy: str) -> None:
    """Raise unless so many observations of a space fit into memory.

    Raises:
        ValueError: They do not; it says `what` would take how much, and the remedy.
    """
    require_ram(f"{what} of {space_bytes(space)} bytes each", rows * space_bytes(space), remedy)


def space_bytes(space: spaces.Space) -> int:
    """Bytes of one observation."""
    if isinstance(space, spaces.Dict):
        return sum(map(space_bytes, space.values()))
    return math.prod(space.shape or (1,)) * (space.dtype.itemsize if space.dtype else 8)


def require_supported(space: spaces.Space, agent: str) -> None:
    """Raise unless `space` is one that the encoders here understand."""
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    supported = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Dict)
    for part in parts:
        if not isinstance(part, supported):
            raise ValueError(
                f"{agent} cannot read observations of {part}. Supported: Box, Discrete, MultiDiscrete, MultiBinary "
                f"and Dict of these; convert with a wrapper, such as gymnasium.wrappers.FlattenObservation."
            )
