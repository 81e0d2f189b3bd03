"""Cadence: what happens every so many steps."""

from __future__ import annotations


class Every:
    """True once each `interval` steps, also where steps advance by more than one; never for an interval of 0."""

    def __init__(self, interval: int, step: int = 0):
        self._interval = interval
        self._passed = step // interval if interval else 0

    def __call__(self, step: int) -> bool:
        """Whether `step` passed a multiple of the interval since the last call."""
        if not self._interval or step // self._interval == self._passed:
            return False
        self._passed = step // self._interval
        return True
