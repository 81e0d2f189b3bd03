"""The one way from a space's values to rows of numbers: numbers scaled, codes as one-hot, a Dict or Tuple by part."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from engram_rl.agents.common.observations import named_parts, unsupported
from engram_rl.agents.common.scaling import SCALE_RULE, Scale, parts_of
from engram_rl.memory.checks import brief

MOST_CODES = 100_000
"""Columns that a step of several environments fills, and a layer multiplies, in milliseconds."""


class Flatten(nn.Module):
    """Values of a space as one row of float32 each, the parts of a Dict or Tuple side by side: `[B, ...] -> [B, F]`.

    Numbers are scaled (`engram_rl.agents.common.scaling.Scale`), Discrete and MultiDiscrete become a one-hot code. Rows
    may share their memory with what they were made of.

    Args:
        space: Of one observation, or of one action.
        scale_rule: One of `engram_rl.agents.common.scaling.RULES`.

    Attributes:
        size: Numbers in a row, F.

    Raises:
        ValueError: The space, or a part of it, is not a Box, Discrete, MultiDiscrete, MultiBinary or made of these.
    """

    def __init__(self, space: spaces.Space, scale_rule: int = SCALE_RULE):
        super().__init__()
        self.size: int
        self._names: list[str] = []
        if isinstance(space, spaces.Dict | spaces.Tuple):
            parts = parts_of(space)
            self._names = list(parts)
            self._parts = nn.ModuleList(Flatten(part, scale_rule) for part in parts.values())
            self.size = sum(part.size for part in self._parts)  # type: ignore[misc]
            return
        self._rows = _rows_of(space, scale_rule)
        self.size = spaces.flatdim(space)

    def forward(self, values: Any) -> torch.Tensor:
        """`[B, ...]`, or one such tensor per name, to `[B, F]`."""
        if isinstance(values, dict | tuple):
            named = named_parts(values)
            return torch.cat([part(named[name]) for name, part in zip(self._names, self._parts, strict=True)], dim=1)
        return self._rows(values)


class OneHot(nn.Module):
    """Integer codes, each from its own start, to concatenated one-hot vectors: `[B, P] -> [B, sum of sizes]`."""

    first: torch.Tensor
    last: torch.Tensor
    shift: torch.Tensor

    def __init__(self, sizes: list[int], starts: list[int]):
        super().__init__()
        ends = torch.tensor(sizes).cumsum(0)
        self.register_buffer("first", ends - torch.tensor(sizes), persistent=False)  # column of each one's first code
        self.register_buffer("last", ends - 1, persistent=False)
        self.register_buffer("shift", self.first - torch.tensor(starts), persistent=False)  # from a code to its column
        self._width = sum(sizes)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """`[B]` or `[B, ...]` to `[B, sum of sizes]`.

        Raises:
            ValueError: A code is none of its own.
        """
        columns = codes.reshape(len(codes), len(self.first)).long() + self.shift
        near = columns.clamp(self.first, self.last)
        if not torch.equal(near, columns):
            at = int((near != columns).any(0).nonzero()[0])
            wrong = int(columns[near[:, at] != columns[:, at], at][0] - self.shift[at])
            least, most = (int(end[at] - self.shift[at]) for end in (self.first, self.last))
            raise ValueError(f"code {at} of an observation or action is {wrong}; its space has {least} to {most}")
        rows = torch.zeros(len(codes), self._width, device=codes.device)
        return rows.scatter_(1, columns, 1.0)


class Bits(nn.Module):
    """Zeros and ones as they are: `[B, ...] -> [B, F]`."""

    def forward(self, bits: torch.Tensor) -> torch.Tensor:
        """`[B, ...]` to `[B, F]` of float32."""
        return bits.float().reshape(len(bits), -1)


def _rows_of(space: spaces.Space, scale_rule: int) -> nn.Module:
    if isinstance(space, spaces.Box):
        return Scale(space, scale_rule)
    if isinstance(space, spaces.MultiBinary):
        return Bits()
    if isinstance(space, spaces.Discrete):
        return OneHot(_few([int(space.n)], space), [int(space.start)])
    if isinstance(space, spaces.MultiDiscrete):
        sizes = [int(n) for n in space.nvec.ravel()]
        return OneHot(_few(sizes, space), [int(n) for n in space.start.ravel()])
    raise ValueError(unsupported("No encoder reads", space))


def _few(sizes: list[int], space: spaces.Space) -> list[int]:
    """The sizes, if their codes are few enough for a column each.

    Raises:
        ValueError: They are not.
    """
    if sum(sizes) > MOST_CODES:
        raise ValueError(
            f"{brief(space)} has {sum(sizes)} codes, each of which would be a column of its own; at most {MOST_CODES} "
            f"are. Give what the codes stand for as numbers in a wrapper, such as "
            f"gymnasium.wrappers.TransformObservation: the digits of a code, say."
        )
    return sizes
