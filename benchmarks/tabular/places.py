"""States and goals of a view as numbers of rows in tables: the same that the fast/slow agent is told."""

from __future__ import annotations

import numpy as np

from engram_rl.agents.agent import Observation
from engram_rl.agents.goal_directed.views import GoalView
from engram_rl.training.errors import UsageError

LARGEST = 10**5
"""States that a table may have."""


class Places:
    """Numbers the whole states and the goals of a view within its bounds; a goal leaves a heading open.

    Args:
        view: Reads states and goals.

    Attributes:
        shape: Values that each number of a state can have. `[D]`
        num_states: S.
        num_goals: G, all settings of the numbers that movements do not depend on.
        goal_of: The goal that each state meets. `[S]`
        context: What its movements depend on, numbered. `[S]`
        coordinates: Of each state, from 0 on. `[S, D]`

    Raises:
        UsageError: States have no bounds, or too many values for a table.
    """

    def __init__(self, view: GoalView) -> None:
        if view.bounds is None:
            raise UsageError("A tabular agent needs places with bounds: choose an environment whose places have them.")
        self._view, (self._low, high) = view, view.bounds
        self.shape = (high - self._low).astype(np.int64) + 1
        self.num_states = int(self.shape.prod())
        if self.num_states > LARGEST:
            raise UsageError(f"{self.num_states} places are too many for a table: at most {LARGEST}.")
        self.coordinates = np.stack(np.unravel_index(np.arange(self.num_states), self.shape), axis=1)
        self._closed = [one for one in range(len(self.shape)) if one not in view.movement_context]
        self.goal_of = self._numbered(self.coordinates, self._closed)
        self.num_goals = int(self.shape[self._closed].prod())
        self.context = self._numbered(self.coordinates, list(view.movement_context))

    @property
    def shows_goal(self) -> bool:
        """Whether observations contain the goal."""
        return self._view.shows_goal

    def states(self, observation: Observation) -> np.ndarray:
        """Where the agent is. `[E]`."""
        return self._numbered(self._counted(self._view.states(observation)), list(range(len(self.shape))))

    def goals(self, observation: Observation) -> np.ndarray:
        """Where it should go; 0 throughout where no goal is shown. `[E]`."""
        goals = self._view.goals(observation)
        if not self.shows_goal:
            return np.zeros(len(goals), np.int64)
        return self._numbered(self._counted(np.nan_to_num(goals)), self._closed)

    def moved(self, states: np.ndarray, by: np.ndarray) -> np.ndarray:
        """The states at these displacements, -1 where that is beyond the bounds. `[...]`, `[..., D]` -> `[...]`."""
        there = self.coordinates[states] + by
        inside = ((there >= 0) & (there < self.shape)).all(-1)
        numbers = self._numbered(np.where(inside[..., None], there, 0), list(range(len(self.shape))))
        return np.where(inside, numbers, -1)

    def _counted(self, numbers: np.ndarray) -> np.ndarray:
        return np.rint(numbers - self._low).astype(np.int64)

    def _numbered(self, coordinates: np.ndarray, columns: list[int]) -> np.ndarray:
        """`[..., D]` by these of its columns. `[...]`."""
        if not columns:
            return np.zeros(coordinates.shape[:-1], np.int64)
        return np.ravel_multi_index(tuple(np.moveaxis(coordinates[..., columns], -1, 0)), tuple(self.shape[columns]))
