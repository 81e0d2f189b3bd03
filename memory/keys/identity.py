"""What makes two rows the same: hashes of observations, repeats in a batch, and a table from identities to slots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.checks import shown

NOBODY = np.iinfo(np.int64).min
"""Stands for "no identity"; an observation's hash is never this."""

LONG = "gG"
"""Types of long doubles, real and complex, as numpy calls them."""

EXTENDED_DIGITS, EXTENDED_BYTES = 63, 10
"""Of a long double where it is an extended one, as on x86: digits of its mantissa, and bytes that say anything."""

WAYS = 8
"""Cells of a bucket."""


def identify(observations: np.ndarray) -> Tensor:
    """A 64-bit hash of each observation's bytes, the same on every machine and run.  `[B, ...]` -> `[B]` int64.

    Equal numbers of one type have one hash, whatever the order of their bytes; the same number as another type has
    other bytes and another hash. Multilinear hashing of 8-byte words, then a mixing step: 100,000 different
    observations collide with a probability of about 3e-10.

    Raises:
        TypeError: They are no array of rows, but a Dict of parts, say, or Python objects.
    """
    rows = np.asarray(observations)
    if rows.dtype.hasobject or not rows.ndim:
        raise TypeError(
            f"observations are {shown(observations)}; they must be an array of numbers, a row each. Of a Dict "
            f"identify the identities of its parts: "
            f"identify(np.stack([identify(part) for part in parts.values()], axis=1))"
        )
    if rows.dtype.names:  # fields may lie apart, with anything between them
        rows = np.stack([identify(rows[name]).numpy() for name in rows.dtype.names], axis=1)
    rows = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
    if rows.dtype.kind in "fc":
        rows = rows + rows.dtype.type(0)  # one zero: -0.0 becomes 0.0
    flat = np.ascontiguousarray(rows).reshape(len(rows), math.prod(rows.shape[1:]))
    raw = flat.view(np.uint8).reshape(len(flat), flat.shape[1] * flat.itemsize)
    if flat.dtype.char in LONG and np.finfo(np.longdouble).nmant == EXTENDED_DIGITS:
        parts = raw.reshape(len(flat), -1, np.dtype(np.longdouble).itemsize)
        raw = parts[:, :, :EXTENDED_BYTES].reshape(len(flat), -1)  # behind them lies anything
    if raw.shape[1] % 8:
        padded = np.zeros((len(raw), raw.shape[1] + -raw.shape[1] % 8), np.uint8)
        padded[:, : raw.shape[1]] = raw
        raw = padded
    words = raw.view("<u8")  # [B, W]
    mixed = mix(mix(words) * _factors(words.shape[1]))
    hashes = mix(mixed.sum(axis=1, dtype=np.uint64)).view(np.int64)
    return torch.from_numpy(np.where(hashes == NOBODY, 0, hashes))


def occurrence(items: np.ndarray) -> np.ndarray:
    """How many equal items come before each of `[B]` integers: 0 for the first of its kind, then 1 ... `[B]`."""
    order = np.argsort(items, kind="stable")
    ordered = items[order]
    starts = np.r_[True, ordered[1:] != ordered[:-1]]
    positions = np.arange(len(items))
    nth = np.empty(len(items), np.int64)
    nth[order] = positions - np.maximum.accumulate(np.where(starts, positions, 0))
    return nth


class IdentityTable:
    """Slots by identity: two-choice buckets of eight cells, so removing leaves no tombstones and nothing is rebuilt.

    An identity lies in either of two buckets; the rare one that finds both full goes to a small dict.
    """

    def __init__(self, capacity: int) -> None:
        self._named = np.zeros(capacity, np.int64)  # [N], identities, kept so that what was never touched is nobody
        buckets = 1 << max(1, int(np.ceil(np.log2(capacity / WAYS * 1.25))))
        self._cells = np.zeros((buckets, WAYS), np.int32)  # one more than a slot; 0 is free
        self._overflow: dict[int, int] = {}

    def identities_at(self, slots: slice | np.ndarray) -> np.ndarray:
        """Identities of slots.  `[n]`."""
        return self._named[slots] ^ NOBODY

    def find(self, identities: np.ndarray) -> np.ndarray:
        """The slot of each identity, -1 where there is none.  `[B]`."""
        return self.found(identities, _halves(identities))

    def found(self, identities: np.ndarray, halves: np.ndarray) -> np.ndarray:
        """As `find`, of identities `[B]` whose hashes `[B, 2]` are known.  `[B]`."""
        nobody = identities == NOBODY
        if nobody.all():
            return np.full(len(identities), -1)
        slots = self._cells[self._within(halves)].reshape(len(identities), 2 * WAYS) - 1  # [B, 16]
        match = (self._named[slots] == (identities ^ NOBODY)[:, None]) & (slots >= 0)
        found = np.where(match, slots, -1).max(1).astype(np.int64)  # it is filed once
        for i in np.flatnonzero(found < 0) if self._overflow else ():
            found[i] = self._overflow.get(int(identities[i]), -1)
        return np.where(nobody, -1, found)

    def set(self, slots: np.ndarray, identities: np.ndarray) -> None:
        """File distinct new identities, and forget what these slots and identities stood for before."""
        self.remove(slots)
        earlier = self.find(identities)
        self.remove(earlier[earlier >= 0])
        filed = identities != NOBODY
        slots, identities = slots[filed], identities[filed]
        self._named[slots] = identities ^ NOBODY
        while len(slots):
            rows = self._buckets(identities)  # [B, 2]
            free = self._cells[rows] == 0  # [B, 2, 8]
            fuller = free[:, 1].sum(1) > free[:, 0].sum(1)
            bucket = np.where(fuller, rows[:, 1], rows[:, 0])
            room = free[np.arange(len(rows)), fuller.astype(np.int64)]  # [B, 8]
            for full in np.flatnonzero(~room.any(1)):
                self._overflow[int(identities[full])] = int(slots[full])
            cell = bucket * WAYS + room.argmax(1)
            _, first = np.unique(np.where(room.any(1), cell, -1 - np.arange(len(cell))), return_index=True)
            placed = first[room[first].any(1)]
            self._cells.reshape(-1)[cell[placed]] = slots[placed] + 1
            left = room.any(1)
            left[placed] = False
            slots, identities = slots[left], identities[left]

    def restore(self, identities: np.ndarray) -> None:
        """Become the table in which the first slots have these identities.  `[used]`."""
        self._named = np.zeros(self._named.shape, np.int64)
        self._cells = np.zeros(self._cells.shape, np.int32)
        self._overflow.clear()
        filed = np.flatnonzero(identities != NOBODY)
        self.set(filed, identities[filed])

    def remove(self, slots: np.ndarray) -> None:
        """Forget who these slots held."""
        slots = slots[self._named[slots] != 0]
        if not len(slots):
            return
        identities = self.identities_at(slots)
        rows = self._buckets(identities)  # [B, 2]
        cells = rows[:, :, None] * WAYS + np.arange(WAYS)  # [B, 2, 8]
        mine = self._cells.reshape(-1)[cells] == slots[:, None, None] + 1
        self._cells.reshape(-1)[cells[mine]] = 0
        self._named[slots] = 0
        for identity in identities.tolist() if self._overflow else ():
            self._overflow.pop(identity, None)

    def _buckets(self, identities: np.ndarray) -> np.ndarray:
        return self._within(_halves(identities))

    def _within(self, halves: np.ndarray) -> np.ndarray:
        return (halves & np.uint64(len(self._cells) - 1)).astype(np.int64)


def find_in_each(tables: Sequence[IdentityTable], identities: np.ndarray) -> np.ndarray:
    """The slot of each identity in each of T tables, -1 where there is none.  `[B]` -> `[T, B]` int64."""
    halves = _halves(identities)
    return np.stack([table.found(identities, halves) for table in tables])


def _halves(identities: np.ndarray) -> np.ndarray:
    """Two hashes of each identity, one for each bucket in which it may lie.  `[B]` -> `[B, 2]` of uint64."""
    mixed = mix(identities.view(np.uint64))
    return np.stack([mixed, mixed >> np.uint64(32)], axis=1)


@cache
def _factors(words: int) -> np.ndarray:
    """Odd random factors, always the same.  `[W]` of uint64."""
    return np.random.Generator(np.random.PCG64(0)).integers(1, 2**64, words, dtype=np.uint64) | np.uint64(1)


def mix(words: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014): every input bit reaches every output bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
