"""States that are the same place: equal but for what a goal leaves open, such as a heading."""

from __future__ import annotations

import numpy as np

from engram_rl.agents.goal_directed.views import GoalView
from engram_rl.memory import TransitionMemory
from engram_rl.memory.transitions.kept_costs import padded
from engram_rl.memory.transitions.states import ABSENT


class PlaceStates:
    """Names for all states of a place.

    Args:
        memory: Names the states.
        view: Says which numbers of a state a goal leaves open, and what they can be.
    """

    def __init__(self, memory: TransitionMemory, view: GoalView) -> None:
        self._memory, self._open, self._fillings = memory, list(view.open), view.fillings
        self._closed = [number for number in range(view.dim) if number not in self._open]

    @property
    def states_each(self) -> int:
        """States of one place, F."""
        return len(self._fillings)

    def alike(self, ids: np.ndarray) -> np.ndarray:
        """Ids of all states that are the same place as states (ids) `[N]`. `[N, F]`."""
        return ids[:, None] if not self._open else self._filled(self._memory.states.vectors[ids], ids)

    def targets(self, ids: np.ndarray) -> np.ndarray:
        """Ids of all states that are the same place as each of states (ids, -1 for none) `[E]`. `[E, F]`."""
        if not self._open:
            return ids[:, None]
        return padded([self.alike(one[one != ABSENT]).ravel() for one in ids[:, None]])  # names in turn: ids are stable

    def distance(self, state: int, others: np.ndarray) -> np.ndarray:
        """How far the place of a state is from those of others `[N]` (ids): L1. `[N]`."""
        vectors = self._memory.states.vectors[:, self._closed] if self._open else self._memory.states.vectors
        return np.asarray(np.abs(vectors[others] - vectors[state]).sum(1))

    def _filled(self, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Names for vectors `[N, D]` of the owners of states (ids) `[N]`, their open numbers filled. `[N, F]`."""
        filled = np.repeat(vectors, len(self._fillings), 0)  # [N F, D]
        filled[:, self._open] = np.tile(self._fillings, (len(vectors), 1))
        owners = np.repeat(self._memory.states.owners[ids], len(self._fillings))
        return self._memory.name(filled, owners).reshape(len(ids), len(self._fillings))
