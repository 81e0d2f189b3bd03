"""Observations as keys between which distances mean something: numbers within their bounds, pictures projected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.common.encoders import make_projection
from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.scaling import SANE, has_picture
from engram_rl.agents.episodic_control.modality_keys import ModalityKeys
from engram_rl.memory import KeySpace, Modality

STATE = "state"
"""The modality of observations that are not taken apart."""


class WithinBounds(nn.Module):
    """A Box's numbers from -1 to 1 where both bounds are finite, as they are elsewhere: `[B, ...] -> [B, F]`.

    Args:
        space: Of one observation.
    """

    _middle: Tensor  # [F]
    _half: Tensor  # [F]

    def __init__(self, space: spaces.Box):
        super().__init__()
        low, high = space.low.astype(np.float64).ravel(), space.high.astype(np.float64).ravel()
        bounded = (np.abs(low) < SANE) & (np.abs(high) < SANE) & (low < high)
        low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        middle, half = (low + high) / 2, (high - low) / 2
        self.register_buffer("_middle", torch.from_numpy(middle).float(), persistent=False)
        self.register_buffer("_half", torch.from_numpy(half).float(), persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """`[B, ...]` to `[B, F]` of float32."""
        return (numbers.float().reshape(len(numbers), -1) - self._middle) / self._half


def make_states(
    space: spaces.Space, key_size: int, modalities: Mapping[str, Any] | None, seed: int
) -> tuple[nn.Module, KeySpace]:
    """From observations to the state's part of a key, and its space.

    Args:
        space: Of one observation.
        key_size: Columns of the random projection of pictures, and of what is shown beside them.
        modalities: As of `ModalityKeys`; None for one vector.
        seed: Of projections.

    Raises:
        ValueError: As of `ModalityKeys`.
    """
    if modalities is not None:
        keys = ModalityKeys(space, modalities, lambda part, size: make_projection(part, size, seed))
        return keys, keys.space
    if has_picture(space):
        return make_projection(space, key_size, seed), KeySpace([Modality(STATE, key_size)])
    if isinstance(space, spaces.Box):
        return WithinBounds(space), KeySpace([Modality(STATE, math.prod(space.shape))])
    rows = Flatten(space)
    return rows, KeySpace([Modality(STATE, rows.size)])
