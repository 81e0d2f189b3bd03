"""What was read of an observation that comes again."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.observations import batch_size, named_parts, rows_of

MOST = 16_384
"""Observations kept; with more it starts over."""

LARGEST = 1024
"""Bytes of an observation that is kept; pictures hardly ever come again to the byte, and hashing them costs as much."""

FEWEST = 4
"""Rows that are read at once at least, as products of fewer round differently: a row must not depend on the others.

So it is on one thread, which runs have unless they are given more (`threads`).
"""


class Reading(NamedTuple):
    """What is read of E observations: their keys `[E, D]` of float32, and their identities `[E]` of int64."""

    keys: np.ndarray
    identities: np.ndarray


class ReadingCache:
    """Reads observations, and small ones only once.

    Args:
        read: Reads observations, each row by itself.
        key_size: D.
    """

    def __init__(self, read: Callable[[Observation], Reading], key_size: int) -> None:
        self._read = read
        self._kept = Reading(np.zeros((MOST, key_size), np.float32), np.zeros(MOST, np.int64))
        self._rows: dict[bytes, int] = {}  # where an observation's reading is kept
        self._latest: tuple[Observation | None, Reading] = (None, self._kept)

    def __call__(self, observation: Observation) -> Reading:
        """What `read` gives."""
        if observation is not self._latest[0]:
            self._latest = observation, self._looked_up(observation)
        return self._latest[1]

    def _looked_up(self, observation: Observation) -> Reading:
        raw = _bytes(observation)  # [E, n]
        if raw.shape[1] > LARGEST or len(raw) > MOST:
            return self._read_some(observation, np.arange(len(raw)))
        names = [row.tobytes() for row in raw]  # few: hashing them in arrays would cost more
        if len(self._rows) + len(names) > MOST:
            self._rows = {}
        new = np.array([i for i, name in enumerate(names) if name not in self._rows], np.int64)
        if len(new):
            self._keep([names[i] for i in new], self._read_some(observation, new))
        at = [self._rows[name] for name in names]
        return Reading(self._kept.keys[at], self._kept.identities[at])

    def _read_some(self, observation: Observation, rows: np.ndarray) -> Reading:
        """The reading of these rows, not of too few at once."""
        enough = np.resize(rows, max(FEWEST, len(rows)))
        reading = self._read(rows_of(observation, enough))
        return Reading(reading.keys[: len(rows)], reading.identities[: len(rows)])

    def _keep(self, names: list[bytes], reading: Reading) -> None:
        at = [self._rows.setdefault(name, len(self._rows)) for name in names]
        self._kept.keys[at], self._kept.identities[at] = reading


def _bytes(observation: Observation) -> np.ndarray:
    """All parts of each row. `[E, n]` of uint8."""
    observation = named_parts(observation)
    if isinstance(observation, dict):
        return np.concatenate([_bytes(observation[name]) for name in sorted(observation)], axis=1)
    rows = batch_size(observation)
    flat = np.ascontiguousarray(observation).reshape(rows, int(np.prod(observation.shape[1:])))
    return flat.view(np.uint8).reshape(rows, flat.shape[1] * flat.itemsize)
