"""ShiftWall: the wall changes once, in the middle of a run of 100 episodes (arXiv 2301.13758)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from engram_rl.envs import draws
from engram_rl.envs.checks import integer
from engram_rl.envs.grid import Geometry, GridCore
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

EPISODES = 100
SHIFT_AT = 50


class ShiftWallCore(GridCore):
    """E runs of ShiftWall; the arguments are those of `ShiftWall`, and `GridCore`'s."""

    def __init__(self, num_envs: int, *, n: int = 10, **options: Any) -> None:
        if integer("n", n) < 3:
            raise ValueError(f"ShiftWall needs n of at least 3, to have cells on both sides of the wall; got {n}.")
        super().__init__(num_envs, n=n, episodes=EPISODES, **options)
        self._layouts = wall_layouts(n)

    def _start_run(self, rows: np.ndarray) -> None:
        """Nothing is drawn for a run: its episodes follow from their index."""

    def _lay_out(self, rows: np.ndarray) -> None:
        task_index = (self.episode_index[rows] >= SHIFT_AT).astype(np.int64)  # [R]
        self._enter_task(rows, task_index)
        self.walls[rows] = self._layouts[task_index]
        start, goal = self._ends(rows)
        self.start[rows], self.goal[rows] = start, goal
        self.oracle_steps[rows] = shortest_path(self.geometry, task_index, start, goal)

    def _ends(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and goal of the current episodes. `[R]`, `[R]`."""
        episode = self.episode_index[rows]
        if self.layout_seed is None:
            start, goal = published_ends(self.geometry.n)[episode].T
            return start, goal
        free = ~self.walls[rows]  # [R, C]
        start = draws.one_of(free, self.run_seed[rows], episode, stream=0)
        free[np.arange(len(rows)), start] = False
        return start, draws.one_of(free, self.run_seed[rows], episode, stream=1)


class ShiftWall(SuiteEnv):
    """A grid with a wall that changes once, unannounced, in the middle of a run.

    Observation: (x, y, goal x, goal y), float32 from 0 to n - 1; (0, 0) is top left.
    Actions: 0 left (-x), 1 up (-y), 2 right (+x), 3 down (+y). Leaving the grid or entering a wall leaves the position
    unchanged and costs the step.
    Reward: 1 at the goal, 0 otherwise.
    Termination: at the goal. Truncation: after n * n steps; "solved" means fewer than n * n steps.
    Start and goal: new in each episode, both free and distinct.
    What shifts: in episodes 0 to 49 the wall is the row y = n // 2 with a gap at x = n // 2, in episodes 50 to 99 the
    column x = n // 2 with a gap at y = n // 2. A run has 100 episodes; after the last it starts over.
    `info["oracle_steps"]`: the shortest path with the walls; at n = 10 they sum to 755 over the published run.

    Args (`gymnasium.make("engram/ShiftWall-v0", ...)`):
        n: Cells along a side (published: 10).
        layout_seed: None plays the published run, whose starts and goals come from `numpy.random.RandomState(episode)`,
            whatever the reset seed. An int draws another run from the same distribution.
        show_goal: Whether the observation contains the goal (default True).
        tell_shift: Append 1 in the first episode since the shift, else 0 (default False).
        step_limit: Instead of n * n.
        render_mode: None or "rgb_array".

    Source: arXiv 2301.13758.
    Registered ids: engram/ShiftWall-v0
    """

    core_class = ShiftWallCore


class ShiftWallVector(SuiteVectorEnv):
    """E runs of `ShiftWall` at once."""

    core_class = ShiftWallCore


@lru_cache
def wall_layouts(n: int) -> np.ndarray:
    """The board before and after the shift. `[2, C]` of bool, read-only."""
    geometry, half = Geometry(n), n // 2
    x, y = geometry.coordinates.T
    row_wall = (y == half) & (x != half)
    column_wall = (x == half) & (y != half)
    layouts = np.stack([row_wall, column_wall]) | geometry.border
    layouts.flags.writeable = False
    return layouts


@lru_cache
def published_ends(n: int) -> np.ndarray:
    """Start and goal cells of the published run. `[100, 2]`, read-only."""
    layouts = wall_layouts(n)
    ends = np.array([_published_episode(n, layouts[int(i >= SHIFT_AT)], i) for i in range(EPISODES)])
    ends.flags.writeable = False
    return ends


def _published_episode(n: int, walls: np.ndarray, episode: int) -> tuple[int, int]:
    """Start and goal of one episode, drawn in the order in which the paper's code draws them."""
    geometry = Geometry(n)
    random = np.random.RandomState(episode)

    def draw() -> int:
        return int(geometry.cell(random.randint(0, n), random.randint(0, n)))

    start, goal = draw(), draw()
    while walls[start]:
        start = draw()
    while walls[goal] or goal == start:
        goal = draw()
    return start, goal


def shortest_path(geometry: Geometry, task_index: np.ndarray, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Steps from start to goal: straight if the wall is not between them, else through its gap. `[R]`."""
    gap = geometry.cell(geometry.n // 2, geometry.n // 2)
    across = np.where(task_index == 0, 1, 0)[:, None]  # [R, 1]: the coordinate that the wall cuts
    side = [
        np.take_along_axis(geometry.coordinates[end], across, axis=1)[:, 0] - geometry.n // 2 for end in (start, goal)
    ]
    straight = geometry.manhattan(start, goal)
    around = geometry.manhattan(start, gap) + geometry.manhattan(gap, goal)
    return np.where(side[0] * side[1] < 0, around, straight)
