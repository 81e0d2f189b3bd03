"""An open grid whose hidden goal depends on a cue: each of a few contexts has a site, and now and then one moves."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Dict, MultiBinary, MultiDiscrete

from engram_rl.envs import draws
from engram_rl.envs.checks import integer
from engram_rl.envs.core import LayoutSeed, Observation
from engram_rl.envs.hidden_goal import HiddenGoalCore
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

LONGEST_CUE = 12
"""Numbers in a cue; all cues of that length are put in order for each run."""

_CONTEXT, _CUES = 100, 101  # streams of draws, beside those of the hidden goal


class ContextGoalCore(HiddenGoalCore):
    """E runs of ContextGoal; the arguments are those of `ContextGoal`.

    Attributes:
        cues: What is shown in each context. `[E, contexts, cue_size]` of int8
        sites: Where the goal is in each context. `[E, contexts]`
        context: That of the current episode. `[E]`
    """

    def __init__(
        self,
        num_envs: int,
        *,
        n: int = 6,
        contexts: int = 4,
        cue_size: int = 8,
        period: int = 10,
        jitter: int = 5,
        layout_seed: LayoutSeed = None,
        step_limit: int | None = None,
    ) -> None:
        if not 1 <= integer("cue_size", cue_size) <= LONGEST_CUE:
            raise ValueError(f"cue_size must be from 1 to {LONGEST_CUE}, got {cue_size}.")
        self._cue_size = cue_size
        super().__init__(num_envs, n=n, period=period, jitter=jitter, layout_seed=layout_seed, step_limit=step_limit)
        cells, cues = self.geometry.n**2, 2**cue_size
        if not 1 <= integer("contexts", contexts) <= min(cells - 1, cues):
            raise ValueError(
                f"contexts must be from 1 to {min(cells - 1, cues)}, as there are {cells} cells and {cues} cues of "
                f"cue_size={cue_size}; got {contexts}."
            )
        self._contexts = contexts
        self._order = np.zeros((num_envs, cells), dtype=np.int64)  # [E, n * n]: every cell once, as they are dealt
        self.cues = np.zeros((num_envs, contexts, cue_size), dtype=np.int8)
        self.sites = np.zeros((num_envs, contexts), dtype=np.int64)
        self.context = np.zeros(num_envs, dtype=np.int64)

    def observation(self) -> Observation:
        """The place, as codes, and the context's cue. `[E, 2]`, `[E, cue_size]`."""
        place = self.geometry.coordinates[self.cell]
        return {"place": place, "cue": self.cues[np.arange(self.num_envs), self.context]}

    def _space(self) -> Space[Any]:
        return Dict(place=MultiDiscrete([self.geometry.n] * 2), cue=MultiBinary(self._cue_size))

    def _start_run(self, rows: np.ndarray) -> None:
        seed = self.run_seed[rows]
        self._order[rows] = self._sites(seed, self._order.shape[1])
        self.sites[rows] = self._order[rows, : self._contexts]
        codes = np.argsort(draws.keys(seed, 0, _CUES, 2**self._cue_size), axis=1)[:, : self._contexts]  # [R, contexts]
        self.cues[rows] = codes[..., None] >> np.arange(self._cue_size) & 1
        super()._start_run(rows)

    def _first_goal(self, rows: np.ndarray) -> np.ndarray:
        return self.sites[rows, 0]

    def _lay_out(self, rows: np.ndarray) -> None:
        self.context[rows] = draws.integers(self.run_seed[rows], self.episode_index[rows], _CONTEXT, self._contexts)
        self.goal[rows] = self.sites[rows, self.context[rows]]
        super()._lay_out(rows)

    def _new_goal(self, rows: np.ndarray) -> np.ndarray:
        dealt = self._contexts + self.task_index[rows] - 1
        self.sites[rows, self.context[rows]] = self._order[rows, dealt % self._order.shape[1]]
        return self.sites[rows, self.context[rows]]


class ContextGoal(SuiteEnv):
    """An open grid with a hidden goal in a place that depends on a cue: what was found last is mostly not what counts.

    A run has `contexts` contexts. Each has a cue, which is shown throughout its episodes, and a site, where the goal is
    in its episodes. Each episode is in a context that is drawn uniformly, so that others come between two of one.

    Observation: a Dict of `place`, (x, y) as codes from 0 to n - 1, (0, 0) top left; and `cue`, `cue_size` bits. The
    goal is not shown. Cues are drawn for each run, distinct: what a cue means can only be found out in the run.
    Actions: 0 left (-x), 1 up (-y), 2 right (+x), 3 down (+y). Leaving the grid leaves the position unchanged and costs
    the step.
    Reward: 1 at the goal, 0 otherwise; the sites of other contexts pay nothing.
    Termination: at the goal. Truncation: after n * n steps.
    Start: a new uniform cell, not the goal's, in each episode.
    What shifts: after 5 to 15 episodes the site of the context of the episode that begins then moves, unannounced; the
    other contexts keep theirs. Sites, at first and later, are dealt from one random order of all cells, so none is
    where any was before in this run; only after all n * n cells does the order repeat. A run never ends.
    `info["oracle_steps"]`: the Manhattan distance from start to goal, which only who knows the goal can walk.
    Limit: the shortest path in each context whose site was found since it last moved, a search in the others. Who knows
    only where it was rewarded last is wrong in all episodes but those in the context of the last find.

    Args (`gymnasium.make("engram/ContextGoal-v0", ...)`):
        n: Cells along a side (default 6).
        contexts: How many there are (default 4), fewer than cells and no more than there are cues.
        cue_size: Bits of a cue, 1 to 12 (default 8).
        period: Episodes from one move of a site to the next, on average (default 10).
        jitter: Each such stay is drawn from period - jitter to period + jitter (default 5).
        layout_seed: What the run is drawn from; None takes the reset seed.
        step_limit: Instead of n * n.
        render_mode: None or "rgb_array".

    Registered ids: engram/ContextGoal-v0
    """

    core_class = ContextGoalCore


class ContextGoalVector(SuiteVectorEnv):
    """E runs of `ContextGoal` at once."""

    core_class = ContextGoalCore
