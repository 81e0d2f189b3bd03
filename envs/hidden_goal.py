"""Open grids whose goal is not shown and shifts without a signal: HiddenGoal, RecurringGoal, NewGoal, DriftGoal."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, MultiDiscrete

from engram_rl.envs import draws
from engram_rl.envs.checks import at_least, integer, number
from engram_rl.envs.core import LayoutSeed, Observation, seeds_for
from engram_rl.envs.grid import GridCore
from engram_rl.envs.searching import COLUMNS, Search
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

# Streams of draws: what is drawn for the same episode or task must not coincide.
_START, _GOAL, _LENGTH, _SITES, _WHETHER = range(5)


class OpenGridCore(GridCore):
    """E runs on grids without obstacles, whose goal moves when `_due` says so.

    Args:
        num_envs: As for `GridCore`, like the options.
        show_unsearched: Whether the observation is a Dict of the `place`, as codes, and of `unsearched`, what
            `engram_rl.envs.searching.Search.shown` tells.

    Raises:
        ValueError: `show_unsearched` along with `show_goal` or `tell_shift`.
    """

    def __init__(self, num_envs: int, *, show_unsearched: bool = False, **options: Any) -> None:
        self._show_unsearched = show_unsearched
        if show_unsearched and (options.get("show_goal") or options.get("tell_shift")):
            raise ValueError("show_unsearched shows place and search alone: leave out show_goal and tell_shift.")
        super().__init__(num_envs, **options)
        self._search = Search(num_envs, self.geometry)
        self.searched = self._search.searched  # [E, C], part of a run's state

    def observation(self) -> Observation:
        """What every grid shows, or the place and where there is still something to search."""
        if not self._show_unsearched:
            return super().observation()
        place = self.geometry.coordinates[self.cell]  # [E, 2]
        return {"place": place, "unsearched": self._search.shown(self.cell)}

    def _start_episode(self, rows: np.ndarray) -> None:
        super()._start_episode(rows)
        if self._show_unsearched:
            self._search.forget(rows[self.episode_index[rows] == 0])
            self._search.visit(rows, self.cell[rows])

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reward, found = super()._act(actions)
        if self._show_unsearched:
            self._search.visit(np.arange(self.num_envs), self.cell)
            self._search.forget(np.flatnonzero(found))
        return reward, found

    def _space(self) -> Space[Any]:
        if not self._show_unsearched:
            return super()._space()
        bound = np.ones(COLUMNS, np.float32)
        return Dict(place=MultiDiscrete([self.geometry.n] * 2), unsearched=Box(-bound, bound))

    def _lay_out(self, rows: np.ndarray) -> None:
        due = self._due(rows)  # [R]
        self._enter_task(rows, self.task_index[rows] + due)
        if due.any():
            self._move_goal(rows[due])
        self.start[rows] = self._cell_but(self.goal[rows], self.run_seed[rows], self.episode_index[rows], _START)
        self.oracle_steps[rows] = self.geometry.manhattan(self.start[rows], self.goal[rows])

    def _due(self, rows: np.ndarray) -> np.ndarray:
        """Whether the goal moves before the current episode; never before the first. `[R]` of bool."""
        raise NotImplementedError

    def _move_goal(self, rows: np.ndarray) -> None:
        """Set the goal of the task that has just begun."""
        raise NotImplementedError

    def _cell_but(self, cell: np.ndarray, seed: np.ndarray, counter: np.ndarray, stream: int) -> np.ndarray:
        """A uniform cell other than this one. `[R]`."""
        n = self.geometry.n
        x, y = self.geometry.coordinates[cell].T
        other = (y * n + x + 1 + draws.integers(seed, counter, stream, n * n - 1)) % (n * n)
        return self.geometry.cell(other % n, other // n)

    def _sites(self, seed: np.ndarray, count: int) -> np.ndarray:
        """Distinct cells in random order. `[R, count]`."""
        n = self.geometry.n
        order = np.argsort(draws.keys(seed, 0, _SITES, n * n), axis=1)[:, :count]
        return self.geometry.cell(order % n, order // n)


class HiddenGoalCore(OpenGridCore):
    """E runs of HiddenGoal; the arguments are those of `HiddenGoal`."""

    def __init__(
        self,
        num_envs: int,
        *,
        n: int = 10,
        period: int = 20,
        jitter: int = 0,
        show_goal: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(num_envs, n=n, show_goal=show_goal, **options)
        at_least(1, "period", period, "episode")
        if not 0 <= integer("jitter", jitter) < period:
            raise ValueError(f"jitter must be from 0 to period - 1 = {period - 1}, got {jitter}.")
        self._period = period
        self._jitter = jitter
        self._next_shift = np.zeros(num_envs, dtype=np.int64)  # [E]: the episode before which the goal moves

    def _start_run(self, rows: np.ndarray) -> None:
        self.goal[rows] = self._first_goal(rows)
        self._next_shift[rows] = self._block_length(rows)

    def _first_goal(self, rows: np.ndarray) -> np.ndarray:
        """Goals of runs that begin. `[R]`."""
        return self._sites(self.run_seed[rows], 1)[:, 0]

    def _due(self, rows: np.ndarray) -> np.ndarray:
        return self.episode_index[rows] == self._next_shift[rows]

    def _move_goal(self, rows: np.ndarray) -> None:
        self._next_shift[rows] += self._block_length(rows)
        self.goal[rows] = self._new_goal(rows)

    def _new_goal(self, rows: np.ndarray) -> np.ndarray:
        """Where the goal is in the task that has just begun. `[R]`."""
        return self._cell_but(self.goal[rows], self.run_seed[rows], self.task_index[rows], _GOAL)

    def _block_length(self, rows: np.ndarray) -> np.ndarray:
        """Episodes that the current task lasts. `[R]`."""
        spread = draws.integers(self.run_seed[rows], self.task_index[rows], _LENGTH, 2 * self._jitter + 1)
        return self._period - self._jitter + spread


class RecurringGoalCore(HiddenGoalCore):
    """E runs of RecurringGoal; the arguments are those of `RecurringGoal`."""

    def __init__(
        self,
        num_envs: int,
        *,
        sites: int = 4,
        period: int = 20,
        jitter: int = 5,
        sites_seed: LayoutSeed = None,
        **options: Any,
    ) -> None:
        super().__init__(num_envs, period=period, jitter=jitter, **options)
        cells = self.geometry.n**2
        if not 2 <= integer("sites", sites) <= cells:
            raise ValueError(f"sites must be from 2 to the grid's {cells} cells, got {sites}.")
        self._sites_seed = seeds_for("sites_seed", sites_seed, num_envs)
        self.sites = np.zeros((num_envs, sites), dtype=np.int64)  # [E, M]
        self._site = np.zeros(num_envs, dtype=np.int64)  # [E]: which of them is the goal

    def _start_run(self, rows: np.ndarray) -> None:
        seeds = self.run_seed if self._sites_seed is None else self._sites_seed
        self.sites[rows] = self._sites(seeds[rows], self.sites.shape[1])
        self._site[rows] = 0
        super()._start_run(rows)

    def _first_goal(self, rows: np.ndarray) -> np.ndarray:
        return self.sites[rows, 0]

    def _new_goal(self, rows: np.ndarray) -> np.ndarray:
        count = self.sites.shape[1]
        onward = 1 + draws.integers(self.run_seed[rows], self.task_index[rows], _GOAL, count - 1)
        self._site[rows] = (self._site[rows] + onward) % count
        return self.sites[rows, self._site[rows]]


class NewGoalCore(HiddenGoalCore):
    """E runs of NewGoal; the arguments are those of `NewGoal`."""

    def __init__(self, num_envs: int, *, period: int = 20, jitter: int = 5, **options: Any) -> None:
        super().__init__(num_envs, period=period, jitter=jitter, **options)
        self.sites = np.zeros((num_envs, self.geometry.n**2), dtype=np.int64)  # [E, n * n]: every cell once

    def _start_run(self, rows: np.ndarray) -> None:
        self.sites[rows] = self._sites(self.run_seed[rows], self.sites.shape[1])
        super()._start_run(rows)

    def _first_goal(self, rows: np.ndarray) -> np.ndarray:
        return self.sites[rows, 0]

    def _new_goal(self, rows: np.ndarray) -> np.ndarray:
        return self.sites[rows, self.task_index[rows] % self.sites.shape[1]]


class DriftGoalCore(OpenGridCore):
    """E runs of DriftGoal; the arguments are those of `DriftGoal`."""

    def __init__(
        self,
        num_envs: int,
        *,
        n: int = 10,
        q: float = 0.25,
        stride: int = 1,
        show_goal: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(num_envs, n=n, show_goal=show_goal, **options)
        if not 0 <= number("q", q) <= 1:
            raise ValueError(f"q is a probability, from 0 to 1; got {q}.")
        self._q = q
        self._stride = at_least(1, "stride", stride, "step")

    def _start_run(self, rows: np.ndarray) -> None:
        self.goal[rows] = self._sites(self.run_seed[rows], 1)[:, 0]

    def _due(self, rows: np.ndarray) -> np.ndarray:
        episode = self.episode_index[rows]
        return (draws.uniforms(self.run_seed[rows], episode, _WHETHER) < self._q) & (episode > 0)

    def _move_goal(self, rows: np.ndarray) -> None:
        for step in range(self._stride):
            around = self.goal[rows, None] + self.geometry.moves  # [R, 4]
            moment = self.task_index[rows] * self._stride + step
            way = draws.one_of(~self.geometry.border[around], self.run_seed[rows], moment, _GOAL)
            self.goal[rows] += self.geometry.moves[way]


class HiddenGoal(SuiteEnv):
    """An open grid whose goal must be found, stays for some episodes, then is elsewhere, unannounced.

    Observation: (x, y), float32 from 0 to n - 1; (0, 0) is top left. The goal is not shown.
    Actions: 0 left (-x), 1 up (-y), 2 right (+x), 3 down (+y). Leaving the grid leaves the position unchanged and costs
    the step.
    Reward: 1 at the goal, 0 otherwise.
    Termination: at the goal. Truncation: after n * n steps.
    Start: a new uniform cell, not the goal's, in each episode.
    What shifts: every `period` episodes the goal is redrawn, uniform over the cells where it is not. A run never ends.
    `info["oracle_steps"]`: the Manhattan distance from start to goal, which only who knows the goal can walk.
    Limit: n * n / 2 steps and more to find a goal that has shifted, then 6.67 an episode at n = 10.

    Args (`gymnasium.make("engram/HiddenGoal-v0", ...)`):
        n: Cells along a side (default 10).
        period: Episodes for which the goal stays (default 20).
        jitter: Each stay is drawn from period - jitter to period + jitter (default 0).
        layout_seed: What the run is drawn from; None takes the reset seed.
        show_goal: Whether the observation contains the goal (default False).
        tell_shift: Append 1 in the first episode since a shift, else 0 (default False).
        show_unsearched: Whether the observation is a Dict instead (default False): `place`, (x, y) as codes; and
            `unsearched`, which of the four cells beside the agent it has not walked on since it last found the goal (1
            or 0, in the order of the actions), then the way to the nearest such cell of all (dx, dy; 1 for three cells
            and more). It is what a searcher would note down, the same for every agent.
        step_limit: Instead of n * n.
        render_mode: None or "rgb_array".

    Registered ids: engram/HiddenGoal-v0
    """

    core_class = HiddenGoalCore


class HiddenGoalVector(SuiteVectorEnv):
    """E runs of `HiddenGoal` at once."""

    core_class = HiddenGoalCore


class RecurringGoal(SuiteEnv):
    """`HiddenGoal`, but the goal returns to a few sites, so that what was learned there is worth keeping.

    Observation, actions, reward, termination, truncation, start and `oracle_steps`: as `HiddenGoal`.
    What shifts: after 15 to 25 episodes the goal moves to another of `sites` cells, uniformly drawn, unannounced. The
    sites are drawn once for the run, uniform over the grid and distinct. A run never ends.
    Limit, once all sites are known: the shortest tour of those where the goal may be.

    Args (`gymnasium.make("engram/RecurringGoal-v0", ...)`):
        sites: How many there are (default 4).
        sites_seed: What the sites are drawn from, and the one that a run begins with: one int for all runs, or one for
            each; starts and moves go on to differ. None (default) for other sites in each run.
        period: Episodes for which the goal stays, on average (default 20).
        jitter: Each stay is drawn from period - jitter to period + jitter (default 5).
        n, layout_seed, show_goal, tell_shift, show_unsearched, step_limit, render_mode: as `HiddenGoal`.

    Registered ids: engram/RecurringGoal-v0
    """

    core_class = RecurringGoalCore


class RecurringGoalVector(SuiteVectorEnv):
    """E runs of `RecurringGoal` at once."""

    core_class = RecurringGoalCore


class NewGoal(SuiteEnv):
    """`RecurringGoal`, but every shift leads to a cell that was not the goal before: no old goal is of use.

    Observation, actions, reward, termination, truncation, start and `oracle_steps`: as `HiddenGoal`.
    What shifts: after 15 to 25 episodes the goal moves to a cell where it has not yet been in this run, unannounced;
    only after all n * n cells does the order repeat. A run never ends.
    Limit: a search in the first episode since a shift, then the shortest path.

    Args (`gymnasium.make("engram/NewGoal-v0", ...)`):
        period: Episodes for which the goal stays, on average (default 20).
        jitter: Each stay is drawn from period - jitter to period + jitter (default 5).
        n, layout_seed, show_goal, tell_shift, show_unsearched, step_limit, render_mode: as `HiddenGoal`.

    Registered ids: engram/NewGoal-v0
    """

    core_class = NewGoalCore


class NewGoalVector(SuiteVectorEnv):
    """E runs of `NewGoal` at once."""

    core_class = NewGoalCore


class DriftGoal(SuiteEnv):
    """`HiddenGoal`, but the goal walks: what was seen last is nearly right, and the older the less.

    Observation, actions, reward, termination, truncation, start and `oracle_steps`: as `HiddenGoal`.
    What shifts: before each episode but the first the goal moves with probability q, unannounced: `stride` times to a
    random neighbouring cell. Within an episode it stays. A run never ends.
    Limit: go to where it was last, then search around.

    Args (`gymnasium.make("engram/DriftGoal-v0", ...)`):
        q: The probability of a move between two episodes (default 0.25).
        stride: Steps of a move (default 1).
        n, layout_seed, show_goal, tell_shift, show_unsearched, step_limit, render_mode: as `HiddenGoal`.

    Registered ids: engram/DriftGoal-v0
    """

    core_class = DriftGoalCore


class DriftGoalVector(SuiteVectorEnv):
    """E runs of `DriftGoal` at once."""

    core_class = DriftGoalCore
