"""What an observation says about where the agent is and where it should go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from gymnasium import spaces

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.scaling import SANE
from engram_rl.memory.checks import brief

SIGNIFICANT = 6
"""Digits of a number that float32 keeps through a sum."""


class GoalView(Protocol):
    """Reads states and goals from observations.

    Attributes:
        dim: Numbers in a state, D.
        bounds: Lowest and highest numbers that states can have, `[D]` each; None if the space does not say.
        shows_goal: Whether observations contain the goal.
        movement_context: Numbers of a state on which what an action does depends.
        open: Numbers of a state that a goal leaves open.
        fillings: What these can be, all combinations. `[F, len(open)]`
    """

    dim: int
    movement_context: Sequence[int]
    open: Sequence[int]
    fillings: np.ndarray
    bounds: tuple[np.ndarray, np.ndarray] | None
    shows_goal: bool

    def states(self, observation: Observation) -> np.ndarray:
        """Where the agent is. `[E, D]` of float32."""

    def goals(self, observation: Observation) -> np.ndarray:
        """Where it should go, an incomplete state: NaN stands for any number. `[E, D]` of float32."""

    def empty_places(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        """What is seen not to be the goal: in which environment, and a state of that place. `[N]`, `[N, D]`."""


class WholeGoals:
    """A view in which a goal leaves nothing open, or in which no more is seen than where the agent is."""

    dim: int
    open: Sequence[int] = ()
    fillings = np.zeros((1, 0), np.float32)

    def empty_places(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        """Nothing is seen from afar."""
        return np.zeros(0, np.int64), np.zeros((0, self.dim), np.float32)


class Columns(WholeGoals):
    """States and goals that are columns of a vector observation.

    Args:
        space: Of one observation.
        state: Columns that say where the agent is, D of them.
        goal: Columns that say where it should go, in the same order; goals are not shown where the observation has no
            such columns.

    Raises:
        ValueError: The observation is no vector or has no such state, or state and goal differ in size.
    """

    movement_context: Sequence[int] = ()

    def __init__(self, space: spaces.Space, state: Sequence[int], goal: Sequence[int]) -> None:
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"States are columns of a vector, a one-dimensional Box; this environment shows {brief(space)}. "
                f"Flatten it in a wrapper (gymnasium.wrappers.FlattenObservation), and name its columns in "
                f"agent.view.state and agent.view.goal."
            )
        (columns,) = space.shape
        named = [*state, *goal]
        if not state or min(named) < 0 or max(state) >= columns or (goal and len(goal) != len(state)):
            raise ValueError(
                f"Columns {list(state)} for the state and {list(goal)} for the goal do not fit an observation of "
                f"{columns} numbers: name existing ones, as many for the goal as for the state."
            )
        self.dim = len(state)
        self.shows_goal = bool(goal) and max(goal) < columns
        self.bounds = finite_bounds(space.low[list(state)], space.high[list(state)])
        self._state, self._goal = list(state), list(goal)

    def states(self, observation: Observation) -> np.ndarray:
        """Where the agent is. `[E, D]`."""
        return np.asarray(observation, np.float32)[:, self._state]

    def goals(self, observation: Observation) -> np.ndarray:
        """Where it should go; all NaN where no goal is shown. `[E, D]`."""
        shown = np.asarray(observation, np.float32)
        return shown[:, self._goal] if self.shows_goal else np.full((len(shown), self.dim), np.nan, np.float32)


def finite_bounds(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The bounds of a space, or None if it has none, or has a type's largest numbers for bounds."""
    return (low, high) if (np.abs(low) < SANE).all() and (np.abs(high) < SANE).all() else None


def decimal_places(bounds: tuple[np.ndarray, np.ndarray] | None) -> int:
    """Places behind the point down to which numbers of a state mean something: six digits of the largest, and units.

    Args:
        bounds: As a view has them; without, numbers are taken to be of the size of 10.
    """
    if bounds is None:
        return SIGNIFICANT - 1
    largest = float(np.abs(bounds).max())
    return max(0, SIGNIFICANT - math.ceil(math.log10(largest))) if largest else SIGNIFICANT
