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

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        """The value at `step`."""
        return self.start + (self.end - self.start) * min(step / max(self.steps, 1), 1.0)
