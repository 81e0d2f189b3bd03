"""Observations as batches: one array, or one per name; and as tensors for a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.scaling import parts_of
from engram_rl.memory import identify
from engram_rl.memory.checks import brief, require_ram


def named_parts(observation: Any) -> Any:
    """A tuple of parts as a dict, its parts called "0", "1", ...; all else as it is."""
    if isinstance(observation, tuple):
        return {str(at): part for at, part in enumerate(observation)}
    return observation


def map_observation(function: Callable[..., Any], *observations: Any) -> Any:
    """Apply `function` to the array, or to each named array, of observations of the same structure."""
    observations = tuple(map(named_parts, observations))
    first = observations[0]
    if isinstance(first, dict):
        return {name: map_observation(function, *(o[name] for o in observations)) for name in first}
    return function(*observations)


def rows_of(observation: Any, at: Any) -> Any:
    """What every part holds at an index, such as rows `[N]` or a pair of (environment, step)."""
    observation = named_parts(observation)
    if isinstance(observation, dict):
        return {name: rows_of(part, at) for name, part in observation.items()}
    return observation[at]


def rows_of_mask(mask: np.ndarray | None, at: Any) -> np.ndarray | None:
    """The rows of a mask of actions, if there is one. `[E, A]` to `[N, A]`."""
    return None if mask is None else mask[at]


def put_rows(held: Any, at: Any, rows: Any) -> None:
    """Put rows into every part at an index."""
    if isinstance(held, dict):
        rows = named_parts(rows)
        for name, part in held.items():
            put_rows(part, at, rows[name])
    else:
        held[at] = rows


def batch_size(observation: Observation) -> int:
    """How many rows an observation has."""
    observation = named_parts(observation)
    return batch_size(next(iter(observation.values()))) if isinstance(observation, dict) else len(observation)


def to_tensors(observation: Observation, device: torch.device | str = "cpu") -> Any:
    """The same structure as tensors on `device`; dtypes stay as they are, so that images travel as bytes."""
    return map_observation(lambda part: torch.as_tensor(part, device=device), observation)


def hash_observations(observation: Observation) -> torch.Tensor:
    """A 64-bit fingerprint of each row: equal observations have equal ones. `[B]` of int64."""
    observation = named_parts(observation)
    if not isinstance(observation, dict):
        return identify(observation)
    parts = [hash_observations(observation[name]).numpy() for name in sorted(observation)]
    return identify(np.stack(parts, axis=1))


def require_rows(what: str, rows: int, each: int, remedy: str) -> None:
    """Raise unless so many observations of `each` bytes fit into memory.

    Raises:
        ValueError: They do not; it says `what` would take how much, and the remedy.
    """
    require_ram(f"{what} of {each} bytes each", rows * each, remedy)


def space_bytes(space: spaces.Space) -> int:
    """Bytes of one observation."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return sum(map(space_bytes, parts_of(space).values()))
    return math.prod(space.shape or ()) * np.dtype(space.dtype).itemsize


NUMBERS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
"""What observations are made of."""


def require_supported(space: spaces.Space, agent: str, place: str = "") -> None:
    """Raise unless `space`, and every part of it, is one that the encoders here understand.

    Raises:
        ValueError: It is not; the part is named, and a way out.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        if not space.spaces:
            raise ValueError(
                f"{agent} is shown nothing: the observation{place or ' space'} {brief(space)} has no parts."
            )
        for name, part in parts_of(space).items():
            require_supported(part, agent, f"{place}[{name!r}]")
    elif not isinstance(space, NUMBERS):
        raise ValueError(unsupported(f"{agent} cannot read", space, place))


def unsupported(who: str, space: spaces.Space, place: str = "") -> str:
    """What is said of an observation that cannot be turned into numbers."""
    return (
        f"{who} observations of {brief(space)}{f' (the part {place})' if place else ''}. Supported: Box, Discrete, "
        f"MultiDiscrete, MultiBinary, and Dict and Tuple of these. Leave it out or turn it into one of these with a "
        f"wrapper, such as gymnasium.wrappers.FilterObservation or gymnasium.wrappers.TransformObservation."
    )
