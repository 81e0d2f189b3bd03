"""An exact search with a cache of answers: a query that comes again is not searched for until a write could matter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.checks import whole
from engram_rl.memory.indexes.exact import BLAS_THRESHOLD, ExactIndex, faiss_search
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore

ROUNDING = 1e-4
"""How much farther, relatively, than the farthest of an answer a new key must lie for the answer to stand."""


MOST_WIDTHS = 4
"""Numbers of neighbours for which answers are kept at a time."""

MOST_PAIRS = 2**18
"""Answers and changed keys that are compared; beyond that it is faster to begin anew."""


class CachedIndex(ExactIndex):
    """Finds what `ExactIndex` does, entry for entry, and remembers it: for agents whose situations come again.

    An answer stands until an entry is put as near as its farthest, or one of its own goes or gets another key; entries
    that are written again under the key they have change nothing. Keys of several modalities, other devices and large
    batches of queries are searched for each time.

    Args:
        most: Answers in the cache, for each of the last few numbers of neighbours; with one more it starts over.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = whole("most", most, hint=": such a cache holds no answers; use ExactIndex")

    def attach(self, store: KeyStore) -> None:
        """Search this store's rows; nothing has been asked."""
        super().attach(store)
        self._able = store.by_distance and self._search is faiss_search
        size = len(store.rows) if self._able else 0
        self._seen = zeros(size, store.rows.shape[1], dtype=store.rows.dtype)
        """The keys as of their latest write or move. `[N, D]`"""
        self._known = zeros(size, dtype=torch.bool)
        """Whether that is there. `[N]`"""
        self._answers: dict[int, _Answers] = {}
        """By number of neighbours, those asked for last at the end."""

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """The k nearest, from the cache or searched for.  `[B, k]`."""
        queries = query.vectors.detach()
        columns = min(k, used)
        if not (self._able and columns and queries.numel() < BLAS_THRESHOLD and 0 < len(queries) <= self._most):
            return super().propose(query, k, used)
        answers = self._answers.pop(columns, None)
        if answers is None:
            answers = _Answers(self._most, columns, self._seen)
        self._answers[columns] = answers
        if len(self._answers) > MOST_WIDTHS:
            del self._answers[next(iter(self._answers))]
        rows = answers.rows_of(queries)
        missing = ~answers.stands[rows]
        if missing.any():
            some = query[missing]
            slots = super().propose(some, columns, used)
            reach = self._store.distances_at(some, slots).detach().amax(1) / self._store.column_weights[0]
            answers.fill(rows[missing], some.vectors.detach(), slots, reach * (1 + ROUNDING))
        return answers.slots[rows]

    def written(self, slots: Tensor) -> None:
        """Drop the answers that these entries may change."""
        if self._able:
            self._changed(slots, self._store.rows[slots])

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """Drop the answers that these entries may change; keys of unit length are seen when they are there."""
        if self._able:
            self._changed(slots, vectors)
            if self._store.space.modalities[0].kind == "cosine":
                self._known[slots] = False
                self._answers.clear()

    def report(self) -> dict[str, Any]:
        """Its kind, and how many answers it holds."""
        return {"kind": "cached", "answers": sum(int(one.stands.sum()) for one in self._answers.values())}

    def _changed(self, slots: Tensor, keys: Tensor) -> None:
        """These entries have, or are about to have, these keys.  `[n]`, `[n, D]`."""
        changed = (keys != self._seen[slots]).any(1) | ~self._known[slots]
        if not changed.any():
            return
        slots, keys = slots[changed], keys[changed]
        self._seen[slots], self._known[slots] = keys, True
        for width, answers in list(self._answers.items()):
            if len(slots) * len(answers) > MOST_PAIRS:
                del self._answers[width]
            else:
                answers.drop(slots, keys)


class _Answers:
    """Answers of one width to queries that may come again.

    Args:
        most: How many.
        width: Slots of each.
        like: Has as many columns as the queries. `[N, D]`
    """

    def __init__(self, most: int, width: int, like: Tensor) -> None:
        self._most = most
        self._names: dict[bytes, int] = {}
        """Which row answers a query."""
        self._queries = zeros(most, like.shape[1], dtype=like.dtype)
        self.slots = zeros(most, width, dtype=torch.int64)
        self._reach = zeros(most, dtype=like.dtype)  # squared distance to the farthest of an answer
        self.stands = zeros(most, dtype=torch.bool)

    def __len__(self) -> int:
        return len(self._names)

    def rows_of(self, queries: Tensor) -> Tensor:
        """The row of each query, old or new; with too many it starts over.  `[B]`."""
        names = [row.tobytes() for row in queries.numpy()]  # few: hashing them in arrays would cost more
        if len(self._names) + len(names) > self._most:
            self._names.clear()
            self.stands.zero_()
        return torch.tensor([self._names.setdefault(name, len(self._names)) for name in names])

    def fill(self, rows: Tensor, queries: Tensor, slots: Tensor, reach: Tensor) -> None:
        """Keep these answers."""
        self._queries[rows], self.slots[rows], self._reach[rows] = queries, slots, reach
        self.stands[rows] = True

    def drop(self, slots: Tensor, keys: Tensor) -> None:
        """Drop those in which these slots are, or which these keys are near enough to change."""
        asked = len(self._names)
        if asked:
            squared = torch.cdist(self._queries[:asked], keys, compute_mode="donot_use_mm_for_euclid_dist").square()
            nearer = (squared <= self._reach[:asked].unsqueeze(1)).any(1)
            self.stands[:asked] &= ~(nearer | torch.isin(self.slots[:asked], slots).any(1))
