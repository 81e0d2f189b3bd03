"""The one rule by which numbers of observations are scaled, and what is a picture: by dtype, bounds and shape."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

SCALE_RULE = 2
"""Of new agents. 0 takes all numbers as they are; 1 is that of the first version, whose checkpoints need it."""

RULES = (0, 1, SCALE_RULE)

SMALLEST_PICTURE = 36
"""Pixels a side that the three convolutions of an encoder need."""

LARGE = 30.0
"""Numbers that stay below this are taken as they are; larger ones would drown others and saturate units."""

SMALL = 1 / LARGE
"""Numbers that stay below this are made larger; others would drown them."""

SMALLEST = 1e-30
"""Bounds below this are no bounds but 0."""

SANE = 1e9
"""Bounds beyond this are no bounds but the largest numbers of a type."""


class Scale(nn.Module):
    """Rows of a Box's numbers as a network or a distance takes them: `[B, F] -> [B, F]`.

    Pictures are divided by their largest number. What else has bounds too large for a network (bytes of a small grid,
    which may be symbols or brightness, of a console's memory, large counters) is brought within -1 and 1 by its
    logarithm: 1 and 2 stay about as far apart as 10 and 20, and 250 is not 10. What has bounds too small for one is
    divided by them. All else, and what has no bounds, is as it is.

    Args:
        space: Of one observation.
        rule: One of `RULES`.
    """

    _columns: torch.Tensor  # [F] of bool, those brought within -1 and 1
    _origin: torch.Tensor  # [F]
    _factor: torch.Tensor  # [F]
    _shift: torch.Tensor  # [F]
    _larger: torch.Tensor | None  # [F], by what small columns are multiplied, where there are any
    _of_bytes: torch.Tensor | None  # [256], what each byte becomes, where all columns are alike

    def __init__(self, space: spaces.Box, rule: int = SCALE_RULE) -> None:
        super().__init__()
        self._logarithmic = False
        self._divisor: float | None = None
        self.register_buffer("_of_bytes", None, persistent=False)
        self.register_buffer("_larger", None, persistent=False)
        if rule == 1 and is_picture(space, rule):
            self._divisor = float(space.high.max())
        if rule < SCALE_RULE:
            return
        low, high = (np.asarray(bound, np.float64).ravel() for bound in (space.low, space.high))
        if is_picture(space, rule):
            self._divisor = picture_divisor(space)
            return
        largest = np.maximum(np.abs(low), np.abs(high))  # [F]
        small = (largest > SMALLEST) & (largest < SMALL)
        if small.any():
            self._larger = torch.from_numpy(np.divide(1, largest, where=small, out=np.ones_like(largest))).float()
        whole = np.dtype(space.dtype).kind in "iu"
        columns = (largest > LARGE) & (low < high) & (whole | (largest < SANE))
        self._logarithmic = bool(columns.any())
        if self._logarithmic:
            origin = np.clip(0.0, low, high, where=columns, out=np.zeros_like(low))
            span = np.maximum(np.abs(low - origin), np.abs(high - origin), where=columns, out=np.ones_like(low))
            one_sided = (low >= 0) | (high <= 0)
            factor = np.where(one_sided, 2.0, 1.0) / np.log1p(span)
            shift = np.where(one_sided, np.where(low >= 0, -1.0, 1.0), 0.0)
            for name, value in (("columns", columns), ("origin", origin), ("factor", factor), ("shift", shift)):
                kept = torch.from_numpy(value if name == "columns" else value.astype(np.float32))
                self.register_buffer(f"_{name}", kept, persistent=False)
            alike = len({*zip(low.tolist(), high.tolist(), strict=True)}) == 1
            if space.dtype == np.uint8 and alike:
                every = torch.arange(256, dtype=torch.float32).unsqueeze(1)  # [256, 1]
                self._of_bytes = self._scaled(every)[:, 0].clone()

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """`[B, ...]` to `[B, F]` of float32; may share memory with what it was given."""
        if self._of_bytes is not None and numbers.dtype == torch.uint8:
            return self._of_bytes[numbers.reshape(len(numbers), -1).int()]
        rows = numbers.float().reshape(len(numbers), -1)
        if self._larger is not None:
            rows = rows * self._larger
        if self._logarithmic:
            return self._scaled(rows)
        return rows if self._divisor is None else rows / self._divisor

    def _scaled(self, rows: torch.Tensor) -> torch.Tensor:
        """`[B, F]` to `[B, F]`, those columns by their logarithm."""
        from_origin = rows - self._origin
        scaled = from_origin.sign() * from_origin.abs().log1p() * self._factor + self._shift
        return torch.where(self._columns, scaled, rows)


def picture_divisor(space: spaces.Box) -> float:
    """The largest number of a picture, by its bounds; 1 where these say nothing."""
    largest = max(abs(float(space.low.min())), abs(float(space.high.max())))
    return largest if 0 < largest < SANE else 1.0


def is_picture(space: spaces.Space, rule: int = SCALE_RULE) -> bool:
    """Whether observations are images large enough for convolutions: the last axes, with channels at either end.

    Three axes are an image whatever they hold. Two (grey, `[H, W]`) and more than three (a stack of images) are if
    their type and bounds are those of brightness.
    """
    if not isinstance(space, spaces.Box) or 0 in space.shape:
        return False
    if len(space.shape) == 3:
        return sorted(space.shape)[1] >= SMALLEST_PICTURE
    if rule < SCALE_RULE or len(space.shape) < 2 or not _is_brightness(space):
        return False
    return sorted(space.shape[-3:])[-2] >= SMALLEST_PICTURE


def picture_shape(space: spaces.Box) -> tuple[int, int, int, bool]:
    """Channels (of all images of a stack), height, width, and whether channels come last.

    Channels are the axis beside two equal ones, as most images are square, and else the shorter of the outer axes.
    """
    *stack, first, second, third = space.shape if len(space.shape) > 2 else (1, *space.shape)
    square_first, square_last = first == second, second == third
    last = square_first if square_first != square_last else third < first
    height, width, channels = (first, second, third) if last else (second, third, first)
    return math.prod(stack) * channels, height, width, last


def has_picture(space: spaces.Space, rule: int = SCALE_RULE) -> bool:
    """Whether an observation, or a part of it, is an image large enough for convolutions."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return any(has_picture(part, rule) for part in parts_of(space).values())
    return is_picture(space, rule)


def parts_of(space: spaces.Dict | spaces.Tuple) -> dict[str, spaces.Space]:
    """The parts by name; those of a Tuple are called "0", "1", ..."""
    if isinstance(space, spaces.Dict):
        return dict(space.spaces)
    return {str(at): part for at, part in enumerate(space.spaces)}


def require_rule(rule: int) -> int:
    """The rule, if it is one.

    Raises:
        ValueError: It is not.
    """
    if rule not in RULES:
        raise ValueError(f"scale_rule is {rule!r}; it must be {SCALE_RULE}, or 1 for what the first version learned.")
    return rule


def require_same_rule(saved: int, rule: int) -> None:
    """Raise a ValueError if a state was learned under another rule than the agent has that is to take it."""
    if saved != rule:
        raise ValueError(
            f"it was learned from numbers scaled by rule {saved}, and this agent scales by rule {rule}: give "
            f"+agent.scale_rule={saved}"
        )


def _is_brightness(space: spaces.Box) -> bool:
    """Whole numbers within bounds, or floating-point ones within -1 to 0, 0 to 1 or 0 to 255."""
    low, high = float(space.low.min()), float(space.high.max())
    if np.dtype(space.dtype).kind in "iub":
        return low > -SANE and high < SANE
    return (low >= -1 and high <= 1) or (low >= 0 and high <= 255)
