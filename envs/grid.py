"""Grid worlds with walls and a goal: movement, observation and image, for E runs at once.

Cells are flat indices into a board with a border of walls, `(y + 1) * width + x + 1` with `width = n + 2`: a move is
then one addition and leaving the grid is one more wall.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete

from engram_rl.envs.checks import at_least, truth
from engram_rl.envs.core import Core, LayoutSeed, Observation
from engram_rl.envs.rendering import draw_grid

MOST_CELLS = 2**28
"""Of all grids together; some gigabytes."""


class Geometry:
    """An n x n grid as a flat board with a border.

    Attributes:
        n: Cells along a side.
        width: Cells along a side of the board: n + 2.
        moves: What each action adds to a cell: left (-x), up (-y), right (+x), down (+y). `[4]`
        border: Which cells of the board lie outside the grid. `[width * width]` of bool
        coordinates: (x, y) of each cell of the board. `[width * width, 2]`
    """

    def __init__(self, n: int) -> None:
        self.n = n = at_least(2, "n", n, "cells along a side")
        self.width = n + 2
        self.moves = np.array([-1, -self.width, 1, self.width])
        y, x = np.divmod(np.arange(self.width**2), self.width)
        self.coordinates = np.stack([x - 1, y - 1], axis=1)  # [C, 2]
        self.border = (x == 0) | (x == n + 1) | (y == 0) | (y == n + 1)  # [C]

    def cell(self, x: np.ndarray | int, y: np.ndarray | int) -> np.ndarray:
        """The board's index of position (x, y)."""
        return (np.asarray(y) + 1) * self.width + np.asarray(x) + 1

    def manhattan(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Steps between two cells if nothing is in the way."""
        return np.abs(self.coordinates[one] - self.coordinates[other]).sum(axis=-1)


class GridCore(Core):
    """E runs on grids: reward 1 and termination at the goal, 0 otherwise; a bump costs the step.

    Args:
        num_envs: E.
        n: Cells along a side.
        step_limit: Steps after which an episode is truncated; n * n if None.
        layout_seed: As for `Core`.
        episodes: As for `Core`.
        show_goal: Whether the observation ends with the goal's x and y.
        tell_shift: Whether the observation ends with a 1 in the first episode since a shift, else a 0.

    Attributes:
        walls: Which cells of each board are blocked, the border included. `[E, C]` of bool
        start: Where the episode began. `[E]`
        cell: Where the agent is. `[E]`
        goal: Where the goal is. `[E]`
    """

    def __init__(
        self,
        num_envs: int,
        *,
        n: int,
        step_limit: int | None = None,
        layout_seed: LayoutSeed = None,
        episodes: int | None = None,
        show_goal: bool = True,
        tell_shift: bool = False,
    ) -> None:
        n, num_envs = at_least(2, "n", n, "cells along a side"), at_least(1, "num_envs", num_envs, "run")
        if num_envs * (n + 2) ** 2 > MOST_CELLS:
            raise ValueError(f"{num_envs} grids of n={n} have more than {MOST_CELLS} cells: lower n or env.num_envs.")
        self.geometry = Geometry(n)
        limit = n * n if step_limit is None else step_limit
        super().__init__(num_envs, step_limit=limit, layout_seed=layout_seed, episodes=episodes)
        self.show_goal = truth("show_goal", show_goal)
        self.tell_shift = truth("tell_shift", tell_shift)
        self.walls = np.tile(self.geometry.border, (num_envs, 1))  # [E, C]
        self.start = np.zeros(num_envs, dtype=np.int64)
        self.cell = np.zeros(num_envs, dtype=np.int64)
        self.goal = np.zeros(num_envs, dtype=np.int64)
        self.visited_at = np.full(self.walls.shape, -1, dtype=np.int32)  # [E, C]: the step of the last visit, or -1
        self._board = np.arange(num_envs) * self.geometry.width**2  # [E]: where each board begins in walls.ravel()
        self._shown = self.geometry.coordinates.astype(np.float32)  # [C, 2]
        self.action_space = Discrete(4)
        self.observation_space = self._space()

    def observation(self) -> Observation:
        """(x, y), then the goal's and the shift's flag if shown. `[E, D]` of float32."""
        parts = [self._shown[self.cell]]
        if self.show_goal:
            parts.append(self._shown[self.goal])
        if self.tell_shift:
            parts.append(self.shifted[:, None].astype(np.float32))
        return np.concatenate(parts, axis=1)

    def render(self, row: int) -> np.ndarray:
        """Walls, goal, start, agent, and the trail of this episode. `[H, W, 3]` of uint8."""
        board = (self.geometry.width, self.geometry.width)
        return draw_grid(
            walls=self.walls[row].reshape(board),
            visited_at=self.visited_at[row].reshape(board),
            cells={name: divmod(int(getattr(self, name)[row]), board[1]) for name in ("start", "goal", "cell")},
        )

    @abstractmethod
    def _lay_out(self, rows: np.ndarray) -> None:
        """Set walls, start, goal, task, shifted and oracle_steps of the episode `episode_index`. `rows [R]`."""

    def _start_episode(self, rows: np.ndarray) -> None:
        self._lay_out(rows)
        self.cell[rows] = self.start[rows]
        self.visited_at[rows] = -1
        self.visited_at[rows, self.start[rows]] = 0

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        target = self.cell + self.geometry.moves[actions]  # [E]
        blocked = self.walls.ravel()[self._board + target]  # [E]
        self.cell = np.where(blocked, self.cell, target)
        self.visited_at.ravel()[self._board + self.cell] = self.elapsed
        terminated = self.cell == self.goal
        return terminated.astype(np.float64), terminated

    def _space(self) -> Space[Any]:
        high = [self.geometry.n - 1.0] * (4 if self.show_goal else 2) + [1.0] * self.tell_shift
        return Box(low=np.zeros(len(high), np.float32), high=np.array(high, np.float32))
