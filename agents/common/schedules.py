"""Values that change with the steps taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engram_rl.memory.checks import number


class Schedule(Protocol):
    """A value by environment step."""

    def __call__(self, step: int) -> float:
        """The value at `step`."""


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` over `steps` environment steps, then constant."""

    start: float = 1.0
    end: float = 0.0
    steps: int = 1

    def __call__(self, step: int) -> float:
        """The value at `step`."""
        return self.start + (self.end - self.start) * min(step / max(self.steps, 1), 1.0)


@dataclass(frozen=True)
class Constant:
    """The same at every step."""

    value: float

    def __call__(self, step: int) -> float:
        """The value."""
        return self.value


def as_schedule(value: float | Schedule, name: str, most: float = math.inf) -> Schedule:
    """A schedule as it is, a number as one that never changes.

    Args:
        value: The number, or the schedule.
        name: What it is called.
        most: What it may be; never below 0.

    Raises:
        ValueError: It is neither; the number, or an end of a `Linear`, is out of range; or that takes a negative number
            of steps.
    """
    if isinstance(value, int | float | np.number):
        return Constant(number(name, value, 0, most=most))
    if not callable(value) or isinstance(value, type):
        raise ValueError(
            f"{name} is {value!r}; give a number, or a schedule: {{_target_: {Linear.__module__}.Linear, start: ..., "
            f"end: ..., steps: ...}}"
        )
    if isinstance(value, Constant):
        number(name, value.value, 0, most=most)
    if isinstance(value, Linear):
        for end in ("start", "end"):
            number(f"{name}.{end}", getattr(value, end), 0, most=most)
        number(f"{name}.steps", value.steps, 0)
    return value
