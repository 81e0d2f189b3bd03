"""The one way from a space's values to rows of numbers: numbers as they are, codes as one-hot, a Dict part by part."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import nn
from torch.nn import functional

SMALLEST_PICTURE = 36
"""Pixels a side that the three convolutions of an encoder need."""


class Flatten(nn.Module):
    """Values of a space as one row of float32 each, the parts of a Dict side by side: `[B, ...] -> [B, F]`.

    Pictures are scaled to at most 1, Discrete and MultiDiscrete become a one-hot code, all else is taken as it is. Rows
    may share their memory with what they were made of.

    Args:
        space: Of one observation, or of one action.

    Attributes:
        size: Numbers in a row, F.

    Raises:
        ValueError: The space, or a part of it, is not a Box, Discrete, MultiDiscrete, MultiBinary or a Dict of these.
    """

    def __init__(self, space: spaces.Space):
        super().__init__()
        self.size: int
        if isinstance(space, spaces.Dict):
            self._parts = nn.ModuleDict({name: Flatten(part) for name, part in space.items()})
            self.size = sum(part.size for part in self._parts.values())  # type: ignore[misc]
            return
        self._scale = float(space.high.max()) if is_picture(space) else 1.0  # type: ignore[attr-defined]
        self._one_hot = _one_hot_of(space)
        self.size = spaces.flatdim(space)

    def forward(self, values: Any) -> torch.Tensor:
        """`[B, ...]`, or one such tensor per name, to `[B, F]`."""
        if isinstance(values, dict):
            return torch.cat([part(values[name]) for name, part in self._parts.items()], dim=1)
        if self._one_hot is not None:
            return self._one_hot(values)
        rows = values.float().reshape(len(values), -1)
        return rows if self._scale == 1 else rows / self._scale


class OneHot(nn.Module):
    """Integer codes, each from its own start, to concatenated one-hot vectors: `[B, P] -> [B, sum of sizes]`."""

    def __init__(self, sizes: list[int], starts: list[int]):
        super().__init__()
        self._sizes, self._starts = sizes, starts

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """`[B]` or `[B, ...]` to `[B, sum of sizes]`."""
        flat = codes.reshape(len(codes), -1).long()
        parts = [
            functional.one_hot(flat[:, i] - start, size)
            for i, (size, start) in enumerate(zip(self._sizes, self._starts, strict=True))
        ]
        return torch.cat(parts, dim=1).float()


def is_picture(space: spaces.Space) -> bool:
    """Whether observations are images large enough for convolutions."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3 and sorted(space.shape)[1] >= SMALLEST_PICTURE


def has_picture(space: spaces.Space) -> bool:
    """Whether an observation, or a part of it, is an image large enough for convolutions."""
    return any(map(has_picture, space.values())) if isinstance(space, spaces.Dict) else is_picture(space)


def _one_hot_of(space: spaces.Space) -> OneHot | None:
    """For codes; None for numbers."""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return None
    if isinstance(space, spaces.Discrete):
        return OneHot([int(space.n)], [int(space.start)])
    if isinstance(space, spaces.MultiDiscrete):
        return OneHot([int(n) for n in space.nvec.ravel()], [int(n) for n in space.start.ravel()])
    raise ValueError(
        f"No encoder for observations of {space}. Supported: Box, Discrete, MultiDiscrete, MultiBinary and Dict of "
        f"these; convert with a wrapper, such as gymnasium.wrappers.FlattenObservation."
    )
