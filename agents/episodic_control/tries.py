"""How often each action was taken in each situation: found and counted in expected constant time."""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROOM = 256


class Tries:
    """Counts by situation and action, which can be taken back.

    Open addressing with linear probing, at most half full; situations whose counts have all been taken back leave when
    the table is filed anew, so room is that of what is counted now and every count costs the same on average.

    Args:
        actions: A.
    """

    def __init__(self, actions: int):
        self._actions = actions
        self._clear(_ROOM)

    def of(self, identity: np.ndarray) -> np.ndarray:
        """Counts in situations by their names, integers of 64 bits. `[B]` -> `[B, A]` of float64."""
        return self._counts[self._find(identity)].astype(np.float64)

    def add(self, identity: np.ndarray, action: np.ndarray, times: int = 1) -> None:
        """Count actions `[B]` in situations `[B]`; a negative number takes them back."""
        if 2 * (self._filled + len(identity)) > len(self._identity):
            self._file_anew(len(identity))
        np.add.at(self._counts, (self._file(identity), action), times)

    def _clear(self, room: int) -> None:
        self._identity = np.zeros(room, np.int64)
        self._used = np.zeros(room, bool)
        self._counts = np.zeros((room, self._actions), np.int32)  # 0 where a bucket is not used
        self._filled = 0  # buckets in use, at most

    def _file_anew(self, more: int) -> None:
        """Without what has no counts, in a table of which these and `more` fill a quarter at most."""
        counted = np.flatnonzero(self._counts.any(axis=1))
        identity, counts = self._identity[counted], self._counts[counted]
        self._clear(max(_ROOM, 1 << (4 * (len(counted) + more) - 1).bit_length()))
        self._counts[self._file(identity)] = counts

    def _file(self, identity: np.ndarray) -> np.ndarray:
        """The bucket of each situation, in use from now on. `[B]`."""
        at = self._first(identity)
        found = at.copy()
        rows = np.arange(len(at))
        while len(rows):
            free = ~self._used[at]
            self._identity[at[free]], self._used[at[free]] = identity[rows[free]], True
            self._filled += int(free.sum())
            found[rows] = at
            elsewhere = self._identity[at] != identity[rows]  # used before, or by another of these
            rows, at = rows[elsewhere], (at[elsewhere] + 1) & (len(self._used) - 1)
        return found

    def _find(self, identity: np.ndarray) -> np.ndarray:
        """The bucket of each situation, or the free one in which it would be. `[B]`."""
        at = self._first(identity)
        while True:
            another = self._used[at] & (self._identity[at] != identity)
            if not another.any():
                return at
            at[another] = (at[another] + 1) & (len(self._used) - 1)

    def _first(self, identity: np.ndarray) -> np.ndarray:
        mixed = identity.astype(np.int64, copy=False).view(np.uint64) * _GOLDEN
        return (mixed >> np.uint64(64 - (len(self._used).bit_length() - 1))).astype(np.int64)
