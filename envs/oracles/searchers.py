"""Policies for open grids whose goal is not shown: go to where it was last, and search if it is gone."""

from __future__ import annotations

import numpy as np

from engram_rl.envs.context_goal import ContextGoalCore
from engram_rl.envs.core import Observation
from engram_rl.envs.hidden_goal import OpenGridCore
from engram_rl.envs.oracles.policy import Policy, Step
from engram_rl.envs.suite import SuiteVectorEnv

_NEVER = np.inf  # the score of a cell that is not worth a visit


class LastSite(Policy):
    """Goes to where the goal was last; if it is not there, sweeps the grid, nearest unseen cell first.

    Cells are ruled out as they are walked on, until the goal is found; then the world may have shifted again.

    Args:
        env: The vector environment that it will play.
        seed: Of its choices between equally good cells and ways.
        knows_shifts: Whether it knows of shifts, and then does not try the last site.

    Attributes:
        ruled_out: Cells where the goal is not. `[E, C]` of bool
        last_site: Where the goal was last, or -1. `[E]`
        known_site: Cells where the goal ever was. `[E, C]` of bool
    """

    privileged = "geometry"

    def __init__(self, env: SuiteVectorEnv, seed: int, knows_shifts: bool = False) -> None:
        super().__init__(env, seed)
        if not isinstance(env.core, OpenGridCore):
            raise TypeError(f"This policy searches open grids; {type(env.core).__name__} is none.")
        self.privileged = "geometry, shifts" if knows_shifts else "geometry"
        self.knows_shifts = knows_shifts
        self.core = env.core
        self.geometry = env.core.geometry
        self.rows = np.arange(env.num_envs)
        self.ruled_out = np.tile(self.geometry.border, (env.num_envs, 1))
        self.last_site = np.full(env.num_envs, -1)
        self.known_site = np.zeros_like(self.ruled_out)
        self.target = np.full(env.num_envs, -1)  # [E]: the cell walked to, or -1

    @property
    def entries(self) -> int:
        """Sites remembered."""
        return int(self.known_site.sum())

    def act(self, observation: Observation, *, explore: bool = True) -> np.ndarray:
        """A step towards the cell that is worth trying next, over unseen cells where there is a choice. `[E]`."""
        cell = self.place(observation)
        self._rule_out(cell)
        undecided = np.flatnonzero((self.target < 0) | self.ruled_out[self.rows, self.target])
        if len(undecided):
            score = self.score(undecided, cell[undecided])
            score += self.random.random(score.shape) * 0.5  # ties
            score[self.ruled_out[undecided]] = _NEVER
            self.target[undecided] = score.argmin(axis=1)
        return self._towards(cell)

    def observe(self, transition: Step) -> None:
        """Remember where the goal was found."""
        after = self.place(transition.next_observation)
        found = np.flatnonzero(transition.terminated)
        self.last_site[found] = after[found]
        self.known_site[found, after[found]] = True
        self.ruled_out[found] = self.geometry.border
        self.target[transition.terminated | transition.truncated] = -1

    def place(self, observation: Observation) -> np.ndarray:
        """The agent's cells. `[E]`."""
        place = observation["place"] if isinstance(observation, dict) else observation[:, :2]
        return self.geometry.cell(*place.T.astype(np.int64))

    def score(self, rows: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """How late to try each cell: the last site first, then sweep. `[R]`, `[R]` -> `[R, C]`."""
        score = self.sweep(rows, cell)
        known = np.flatnonzero(self.last_site[rows] >= 0)
        score[known, self.last_site[rows[known]]] = -1.0
        return score

    def sweep(self, rows: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Nearest first; of the nearest that with fewest unseen neighbours, which leaves no holes. `[R, C]`."""
        unseen = ~self.ruled_out[rows]
        around = np.arange(unseen.shape[1])[:, None] + self.geometry.moves  # [C, A]
        neighbours = unseen[:, around % unseen.shape[1]].sum(axis=2)  # [R, C]
        return 10.0 * self.distance(cell) + neighbours

    def distance(self, cell: np.ndarray) -> np.ndarray:
        """Steps from each of these cells to all cells. `[R]` -> `[R, C]`."""
        return self.geometry.manhattan(cell[:, None], np.arange(len(self.geometry.border)))

    def _rule_out(self, cell: np.ndarray) -> None:
        """The goal is not where the agent is, nor, when it knows of a shift, where it was."""
        self.ruled_out[self.rows, cell] = True
        if self.knows_shifts:
            moved = np.flatnonzero(self.core.shifted & (self.core.elapsed == 0) & (self.last_site >= 0))
            self.ruled_out[moved, self.last_site[moved]] = True
        exhausted = self.ruled_out.all(axis=1)
        self.ruled_out[exhausted] = self.geometry.border
        self.ruled_out[self.rows, cell] = True

    def _towards(self, cell: np.ndarray) -> np.ndarray:
        """A step that comes nearer to the target. `[E]`."""
        reached = cell[:, None] + self.geometry.moves  # [E, A]
        nearer = self.geometry.manhattan(reached, self.target[:, None])
        seen = np.take_along_axis(self.ruled_out, reached, axis=1)
        return self.best(nearer + 0.5 * seen)


class KnownSites(LastSite):
    """Goes to where the goal was last, then to the other known sites, nearest first, then sweeps."""

    def score(self, rows: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """The last site, known sites, all others. `[R, C]`."""
        score = super().score(rows, cell)
        return score + np.where(self.known_site[rows], 0.0, 1e6)


class ContextSites(LastSite):
    """Goes to where the goal was last in this context; if it is not there, sweeps the grid: a register per context.

    It tells contexts apart by their cues and plays ContextGoal alone.

    Attributes:
        site_of: Where the goal was last under each cue, or -1. `[E, 2 ** cue_size]`
    """

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        if not isinstance(env.core, ContextGoalCore):
            raise TypeError(f"This policy plays contexts with cues; {type(env.core).__name__} has none.")
        super().__init__(env, seed)
        bits = env.core.cues.shape[2]
        self._powers = 2 ** np.arange(bits)
        self.site_of = np.full((env.num_envs, 2**bits), -1)

    @property
    def entries(self) -> int:
        """Sites remembered."""
        return int((self.site_of >= 0).sum())

    def act(self, observation: Observation, *, explore: bool = True) -> np.ndarray:
        """A step towards the cell that is worth trying next in this context. `[E]`."""
        self.last_site = self.site_of[self.rows, self._cue(observation)]
        return super().act(observation, explore=explore)

    def observe(self, transition: Step) -> None:
        """Remember where the goal was found under this cue; what was ruled out counts in this episode alone."""
        super().observe(transition)
        found = np.flatnonzero(transition.terminated)
        cue = self._cue(transition.next_observation)
        self.site_of[found, cue[found]] = self.place(transition.next_observation)[found]
        self.ruled_out[transition.terminated | transition.truncated] = self.geometry.border

    def _cue(self, observation: Observation) -> np.ndarray:
        """As numbers. `[E]`."""
        assert isinstance(observation, dict)
        return observation["cue"] @ self._powers


class LastSiteSpiral(LastSite):
    """Goes to where the goal was last, then spirals around it."""

    def score(self, rows: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """In the order of a square spiral around the last site, or a sweep if there was none. `[R, C]`."""
        offset = self.geometry.coordinates[None] - self.geometry.coordinates[self.last_site[rows]][:, None]  # [R, C, 2]
        spiral = spiral_rank(offset).astype(np.float64)
        return np.where(self.last_site[rows, None] >= 0, spiral, self.sweep(rows, cell))


def spiral_rank(offset: np.ndarray) -> np.ndarray:
    """When a spiral from the origin (right, down, left twice, up twice, ...) is there. `[..., 2]` -> `[...]`."""
    x, y = offset[..., 0], offset[..., 1]
    ring = np.maximum(np.abs(x), np.abs(y))
    first = (2 * ring - 1) ** 2  # of the ring, at (ring, -ring + 1)
    along = np.select(
        [(x == ring) & (y > -ring), (y == ring), (x == -ring)],
        [y + ring - 1, 3 * ring - 1 - x, 5 * ring - 1 - y],
        7 * ring - 1 + x,
    )
    return np.where(ring == 0, 0, first + along)
