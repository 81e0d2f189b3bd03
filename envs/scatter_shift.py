"""ScatterShift: scattered obstacles, half of which move."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from engram_rl.envs import draws
from engram_rl.envs.checks import at_least, number
from engram_rl.envs.grid import GridCore
from engram_rl.envs.paths import path_lengths
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

EPISODES = 100


class ScatterShiftCore(GridCore):
    """E runs of ScatterShift; the arguments are those of `ScatterShift`."""

    def __init__(
        self, num_envs: int, *, n: int = 10, density: float = 0.3, schedule: str | int = "mid", **options: Any
    ) -> None:
        super().__init__(num_envs, n=n, episodes=EPISODES, **options)
        if not 0 <= number("density", density) <= 0.6:
            raise ValueError(f"density must be from 0 to 0.6, so that cells remain to walk between; got {density}.")
        self._blocked = round(density * n * n)
        self._period = _period(schedule)
        self._walkable = np.zeros_like(self.walls)  # [E, C]: where start and goal may be

    def _start_run(self, rows: np.ndarray) -> None:
        keys = draws.keys(self.run_seed[rows], 0, 0, len(self.geometry.border))  # [R, C]
        self._block(rows, draws.smallest(keys + self.geometry.border, self._blocked))

    def _lay_out(self, rows: np.ndarray) -> None:
        self._enter_task(rows, self.episode_index[rows] // self._period)
        self._shift(rows[self.shifted[rows] & (self.task_index[rows] > 0)])
        walkable = self._walkable[rows]  # [R, C]
        seed, episode = self.run_seed[rows], self.episode_index[rows]
        start = draws.one_of(walkable, seed, episode, stream=1)
        walkable[np.arange(len(rows)), start] = False
        goal = draws.one_of(walkable, seed, episode, stream=2)
        self.start[rows], self.goal[rows] = start, goal
        self.oracle_steps[rows] = path_lengths(self.walls[rows], start, goal, self.geometry.width)

    def _shift(self, rows: np.ndarray) -> None:
        """Free half of the blocked cells and block as many that were free."""
        if not len(rows):
            return
        moving = self._blocked // 2
        blocked = self.walls[rows] & ~self.geometry.border  # [R, C]
        keys = draws.keys(self.run_seed[rows], self.task_index[rows], 3, blocked.shape[1])
        freed = draws.smallest(keys + ~blocked, moving)
        filled = draws.smallest(keys + self.walls[rows], moving)
        self._block(rows, blocked & ~freed | filled)

    def _block(self, rows: np.ndarray, blocked: np.ndarray) -> None:
        """Block these cells and no others within the border. `rows [R]`, `blocked [R, C]`."""
        self.walls[rows] = blocked | self.geometry.border
        self._walkable[rows] = largest_component(self.walls[rows], self.geometry.width)


class ScatterShift(SuiteEnv):
    """A grid with scattered obstacles; now and then half of them move, unannounced.

    Observation: (x, y, goal x, goal y), float32 from 0 to n - 1; (0, 0) is top left.
    Actions: 0 left (-x), 1 up (-y), 2 right (+x), 3 down (+y). Leaving the grid or entering a blocked cell leaves the
    position unchanged and costs the step.
    Reward: 1 at the goal, 0 otherwise.
    Termination: at the goal. Truncation: after n * n steps.
    Start and goal: new in each episode, distinct, in the largest connected set of free cells.
    What shifts: half of the blocked cells are freed and as many that were free are blocked: once, before episode 50
    (`schedule="mid"`), or before every episode (`"each"`). A run has 100 episodes; after the last it starts over.
    `info["oracle_steps"]`: the shortest path around the obstacles.

    Args (`gymnasium.make("engram/ScatterShift-v0", ...)`):
        n: Cells along a side (default 10).
        density: The share of cells that is blocked, 0 to 0.6 (default 0.3).
        schedule: "mid", "each", or an int: every so many episodes.
        layout_seed: What the run is drawn from; None takes the reset seed.
        show_goal: Whether the observation contains the goal (default True).
        tell_shift: Append 1 in the first episode since a shift, else 0 (default False).
        step_limit: Instead of n * n.
        render_mode: None or "rgb_array".

    Registered ids: engram/ScatterShift-v0
    """

    core_class = ScatterShiftCore


class ScatterShiftVector(SuiteVectorEnv):
    """E runs of `ScatterShift` at once."""

    core_class = ScatterShiftCore


def largest_component(walls: np.ndarray, width: int) -> np.ndarray:
    """The largest connected set of free cells, the first of equals. `walls [B, C]` -> `[B, C]` of bool."""
    beside = np.zeros((3, 3, 3), dtype=np.bool_)  # which cells touch the middle one: never those of another board
    beside[1] = ndimage.generate_binary_structure(2, 1)
    labels, _ = ndimage.label(~walls.reshape(-1, width, width), structure=beside)
    labels = labels.reshape(walls.shape)
    size = np.bincount(labels.ravel())
    size[0] = 0  # the walls
    largest = np.take_along_axis(labels, size[labels].argmax(axis=1)[:, None], axis=1)  # [B, 1]
    return labels == largest


def _period(schedule: str | int) -> int:
    """Episodes between shifts."""
    periods = {"mid": EPISODES // 2, "each": 1}
    if isinstance(schedule, str) and schedule in periods:
        return periods[schedule]
    if isinstance(schedule, str):
        raise ValueError(f'schedule must be "mid", "each" or a number of episodes from 1, got {schedule!r}.')
    return at_least(1, "schedule", schedule, "episode")
