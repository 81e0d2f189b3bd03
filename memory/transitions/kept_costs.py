"""Costs by state to sets of goals that were asked for lately, kept while what they were worked out from is the same."""

from __future__ import annotations

import numpy as np

from engram_rl.memory.transitions.states import ABSENT


class KeptCosts:
    """Rows of costs, found by the goals they lead to; those not asked for the longest make room.

    A copy shares its rows until either keeps another.

    Args:
        num_states: S.

    Attributes:
        costs: Cost from every state; which row is whose, `find` says. `[K, S]`
    """

    def __init__(self, num_states: int) -> None:
        self.costs = np.empty((0, num_states))
        self._goals = np.empty((0, 1), np.int64)  # [K, n], as asked for
        self._versions = np.empty(0, np.int64)  # [K], of what they were worked out from
        self._asked_at = np.empty(0, np.int64)  # [K]
        self._now = 0
        self._shared = False

    def __copy__(self) -> KeptCosts:
        same = KeptCosts.__new__(KeptCosts)
        self._shared = True
        same.__dict__.update(self.__dict__)
        return same

    def find(self, goals: np.ndarray, versions: np.ndarray) -> np.ndarray:
        """The row of each set of goals, padded with -1, if that version of it is kept; else -1. `[G, n]` -> `[G]`."""
        self._widen(goals.shape[1])
        asked = _padded(goals, self._goals.shape[1])
        same = (asked[:, None] == self._goals).all(2) & (versions[:, None] == self._versions)  # [G, K]
        return np.where(same.any(1), same.argmax(1), ABSENT) if same.size else np.full(len(goals), ABSENT)

    def touch(self, rows: np.ndarray) -> None:
        """These rows have been asked for. `[N]`."""
        self._now += 1
        self._asked_at = self._asked_at.copy() if self._shared else self._asked_at
        self._asked_at[rows] = self._now

    def keep(self, goals: np.ndarray, versions: np.ndarray, costs: np.ndarray, room: int) -> None:
        """Keep costs of the first N states; to the others there is no way. `[M, n]`, `[M]`, `[M, N]`.

        Args:
            goals: As in `find`.
            versions: As in `find`.
            costs: Of states 0 to N - 1.
            room: Rows for all that are asked for at once, these included.
        """
        self._own(max(2 * room, len(self.costs)))
        rows = self._asked_at.argsort(kind="stable")[: len(goals)]
        self.costs[rows, : costs.shape[1]], self.costs[rows, costs.shape[1] :] = costs, np.inf
        self._goals[rows] = _padded(goals, self._goals.shape[1])
        self._versions[rows] = versions
        self._asked_at[rows] = self._now

    def _own(self, rows: int) -> None:
        """Have so many rows that are nobody else's."""
        more = rows - len(self.costs)
        if more or self._shared:
            self.costs = np.concatenate([self.costs, np.empty((more, self.costs.shape[1]))])
            self._goals = np.concatenate([self._goals, np.full((more, self._goals.shape[1]), ABSENT)])
            self._versions = np.concatenate([self._versions, np.full(more, ABSENT)])
            self._asked_at = np.concatenate([self._asked_at, np.full(more, ABSENT)])
            self._shared = False

    def _widen(self, width: int) -> None:
        if width > self._goals.shape[1]:
            self._goals = _padded(self._goals, width)


def padded(sets: list[np.ndarray]) -> np.ndarray:
    """Sets of ids as the rows of one array, with -1 behind them. G arrays `[N]` -> `[G, n]`."""
    sizes = np.array([len(ids) for ids in sets], np.int64)
    rows = np.full((len(sets), max(1, sizes.max(initial=0))), ABSENT, np.int64)
    rows[np.arange(rows.shape[1]) < sizes[:, None]] = np.concatenate(sets) if len(sets) else []
    return rows


def _padded(goals: np.ndarray, width: int) -> np.ndarray:
    return (
        np.pad(goals, ((0, 0), (0, width - goals.shape[1])), constant_values=ABSENT)
        if width > goals.shape[1]
        else goals
    )
