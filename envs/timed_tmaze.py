"""TimedTMaze: a T-maze whose episodes all last as long as the shortest way, and in which lagging behind costs."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from engram_rl.envs.checks import integer, number, truth
from engram_rl.envs.core import LayoutSeed
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv
from engram_rl.envs.tmaze import TCore

RIGHT, UP, LEFT, DOWN = range(4)


class TimedTMazeCore(TCore):
    """E runs of TimedTMaze; the arguments are those of `TimedTMaze`.

    Attributes:
        seen: Whether the agent has been at the cue. `[E]` of bool
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
        lasts = integer("length", length) + 1 + 2 * truth("active", active)
        super().__init__(
            num_envs, length=length, active=active, shortest=lasts, step_limit=lasts, layout_seed=layout_seed
        )
        self._penalty = 1.0 / length if penalty is None else number("penalty", penalty)
        if not self._penalty >= 0:
            raise ValueError(f"penalty is what a step behind costs, so at least 0; got {penalty}.")
        self.seen = np.zeros(num_envs, dtype=np.bool_)
        self.showing = np.zeros(num_envs, dtype=np.bool_)
        self.observation_space = Box(np.array([0, -1], np.float32), np.ones(2, np.float32))

    def observation(self) -> np.ndarray:
        """(at the junction or in an arm, the cue or the arm). `[E, 2]` of float32."""
        return np.stack([self.place == self.junction, np.where(self.showing, self.cue, self.arm)], 1).astype(np.float32)

    def _start_episode(self, rows: np.ndarray) -> None:
        super()._start_episode(rows)
        self.seen[rows] = self.showing[rows] = self._begin == 0

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        across = (actions == UP).astype(np.int64) - (actions == DOWN)
        along = (actions == RIGHT).astype(np.int64) - (actions == LEFT)
        self.place = np.where(self.arm == 0, np.clip(self.place + along, 0, self.junction), self.place)
        self.arm = np.where(self.place == self.junction, np.clip(self.arm + across, -1, 1), 0)
        self.showing = (self.place == 0) & ~self.seen
        self.seen = self.seen | (self.place == 0)
        self._visit()
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
