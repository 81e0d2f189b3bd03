"""MemoryPlan: a new map of symbols in every episode, and as many errands on it as time allows (arXiv 2006.03662)."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Discrete

from engram_rl.envs import draws
from engram_rl.envs.core import Core, LayoutSeed
from engram_rl.envs.grid import Geometry
from engram_rl.envs.rendering import draw_symbols
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

COLLECT = 4


class MemoryPlanCore(Core):
    """E runs of MemoryPlan; the arguments are those of `MemoryPlan`.

    Attributes:
        symbol: Which symbol is on each cell, -1 on the border. `[E, C]`
        cell: Where the agent is. `[E]`
        goal: Where the symbol to collect is. `[E]`
        task: How many tasks the run has seen. `[E]`
    """

    def __init__(
        self, num_envs: int, *, n: int = 4, layout_seed: LayoutSeed = None, step_limit: int | None = None
    ) -> None:
        self.geometry = Geometry(n)
        super().__init__(num_envs, step_limit=100 if step_limit is None else step_limit, layout_seed=layout_seed)
        self.symbol = np.full((num_envs, self.geometry.width**2), -1)
        self.cell = np.zeros(num_envs, dtype=np.int64)
        self.goal = np.zeros(num_envs, dtype=np.int64)
        self.task = np.zeros(num_envs, dtype=np.int64)
        self._all = np.arange(num_envs)
        self._moves = np.append(self.geometry.moves, 0)  # [5]: collecting stays
        self._inside = np.flatnonzero(~self.geometry.border)  # [n * n]
        self._one_hot = np.eye(n * n, dtype=np.float32)
        self.action_space = Discrete(5)
        self.observation_space = Box(0.0, 1.0, (2 * n * n,), np.float32)

    def observation(self) -> np.ndarray:
        """The symbol here and the symbol to collect, each one-hot. `[E, 2 * n * n]` of float32."""
        symbols = [self.symbol[self._all, cell] for cell in (self.cell, self.goal)]
        return np.concatenate([self._one_hot[symbol] for symbol in symbols], axis=1)

    def render(self, row: int) -> np.ndarray:
        """The symbols as colours, the agent, and the symbol to collect. `[H, W, 3]` of uint8."""
        width = self.geometry.width
        return draw_symbols(
            symbols=self.symbol[row].reshape(width, width),
            agent=divmod(int(self.cell[row]), width),
            goal=divmod(int(self.goal[row]), width),
        )

    def _start_run(self, rows: np.ndarray) -> None:
        self.task[rows] = 0

    def _start_episode(self, rows: np.ndarray) -> None:
        self._enter_task(rows, self.episode_index[rows])
        shuffled = draws.keys(self.run_seed[rows], self.episode_index[rows], 0, len(self._inside)).argsort(axis=1)
        self.symbol[rows[:, None], self._inside] = shuffled
        self._start_task(rows)

    def _start_task(self, rows: np.ndarray) -> None:
        """Another place to begin from and another symbol to collect."""
        cells = len(self._inside)
        start = draws.integers(self.run_seed[rows], self.task[rows], 1, cells)
        onward = 1 + draws.integers(self.run_seed[rows], self.task[rows], 2, cells - 1)
        self.cell[rows] = self._inside[start]
        self.goal[rows] = self._inside[(start + onward) % cells]
        self.oracle_steps[rows] = self.geometry.manhattan(self.cell[rows], self.goal[rows]) + 1
        self.task[rows] += 1

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        target = self.cell + self._moves[actions]
        self.cell = np.where(self.geometry.border[target], self.cell, target)
        collected = (actions == COLLECT) & (self.cell == self.goal)
        rows = np.flatnonzero(collected)
        if len(rows):
            self._start_task(rows)
        return collected.astype(np.float64), np.zeros(self.num_envs, dtype=np.bool_)


class MemoryPlan(SuiteEnv):
    """A grid of symbols, shuffled in every episode; explore it, then run errands on it by planning over what was seen.

    Observation: the symbol where the agent is and the symbol to collect, each one-hot, float32, 2 * n * n numbers. The
    position is not shown.
    Actions: 0 left, 1 up, 2 right, 3 down, 4 collect. Leaving the grid leaves the position unchanged.
    Reward: 1 for collecting where the wanted symbol is, after which agent and wanted symbol are drawn anew (the map
    stays); 0 otherwise.
    Termination: never. Truncation: after 100 steps.
    What shifts: which symbol lies where, in every episode. A run never ends.
    `info["oracle_steps"]`: the fewest steps of the current task, collecting included.
    Limit: 2.67 + 1 steps a task at n = 4 once the map is explored.

    Args (`gymnasium.make("engram/MemoryPlan-v0", ...)`):
        n: Cells along a side (default 4).
        layout_seed: What the run is drawn from; None takes the reset seed.
        step_limit: Instead of 100.
        render_mode: None or "rgb_array".

    Source: the Memory & Planning Game of Ritter et al. 2020, arXiv 2006.03662.
    Registered ids: engram/MemoryPlan-v0
    """

    core_class = MemoryPlanCore


class MemoryPlanVector(SuiteVectorEnv):
    """E runs of `MemoryPlan` at once."""

    core_class = MemoryPlanCore
