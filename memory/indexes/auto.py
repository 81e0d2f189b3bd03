"""Choosing an index by the clock."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.indexes.exact import ExactIndex
from engram_rl.memory.indexes.index import Proposer
from engram_rl.memory.indexes.ivf import IVFIndex
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore

TRIALS = 8
"""Searches of each kind before the faster one is chosen."""

AGAIN = 1.5
"""Factor by which the entries may become more, or fewer, before both are timed again."""


class AutoIndex:
    """Exact until an inverted file measurably pays: both are timed in turn, and the faster one is used.

    They are timed again when the entries have become half as many more.

    What it picks depends on the machine and its load, so runs with it are not reproducible to the bit.

    Args:
        start: Entries from which on it files them and tries.
        options: As for `IVFIndex`.
    """

    exact = False

    def __init__(self, *, start: int = 100_000, **options: Any) -> None:
        self._options = options | {"start": start}
        IVFIndex(**self._options)  # refuses what it would refuse later

    def attach(self, store: KeyStore) -> None:
        """Start exact; stay so where an inverted file cannot be had."""
        self._exact, self._ivf = ExactIndex(), IVFIndex(**self._options)
        self._exact.attach(store)
        self._possible = store.rows.device.type == "cpu" and store.rows.dtype == torch.float32
        if self._possible:
            self._ivf.attach(store)
        self._begin(0)

    def serving(self, query: Keys, used: int) -> Proposer:
        """The faster of those that can answer; each in turn until both have been timed."""
        if not self._possible or self._ivf.serving(query, used) is not self._ivf:
            return self._exact
        if not self._timed_at / AGAIN <= used <= self._timed_at * AGAIN:
            self._begin(used)
        rarer = min(self._trials, key=lambda trial: len(trial.seconds))
        return rarer if len(rarer.seconds) < TRIALS else min(self._trials, key=_Timed.typical).proposer

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """What the one that serves the query proposes."""
        return self.serving(query, used).propose(query, k, used)

    def _begin(self, used: int) -> None:
        """Time both anew, with so many entries."""
        self._timed_at = used
        self._trials = [_Timed(self._exact), _Timed(self._ivf)]

    def written(self, slots: Tensor) -> None:
        """Keep the file up to date."""
        if self._possible:
            self._ivf.written(slots)

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """Keep the file up to date."""
        if self._possible:
            self._ivf.moving(slots, vectors)

    def report(self) -> dict[str, Any]:
        """The file's report, and the seconds a query took either way."""
        timed = {
            name: trial.typical() for name, trial in zip(("exact", "ivf"), self._trials, strict=True) if trial.seconds
        }
        report = self._ivf.report() if self._possible else {}
        return report | {"kind": "auto", "seconds_per_query": timed}


class _Timed:
    """One of the two on trial."""

    def __init__(self, proposer: Proposer) -> None:
        self.proposer, self.exact = proposer, proposer.exact
        self.seconds: list[float] = []
        """Per query."""

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        start = time.perf_counter()
        slots = self.proposer.propose(query, k, used)
        self.seconds.append((time.perf_counter() - start) / max(1, len(query)))
        return slots

    def typical(self) -> float:
        return float(np.median(self.seconds))
