"""Values that change with the steps taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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


def as_schedule(value: float | Schedule) -> Schedule:
    """A schedule as it is, a number as one that never changes."""
    return Constant(float(value)) if isinstance(value, int | float) else value
