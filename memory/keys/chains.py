"""Entries by their code, the latest first, at a cost that does not grow with their number."""

from __future__ import annotations

import numpy as np

from engram_rl.memory.keys.identity import IdentityTable, mix

END = 0
"""Slots are kept as one more than they are, so that what was never touched names none."""


class Chains:
    """Doubly linked lists of slots, one for each word; the table of their first slots finds a list.

    Args:
        capacity: Slots, N. Memory: about 24 bytes each, taken as they are used.
    """

    def __init__(self, capacity: int) -> None:
        self._firsts = IdentityTable(capacity)
        self._next = np.zeros(capacity, np.int32)  # [N], one more than the slot written before
        self._previous = np.zeros(capacity, np.int32)  # [N], one more than the slot written after
        self._linked = np.zeros(capacity, bool)  # [N]
        self._place = np.zeros(capacity, np.int32)  # [N], scratch: where a slot is in a batch

    def put(self, slots: np.ndarray, words: np.ndarray) -> None:
        """Distinct slots `[n]` now have these words `[n]`, and were written in this order."""
        self.remove(slots)
        if not len(slots):
            return
        order = np.argsort(words, kind="stable")
        slots, words = slots[order], words[order]
        follows = words[1:] == words[:-1]
        first, last = np.r_[True, ~follows], np.r_[~follows, True]
        before = self._firsts.find(words[first])
        self._next[slots[1:][follows]] = slots[:-1][follows] + 1
        self._previous[slots[:-1][follows]] = slots[1:][follows] + 1
        self._next[slots[first]] = before + 1
        some = before >= 0
        self._previous[before[some]] = slots[first][some] + 1
        self._previous[slots[last]] = END
        self._firsts.set(slots[last], words[last])
        self._linked[slots] = True

    def remove(self, slots: np.ndarray) -> None:
        """Distinct slots `[n]` have no word any more."""
        slots = slots[self._linked[slots]]
        if not len(slots):
            return
        self._linked[slots] = False
        self._place[slots] = np.arange(len(slots))
        following, before = self._next[slots], self._previous[slots]
        while (inside := (following != END) & ~self._linked[following - 1]).any():  # twice as far each time
            following[inside] = following[self._place[following[inside] - 1]]
        starts = (before == END) | self._linked[before - 1]  # of each run of slots that go
        before, following, first = before[starts], following[starts], slots[starts]
        self._next[before[before != END] - 1] = following[before != END]
        self._previous[following[following != END] - 1] = before[following != END]
        leads = before == END
        words, heirs = self._firsts.identities_at(first[leads]), following[leads]
        self._firsts.remove(first[leads])
        self._firsts.set(heirs[heirs != END] - 1, words[heirs != END])

    def latest(self, words: np.ndarray, k: int) -> np.ndarray:
        """The k slots of each word that were written last, the latest first; -1 where there are no more.  `[B, k]`."""
        found = np.full((len(words), k), -1, np.int64)
        at = self._firsts.find(words)
        for column in range(k):
            found[:, column] = at
            some = at >= 0
            if not some.any():
                break
            at = np.where(some, self._next[at].astype(np.int64) - 1, -1)
        return found


def words_of(codes: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """A 64-bit word for codes `[n, C]`, whatever they are where absent `[n, C]`.  `[n]` int64, never that of nobody."""
    word = np.full(len(codes), 0x9E3779B97F4A7C15, np.uint64)
    for column in range(codes.shape[1]):
        part = np.ascontiguousarray(codes[:, column]).view(np.uint64)
        seen = np.where(absent[:, column], np.uint64(0xD1B54A32D192ED03), mix(part ^ np.uint64(0xA0761D6478BD642F)))
        word = mix(word * np.uint64(0xBF58476D1CE4E5B9) + seen)
    return (word >> np.uint64(1)).view(np.int64)  # none is negative
