"""Observations as batches: one array, or one per name; and as tensors for a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from agents.agent import Observation


def map_observation(function: Callable[..., Any], *observations: Any) -> Any:
    """Apply `function` to the array, or to each named array, of observations of the same structure."""
    first = observations[0]
    if isinstance(first, dict):
        return {name: map_observation(function, *(o[name] for o in observations)) for name in first}
    return function(*observations)


def batch_size(observation: Observation) -> int:
    """How many rows an observation has."""
    return len(next(iter(observation.values()))) if isinstance(observation, dict) else len(observation)


def to_tensors(observation: Observation, device: torch.device | str = "cpu") -> Any:
    """The same structure as tensors on `device`; dtypes stay as they are, so that images travel as bytes."""
    return map_observation(lambda part: torch.as_tensor(part, device=device), observation)


def hash_observations(observation: Observation) -> np.ndarray:
    """A 64-bit fingerprint of each row's bytes: equal observations have equal ones. `[B]` of int64.

    Each 8-byte word is mixed with its position (the finaliser of splitmix64) before the words are summed, so that
    neither order nor trailing zero bits of the differences matter. Different rows collide with a chance near 2^-64.
    """
    parts = [observation] if not isinstance(observation, dict) else [observation[k] for k in sorted(observation)]
    total = np.zeros(batch_size(observation), dtype=np.uint64)
    for number, part in enumerate(parts):
        digest = _hash_rows(part) if not isinstance(part, dict) else hash_observations(part).view(np.uint64)
        total = _mix(total + digest + np.uint64(number + 1))
    return total.view(np.int64)


def _hash_rows(rows: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(rows).reshape(len(rows), -1)
    raw = rows.view(np.uint8).reshape(len(rows), -1)  # [B, bytes]
    padded = np.zeros((len(raw), -(-raw.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : raw.shape[1]] = raw
    words = padded.view(np.uint64)  # [B, W]
    position = _mix(np.arange(1, words.shape[1] + 1, dtype=np.uint64))
    return _mix(words ^ position).sum(axis=1, dtype=np.uint64)


def _mix(words: np.ndarray) -> np.ndarray:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


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
