"""CornerGoal: an open grid whose hidden goal lies in a corner and moves to another every so many steps."""

from __future__ import annotations

import numpy as np

from engram_rl.envs import draws
from engram_rl.envs.checks import at_least
from engram_rl.envs.core import LayoutSeed
from engram_rl.envs.hidden_goal import OpenGridCore
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

_CORNER = 7  # stream of draws, apart from those of `engram_rl.envs.hidden_goal`


class CornerGoalCore(OpenGridCore):
    """E runs of CornerGoal; the arguments are those of `CornerGoal`."""

    def __init__(
        self,
        num_envs: int,
        *,
        n: int = 7,
        period: int = 3000,
        layout_seed: LayoutSeed = None,
        show_goal: bool = False,
        tell_shift: bool = False,
        step_limit: int | None = None,
    ) -> None:
        super().__init__(
            num_envs,
            n=n,
            layout_seed=layout_seed,
            show_goal=show_goal,
            tell_shift=tell_shift,
            step_limit=step_limit,
        )
        self._period = at_least(1, "period", period, "step")
        self._steps = np.zeros(num_envs, dtype=np.int64)  # [E]: of the whole run
        ends = np.array([0, n - 1])
        self._corners = self.geometry.cell(*np.meshgrid(ends, ends)).ravel()  # [4]
        self._corner = np.zeros(num_envs, dtype=np.int64)  # [E]: which of them is the goal

    def _start_run(self, rows: np.ndarray) -> None:
        self._steps[rows] = 0
        self._corner[rows] = draws.integers(self.run_seed[rows], 0, _CORNER, 4)
        self.goal[rows] = self._corners[self._corner[rows]]

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._steps += 1
        return super()._act(actions)

    def _due(self, rows: np.ndarray) -> np.ndarray:
        return self._steps[rows] >= (self.task_index[rows] + 1) * self._period

    def _move_goal(self, rows: np.ndarray) -> None:
        onward = 1 + draws.integers(self.run_seed[rows], self.task_index[rows], _CORNER, 3)
        self._corner[rows] = (self._corner[rows] + onward) % 4
        self.goal[rows] = self._corners[self._corner[rows]]


class CornerGoal(SuiteEnv):
    """An open grid whose goal lies in a corner, and after so many steps in another, unannounced.

    Observation: (x, y), float32 from 0 to n - 1; (0, 0) is top left. The goal is not shown.
    Actions: 0 left (-x), 1 up (-y), 2 right (+x), 3 down (+y). Leaving the grid leaves the position unchanged and costs
    the step.
    Reward: 1 at the goal, 0 otherwise.
    Termination: at the goal. Truncation: after n * n steps.
    Start: a new uniform cell, not the goal's, in each episode.
    What shifts: with the first episode after every `period` steps of the run, the goal moves to another of the four
    corners, drawn at random. A run never ends.
    `info["oracle_steps"]`: the Manhattan distance from start to goal, which only who knows the goal can walk.

    Args (`gymnasium.make("engram/CornerGoal-v0", ...)`):
        n: Cells along a side (default 7).
        period: Steps of the run for which the goal stays (default 3000).
        layout_seed: What the run is drawn from; None takes the reset seed.
        show_goal: Whether the observation contains the goal (default False).
        tell_shift: Append 1 in the first episode since a shift, else 0 (default False).
        step_limit: Instead of n * n.
        render_mode: None or "rgb_array".

    Registered ids: engram/CornerGoal-v0
    """

    core_class = CornerGoalCore


class CornerGoalVector(SuiteVectorEnv):
    """E runs of `CornerGoal` at once."""

    core_class = CornerGoalCore
