"""An estimate of an index's recall from a fair sample of its queries, and of what loses the neighbours it misses."""

from __future__ import annotations

import numpy as np

ENOUGH, MOST_CHECKS = 16, 256
"""Checks that make an estimate; the last that count."""

SOONER = 8
"""How many times as often searches are checked until there is an estimate."""


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
        self._recalls: list[tuple[float, int]] = []
        """Of the last checks; and for how many queries each stands."""
        self._missing, self._elsewhere = 0, 0.0
        """Checks that missed any, and the shares of it that were not looked at, added up."""

    def is_drawn(self) -> bool:
        """Whether the next search is to be checked; more often until there is an estimate."""
        if not self._every:
            return False
        drawn = self._searches == self._drawn
        self._searches += 1
        of = self._every if self.has(ENOUGH) else max(1, self._every // SOONER)
        if self._searches >= of:
            self._searches, self._drawn = 0, int(self._lot.integers(of))
        return drawn

    def query_of(self, queries: int) -> int:
        """Which of the queries of a search is to be checked."""
        return int(self._lot.integers(queries))

    def add(self, recall: float, queries: int, elsewhere: float) -> None:
        """A check.

        Args:
            recall: Share of the true neighbours that were found.
            queries: How many were searched for together.
            elsewhere: Share of the missed ones that were where nobody looked.
        """
        self._recalls = [*self._recalls[1 - MOST_CHECKS :], (recall, queries)]
        if recall < 1:
            self._missing += 1
            self._elsewhere += elsewhere
        if self.reported is None or self.has(ENOUGH):
            self.reported = self.now

    def has(self, checks: int) -> bool:
        """Whether the present settings have been checked so often."""
        return len(self._recalls) >= checks

    @property
    def now(self) -> float:
        """Of the checks since the settings changed: the share of queries' neighbours that were found."""
        return sum(recall * n for recall, n in self._recalls) / sum(n for _, n in self._recalls)

    @property
    def mostly_elsewhere(self) -> bool:
        """Whether what is missed mostly lay where nobody looked."""
        return self._elsewhere >= 0.5 * self._missing
