"""An exact search with a cache of answers: a query that comes again is not searched for until a write could matter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.indexes.exact import BLAS_THRESHOLD, ExactIndex, faiss_search
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore

ROUNDING = 1e-4
"""How much farther, relatively, than the farthest of an answer a new key must lie for the answer to stand."""


class CachedIndex(ExactIndex):
    """Finds what `ExactIndex` does, entry for entry, and remembers it: for agents whose situations come again.

    An answer stands until an entry is put as near as its farthest, or one of its own goes or gets another key; entries
    that are written again under the key they have change nothing. Keys of several modalities, other devices and large
    batches of queries are searched for each time.

    Args:
        most: Answers in the cache; with one more it starts over.
    """

    def __init__(self, most: int = 4096) -> None:
        if most < 1:
            raise ValueError(f"most is {most}: such a cache holds no answers; give at least 1, or use ExactIndex")
        self._most = most

    def attach(self, store: KeyStore) -> None:
        """Search this store's rows; nothing has been asked."""
        super().attach(store)
        self._able = store.by_distance and self._search is faiss_search
        self._seen = torch.full_like(store.rows if self._able else store.rows[:0], torch.nan)
        """The keys as of their latest write. `[N, D]`"""
        self._start_over(0)

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """The k nearest, from the cache or searched for.  `[B, k]`."""
        queries = query.vectors.detach()
        columns = min(k, used)
        if not (self._able and columns and queries.numel() < BLAS_THRESHOLD and 0 < len(queries) <= self._most):
            return super().propose(query, k, used)
        names = [row.tobytes() for row in queries.numpy()]  # few: hashing them in arrays would cost more
        if columns != self._slots.shape[1] or len(self._rows) + len(names) > self._most:
            self._start_over(columns)
        rows = torch.tensor([self._rows.setdefault(name, len(self._rows)) for name in names])
        if not self._stands[rows].all():
            self._fill(query, rows, used)
        return self._slots[rows]

    def written(self, slots: Tensor) -> None:
        """Drop the answers that these entries may change."""
        if not self._able:
            return
        keys = self._store.rows[slots]  # [n, D]
        changed = (keys != self._seen[slots]).any(1)
        self._seen[slots] = keys
        slots, keys, asked = slots[changed], keys[changed], len(self._rows)
        if not asked or not len(slots):
            return
        squared = torch.cdist(self._queries[:asked], keys, compute_mode="donot_use_mm_for_euclid_dist").square()
        nearer = (squared <= self._reach[:asked].unsqueeze(1)).any(1)
        self._stands[:asked] &= ~(nearer | torch.isin(self._slots[:asked], slots).any(1))

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """Drop all answers: keys that move, move often."""
        if self._able:
            self._seen[slots] = torch.nan
            self._start_over(0)

    def report(self) -> dict[str, Any]:
        """Its kind, and how many answers it holds."""
        return {"kind": "cached", "answers": int(self._stands.sum())}

    def _fill(self, query: Keys, rows: Tensor, used: int) -> None:
        """Find the answers that do not stand."""
        missing = ~self._stands[rows]
        rows, query = rows[missing], query[missing]
        slots = super().propose(query, self._slots.shape[1], used)
        reach = self._store.distances_at(query, slots).detach().amax(1) / self._store.column_weights[0]
        self._queries[rows], self._slots[rows] = query.vectors.detach(), slots
        self._reach[rows] = reach * (1 + ROUNDING)
        self._stands[rows] = True

    def _start_over(self, k: int) -> None:
        """Empty the cache; answers to come have k columns."""
        self._rows: dict[bytes, int] = {}
        """Which row answers a query."""
        self._queries = self._seen.new_zeros(self._most, self._seen.shape[1])
        self._slots = torch.zeros(self._most, k, dtype=torch.int64)
        self._reach = self._seen.new_zeros(self._most)  # squared distance to the farthest of an answer
        self._stands = torch.zeros(self._most, dtype=torch.bool)
