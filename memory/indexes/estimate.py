"""An estimate of an index's recall from a fair sample of its queries, and of what loses the neighbours it misses."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

ENOUGH, MOST_CHECKS = 16, 256
"""Checks that make an estimate; the last that count."""

SOONER = 8
"""How many times as often searches are checked until there is an estimate of what is there now."""

OUTDATED = 0.25
"""Share of the entries that have come or moved since a check, from which on it says nothing of those there are now."""


class Check(NamedTuple):
    """What one query found.

    Attributes:
        recall: Share of its true neighbours.
        queries: For how many it stands.
        elsewhere: Share of the missed ones that were where nobody looked.
        changes: Entries that had come or moved until then.
    """

    recall: float
    queries: int
    elsewhere: float
    changes: int = 0


class RecallEstimate:
    """Of every so many searches one is drawn by lot, and of its queries one, which counts for as many as came with it.

    Args:
        every: Searches of which one is checked; 0 for none.

    Attributes:
        reported: The estimate; that of the settings before until the present ones have been checked often enough.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._lot = np.random.default_rng(0)
        self._searches = self._drawn = 0
        self.reported: float | None = None
        self.begin_anew()

    def begin_anew(self) -> None:
        """Of other settings the checks so far say nothing."""
        self._checks: deque[Check] = deque(maxlen=MOST_CHECKS)
        self._outdated = False

    def outdate(self, changes: int, entries: int) -> None:
        """Have new checks replace those of entries that are others by now.

        Args:
            changes: How many entries have come or moved so far.
            entries: How many there are.
        """
        recent = changes - OUTDATED * entries
        while len(self._checks) > ENOUGH and self._checks[0].changes < recent:
            self._checks.popleft()
        self._outdated = bool(self._checks) and self._checks[0].changes < recent

    def is_drawn(self) -> bool:
        """Whether the next search is to be checked; more often until there is an estimate of what is there now."""
        if not self._every:
            return False
        drawn = self._searches == self._drawn
        self._searches += 1
        settled = self.has(ENOUGH) and not self._outdated
        of = self._every if settled else max(1, self._every // SOONER)
        if self._searches >= of:
            self._searches, self._drawn = 0, int(self._lot.integers(of))
        return drawn

    def query_of(self, queries: int) -> int:
        """Which of the queries of a search is to be checked."""
        return int(self._lot.integers(queries))

    def add(self, check: Check) -> None:
        """Take in what a query found."""
        self._checks.append(check)
        if self.reported is None or self.has(ENOUGH):
            self.reported = self.now

    def has(self, checks: int) -> bool:
        """Whether the present settings have been checked so often."""
        return len(self._checks) >= checks

    @property
    def now(self) -> float:
        """Of the checks since the settings changed: the share of queries' neighbours that were found."""
        return sum(c.recall * c.queries for c in self._checks) / sum(c.queries for c in self._checks)

    @property
    def mostly_elsewhere(self) -> bool:
        """Whether what is missed mostly lay where nobody looked."""
        missing = [check.elsewhere for check in self._checks if check.recall < 1]
        return sum(missing) >= 0.5 * len(missing)
