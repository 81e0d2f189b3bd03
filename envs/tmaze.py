"""TMaze: a cue at the beginning of a corridor says which way to turn at its end; and what all T-mazes share."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Discrete

from engram_rl.envs import draws
from engram_rl.envs.checks import integer, truth
from engram_rl.envs.core import Core, LayoutSeed
from engram_rl.envs.rendering import draw_grid
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

LEFT, UP, RIGHT, DOWN = range(4)


class TCore(Core):
    """E runs in a T: a corridor with a cue at its first cell, and an arm up and one down at its junction.

    Attributes:
        cue: Which arm is rewarded: 1 the upper, -1 the lower. `[E]`
        place: Where along the corridor the agent is, from 0 at the cue to `junction`. `[E]`
        arm: Where across the corridor it is: 1 upper arm, -1 lower arm, 0 in the corridor. `[E]`
    """

    def __init__(
        self, num_envs: int, *, length: int, active: bool, shortest: int, step_limit: int, layout_seed: LayoutSeed
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1 step from start to junction, got {length}.")
        super().__init__(num_envs, step_limit=step_limit, layout_seed=layout_seed)
        self.junction = length + active
        self._begin = int(active)
        self._shortest = shortest
        self.cue = np.ones(num_envs, dtype=np.int64)
        self.place = np.zeros(num_envs, dtype=np.int64)
        self.arm = np.zeros(num_envs, dtype=np.int64)
        self._visited_at = np.full((num_envs, 3, self.junction + 1), -1, dtype=np.int32)
        self._all = np.arange(num_envs)
        self.action_space = Discrete(4)

    def render(self, row: int) -> np.ndarray:
        """The T on its side, the rewarded arm green. `[H, W, 3]` of uint8."""
        walls = np.ones((5, self.junction + 3), dtype=np.bool_)
        walls[2, 1:-1] = walls[1:4, self.junction + 1] = False
        return draw_grid(
            walls=walls,
            visited_at=np.pad(self._visited_at[row], 1, constant_values=-1),
            cells={
                "start": (2, self._begin + 1),
                "goal": (2 - int(self.cue[row]), self.junction + 1),
                "cell": (2 - int(self.arm[row]), int(self.place[row]) + 1),
            },
        )

    def _start_run(self, rows: np.ndarray) -> None:
        self.cue[rows] = self._cue_of(rows)

    def _start_episode(self, rows: np.ndarray) -> None:
        cue = self._cue_of(rows)
        self._enter_task(rows, self.task_index[rows] + (cue != self.cue[rows]))
        self.cue[rows] = cue
        self.place[rows], self.arm[rows] = self._begin, 0
        self.oracle_steps[rows] = self._shortest
        self._visited_at[rows] = -1
        self._visited_at[rows, 1, self._begin] = 0

    def _cue_of(self, rows: np.ndarray) -> np.ndarray:
        """The cue of the current episodes. `[R]`."""
        return 2 * draws.integers(self.run_seed[rows], self.episode_index[rows], 0, 2) - 1

    def _visit(self) -> None:
        self._visited_at[self._all, 1 - self.arm, self.place] = self.elapsed


class TMazeCore(TCore):
    """E runs of TMaze; the arguments are those of `TMaze`."""

    def __init__(
        self,
        num_envs: int,
        *,
        length: int = 10,
        active: bool = False,
        layout_seed: LayoutSeed = None,
        step_limit: int | None = None,
    ) -> None:
        shortest, active = integer("length", length) + 1, truth("active", active)
        limit = 2 * (shortest + 2 * active) if step_limit is None else step_limit
        super().__init__(
            num_envs, length=length, active=active, shortest=shortest, step_limit=limit, layout_seed=layout_seed
        )
        self.observation_space = Box(np.array([-1, 0, 0, 0], np.float32), np.ones(4, np.float32))

    def observation(self) -> np.ndarray:
        """(cue, at the cue, in the corridor, at the junction or in an arm). `[E, 4]` of float32."""
        at_cue, at_end = self.place == 0, self.place == self.junction
        seen = [np.where(at_cue, self.cue, 0), at_cue, ~at_cue & ~at_end, at_end]
        return np.stack(seen, axis=1).astype(np.float32)

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turns = self.place == self.junction
        self.arm = np.where(turns, (actions == UP).astype(np.int64) - (actions == DOWN), 0)
        along = (actions == RIGHT).astype(np.int64) - (actions == LEFT)
        self.place = np.clip(self.place + along, 0, self.junction)
        self._visit()
        return (self.arm == self.cue).astype(np.float64), self.arm != 0


class TMaze(SuiteEnv):
    """A corridor with a cue at one end and two arms at the other; the cue says which arm is rewarded.

    Observation: (cue, at the cue, in the corridor, at the junction), float32. The cue is 1 (upper arm) or -1 (lower
    arm) where it can be seen, at the corridor's first cell, and 0 elsewhere. All corridor cells look alike.
    Actions: 0 left, 1 up, 2 right, 3 down. Up and down do nothing in the corridor; at the junction they enter an arm.
    Reward: 1 on entering the arm that the cue named, 0 otherwise.
    Termination: on entering an arm. Truncation: after twice the steps of the shortest solution, the way to the cue
    included.
    Start: passive, at the cue, which therefore is seen first; active, one step to the right of it, so that the agent
    must first go and look.
    What shifts: the cue is drawn anew for every episode, either way with equal probability. A run never ends.
    `info["oracle_steps"]`: length + 1; who must fetch the cue takes 2 more.
    Limit: a mean return of 1; 0.5 without memory.

    Args (`gymnasium.make("engram/TMaze-v0", ...)`):
        length: Steps from the start to the junction (default 10; up to 100 is usual).
        active: Whether the cue must be fetched (default False).
        layout_seed: What the cues are drawn from; None takes the reset seed.
        step_limit: Instead of twice the shortest solution.
        render_mode: None or "rgb_array".

    Source: Bakker 2001, "Reinforcement learning with long short-term memory"; passive and active as in Ni et al. 2023,
    arXiv 2307.03864.
    Registered ids: engram/TMaze-v0
    """

    core_class = TMazeCore


class TMazeVector(SuiteVectorEnv):
    """E runs of `TMaze` at once."""

    core_class = TMazeCore
