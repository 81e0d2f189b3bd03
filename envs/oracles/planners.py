"""Policies that are shown the goal and know the geometry: the freespace planner, and a heuristic that plans nothing."""

from __future__ import annotations

import numpy as np

from engram_rl.envs.grid import GridCore
from engram_rl.envs.oracles.policy import Policy, Step
from engram_rl.envs.paths import UNREACHABLE, distance_fields
from engram_rl.envs.suite import SuiteVectorEnv


class GridPolicy(Policy):
    """What policies for grids with a visible goal share: reading the observation, and where an episode begins.

    Attributes:
        fresh: Which runs are about to take the first step of an episode. `[E]` of bool
    """

    privileged = "geometry, goal"

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        super().__init__(env, seed)
        core = env.core
        if not isinstance(core, GridCore) or not core.show_goal:
            raise TypeError(f"This policy plays grids that show their goal; {type(core).__name__} as built does not.")
        self.geometry = core.geometry
        self.rows = np.arange(env.num_envs)
        self.fresh = np.ones(env.num_envs, dtype=np.bool_)

    def place(self, observation: np.ndarray) -> np.ndarray:
        """The agent's cells. `[E]`."""
        return self.geometry.cell(*observation[:, :2].T.astype(np.int64))

    def goal(self, observation: np.ndarray) -> np.ndarray:
        """The goals' cells. `[E]`."""
        return self.geometry.cell(*observation[:, 2:4].T.astype(np.int64))

    def observe(self, transition: Step) -> None:
        """Note where episodes end."""
        self.fresh = transition.terminated | transition.truncated


class FreespacePlanner(GridPolicy):
    """Takes unknown cells for free, walks a shortest path on that map, and notes each cell that it bumps into.

    It keeps its map across episodes. A noted cell in which agent or goal is seen is freed; if no way is left the map is
    contradicted and dropped as a whole. Ties between shortest paths are broken at random.

    Attributes:
        blocked: Cells believed blocked. `[E, C]` of bool
    """

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        super().__init__(env, seed)
        self.blocked = np.tile(self.geometry.border, (env.num_envs, 1))
        self.steps_to_goal = np.zeros(self.blocked.shape, dtype=np.int32)  # [E, C]
        self.outdated = np.ones(env.num_envs, dtype=np.bool_)  # [E]: whose steps_to_goal must be planned anew

    @property
    def entries(self) -> int:
        """Cells noted as blocked."""
        return int((self.blocked & ~self.geometry.border).sum())

    def act(self, observation: np.ndarray, *, explore: bool = True) -> np.ndarray:
        """The first action of a shortest path on the map. `[E]`."""
        cell, goal = self.place(observation), self.goal(observation)
        self.begin_episodes(self.fresh)
        self.blocked[self.rows, cell] = self.blocked[self.rows, goal] = False
        self._plan(cell, goal)
        reached = cell[:, None] + self.geometry.moves  # [E, A]
        return self.best(np.take_along_axis(self.steps_to_goal, reached, axis=1))

    def observe(self, transition: Step) -> None:
        """Note what was bumped into."""
        super().observe(transition)
        before, after = self.place(transition.observation), self.place(transition.next_observation)
        target = before + self.geometry.moves[transition.action]
        bumped = np.flatnonzero(after == before)
        self.blocked[bumped, target[bumped]] = True
        self.outdated[bumped] = True

    def begin_episodes(self, fresh: np.ndarray) -> None:
        """A new goal needs a new plan. `fresh [E]`."""
        self.outdated |= fresh

    def forget(self, rows: np.ndarray) -> None:
        """Drop these runs' maps. `[E]` of bool."""
        self.blocked[rows] = self.geometry.border
        self.outdated |= rows

    def _plan(self, cell: np.ndarray, goal: np.ndarray) -> None:
        """Bring the plans up to date. `[E]`, `[E]`."""
        self._search(np.flatnonzero(self.outdated), cell, goal)
        shut_in = self.steps_to_goal[self.rows, cell] == UNREACHABLE
        if shut_in.any():
            self.forget(shut_in)
            self._search(np.flatnonzero(shut_in), cell, goal)
        self.outdated[:] = False

    def _search(self, rows: np.ndarray, cell: np.ndarray, goal: np.ndarray) -> None:
        width = self.geometry.width
        self.steps_to_goal[rows] = distance_fields(self.blocked[rows], goal[rows], width, until=cell[rows])


class FreshPlanner(FreespacePlanner):
    """The freespace planner with no memory: a fresh map in every episode."""

    def begin_episodes(self, fresh: np.ndarray) -> None:
        """Begin with an empty map."""
        self.forget(fresh)


class InformedPlanner(FreespacePlanner):
    """The freespace planner that knows of each shift: it drops its map exactly then."""

    privileged = "geometry, goal, shifts"

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        super().__init__(env, seed)
        self.core = env.core

    def begin_episodes(self, fresh: np.ndarray) -> None:
        """Begin with an empty map if the world has shifted."""
        super().begin_episodes(fresh)
        self.forget(fresh & self.core.shifted)


class VigilantPlanner(FreespacePlanner):
    """The freespace planner that takes one surprise for a shift: it drops its map when a cell it walked on is blocked.

    Attributes:
        walked: Cells known to be free. `[E, C]` of bool
    """

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        super().__init__(env, seed)
        self.walked = np.zeros_like(self.blocked)

    def observe(self, transition: Step) -> None:
        """Note what was walked on, and drop what it contradicts."""
        before, after = self.place(transition.observation), self.place(transition.next_observation)
        target = before + self.geometry.moves[transition.action]
        self.forget((after == before) & self.walked[self.rows, target])
        self.walked[self.rows, after] = True
        super().observe(transition)

    def forget(self, rows: np.ndarray) -> None:
        """Drop these runs' maps. `[E]` of bool."""
        super().forget(rows)
        self.walked[rows] = False


class GoalHeuristic(GridPolicy):
    """Moves towards the goal, but not where it has just been; it learns nothing: argmax(p - sqrt(visits)).

    p is 1/2 for each move that brings it nearer if nothing is in the way, else 0; visits are those of (cell, action) in
    this episode. The form is that of the fast half of the agent of arXiv 2301.13758, without its network.
    """

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        super().__init__(env, seed)
        self.visits = np.zeros((env.num_envs, len(self.geometry.border), self.num_actions))  # [E, C, A]

    def act(self, observation: np.ndarray, *, explore: bool = True) -> np.ndarray:
        """The action of most p - sqrt(visits). `[E]`."""
        cell, goal = self.place(observation), self.goal(observation)
        self.visits[self.fresh] = 0
        before = self.geometry.manhattan(cell, goal)[:, None]  # [E, 1]
        after = self.geometry.manhattan(cell[:, None] + self.geometry.moves, goal[:, None])  # [E, A]
        return self.best(np.sqrt(self.visits[self.rows, cell]) - 0.5 * (after < before))

    def observe(self, transition: Step) -> None:
        """Count the visit."""
        super().observe(transition)
        self.visits[self.rows, self.place(transition.observation), transition.action] += 1
