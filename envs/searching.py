"""Where a run has searched since it last found its goal, and what of that is shown to an agent."""

from __future__ import annotations

import numpy as np

from engram_rl.envs.grid import Geometry

REACH = 3.0
"""Cells at which a displacement that is shown reaches its bound."""

COLUMNS = 6
"""Numbers shown: whether the cell beside the agent is unsearched, by action; the way to the nearest unsearched cell."""


class Search:
    """The cells that E runs have walked on since they last found their goal; when none is left, all count again.

    Args:
        num_envs: E.
        geometry: Of their grids.
    """

    def __init__(self, num_envs: int, geometry: Geometry) -> None:
        self._geometry = geometry
        self._rows = np.arange(num_envs)
        self.searched = np.tile(geometry.border, (num_envs, 1))  # [E, C]; what is outside need not be searched
        cells = np.arange(len(geometry.border))
        self._steps = 10 * geometry.manhattan(cells[:, None], cells).astype(np.int16)  # [C, C], in tenths
        self._around = (cells[:, None] + geometry.moves) % len(cells)  # [C, 4]

    def forget(self, rows: np.ndarray) -> None:
        """Begin the search anew in these runs. `[R]`."""
        self.searched[rows] = self._geometry.border

    def visit(self, rows: np.ndarray, cell: np.ndarray) -> None:
        """These runs are at these cells. `[R]`, `[R]`."""
        self.searched[rows, cell] = True
        self.forget(rows[self.searched[rows].all(axis=1)])
        self.searched[rows, cell] = True

    def shown(self, cell: np.ndarray) -> np.ndarray:
        """What runs at these cells are shown, in -1 to 1. `[E]` -> `[E, COLUMNS]`."""
        beside = ~self.searched[self._rows[:, None], self._around[cell]]  # [E, 4]
        coordinates = self._geometry.coordinates
        away = coordinates[self._nearest(cell)] - coordinates[cell]  # [E, 2]
        return np.concatenate([beside, np.clip(away / REACH, -1, 1)], axis=1).astype(np.float32)

    def _nearest(self, cell: np.ndarray) -> np.ndarray:
        """The nearest unsearched cell; of several that with fewest unsearched neighbours, which leaves no holes."""
        neighbours = 4 - self.searched[:, self._around].sum(axis=2)  # [E, C]
        return np.where(self.searched, np.iinfo(np.int16).max, self._steps[cell] + neighbours).argmin(axis=1)
