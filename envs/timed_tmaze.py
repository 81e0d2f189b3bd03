"""TimedTMaze: a T-maze whose episodes all last as long as the shortest way, and in which lagging behind costs."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Discrete

from engram_rl.envs import draws
from engram_rl.envs.core import Core, LayoutSeed
from engram_rl.envs.rendering import draw_grid
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

RIGHT, UP, LEFT, DOWN = range(4)


class TimedTMazeCore(Core):
    """E runs of TimedTMaze; the arguments are those of `TimedTMaze`.

    Attributes:
        cue: Which arm is rewarded: 1 the upper, -1 the lower. `[E]`
        place: Where along the corridor the agent is, from 0 at the cue to `junction`. `[E]`
        arm: 1 in the upper arm, -1 in the lower, 0 in the corridor. `[E]`
        seen: Whether it has been at the cue. `[E]` of bool
        showing: Whether the cue is shown now. `[E]` of bool
    """

    def __init__(
        self,
        num_envs: int,
        *,
        length: int = 10,
        active: bool = False,
        penalty: float | None = None,
        layout_seed: LayoutSeed = None,
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1 step from start to junction, got {length}.")
        self._penalty = 1.0 / length if penalty is None else penalty
        if not self._penalty >= 0:
            raise ValueError(f"penalty is what a step behind costs, so at least 0; got {penalty}.")
        self._begin = int(active)
        self.junction = self._begin + length
        super().__init__(num_envs, step_limit=length + 1 + 2 * self._begin, layout_seed=layout_seed)
        self.cue = np.ones(num_envs, dtype=np.int64)
        self.place = np.zeros(num_envs, dtype=np.int64)
        self.arm = np.zeros(num_envs, dtype=np.int64)
        self.seen = np.zeros(num_envs, dtype=np.bool_)
        self.showing = np.zeros(num_envs, dtype=np.bool_)
        self._visited_at = np.full((num_envs, 3, self.junction + 1), -1, dtype=np.int32)
        self._all = np.arange(num_envs)
        self.action_space = Discrete(4)
        self.observation_space = Box(np.array([0, -1], np.float32), np.ones(2, np.float32))

    def observation(self) -> np.ndarray:
        """(at the junction or in an arm, the cue or the arm). `[E, 2]` of float32."""
        return np.stack([self.place == self.junction, np.where(self.showing, self.cue, self.arm)], 1).astype(np.float32)

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
        self.seen[rows] = self.showing[rows] = self._begin == 0
        self.oracle_steps[rows] = self.step_limit
        self._visited_at[rows] = -1
        self._visited_at[rows, 1, self._begin] = 0

    def _cue_of(self, rows: np.ndarray) -> np.ndarray:
        """The cue of the current episodes. `[R]`."""
        return 2 * draws.integers(self.run_seed[rows], self.episode_index[rows], 0, 2) - 1

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        across = (actions == UP).astype(np.int64) - (actions == DOWN)
        along = (actions == RIGHT).astype(np.int64) - (actions == LEFT)
        self.place = np.where(self.arm == 0, np.clip(self.place + along, 0, self.junction), self.place)
        self.arm = np.where(self.place == self.junction, np.clip(self.arm + across, -1, 1), 0)
        self.showing = (self.place == 0) & ~self.seen
        self.seen = self.seen | (self.place == 0)
        self._visited_at[self._all, 1 - self.arm, self.place] = self.elapsed
        over = self.elapsed >= self.step_limit
        behind = self.place < self.elapsed - self._begin
        return np.where(over, (self.arm == self.cue).astype(np.float64), -self._penalty * behind), over


class TimedTMaze(SuiteEnv):
    """A corridor with a cue at one end and two arms at the other, to be walked without losing a step.

    Observation: (at the junction or in an arm, a number), float32. The number is 1 (upper arm) or -1 (lower arm): the
    cue, when the agent is at the corridor's first cell for the first time in the episode; the arm in which it stands;
    0 elsewhere. All other cells of the corridor look alike.
    Actions: 0 right, 1 up, 2 left, 3 down. Walls hold.
    Reward: in the last step 1 in the arm that the cue named and 0 elsewhere. In every other step `-penalty` if
    the agent is behind: fewer cells from the cue than it has made steps, the first step of the active maze not counted.
    Termination: after length + 1 steps; active, after length + 3, which are enough to fetch the cue.
    Start: passive, at the cue; active, one step to the right of it.
    What shifts: the cue is drawn anew for every episode, either way with equal probability. A run never ends.
    `info["oracle_steps"]`: the steps of an episode.
    Limit: a return of 1, active as well, as the steps to the cue and back are allowed for; 0.5 without memory.

    Args (`gymnasium.make("engram/TimedTMaze-v0", ...)`):
        length: Steps from the start to the junction (default 10; published 1 to 1500).
        active: Whether the cue must be fetched (default False).
        penalty: Of a step behind (default 1 / length, so that all of them cost 1).
        layout_seed: What the cues are drawn from; None takes the reset seed.
        render_mode: None or "rgb_array".

    Source: Ni et al. 2023, "When do transformers shine in RL?", arXiv 2307.03864, appendix on T-mazes.
    Registered ids: engram/TimedTMaze-v0
    """

    core_class = TimedTMazeCore


class TimedTMazeVector(SuiteVectorEnv):
    """E runs of `TimedTMaze` at once."""

    core_class = TimedTMazeCore
