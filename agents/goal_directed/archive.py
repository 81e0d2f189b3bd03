"""The archive of cells (Ecoffet et al. 2021): how each was best come to, and how often it was explored from."""

from __future__ import annotations

from typing import Any

import numpy as np

from engram_rl.agents.goal_directed.trajectories import ROOT, Trajectories
from engram_rl.memory import TransitionMemory

_PARTS = ("archived", "seen", "score", "length", "node")
_OPEN = ("at", "gained", "steps")


def selection_weights(seen: np.ndarray) -> np.ndarray:
    """How likely cells are chosen, up to a factor: `1 / sqrt(C_seen + 1)` (Ecoffet et al. 2021, methods). `[N]`."""
    return 1 / np.sqrt(seen + 1)


class Archive:
    """Cells with the best trajectory to each, over the states of a transition memory, which also knows ways between.

    A cell is archived when it is first come to, and its trajectory is replaced by one with a higher score, or with the
    same score in fewer steps. Cells in which the task has ended are none to go on from. Cells that the memory forgets
    to make room for others are forgotten here as well.

    A step costs the same however many cells there are; choosing is one pass over the table, as an episode begins.

    Args:
        memory: Names cells, and remembers which action led from which to which; all of one owner.
        trajectories: How the cells were come to.
        num_envs: E.

    Attributes:
        archived: Whether a cell (by its id in the memory) can be returned to. `[S]` of bool
        seen: Exploring steps that led into it, C_seen. `[S]`
        score: What its best trajectory earned. `[S]`
        length: Steps of that. `[S]`
        node: That trajectory. `[S]`

    Raises:
        ValueError: The memory is too small for so many environments.
    """

    def __init__(self, memory: TransitionMemory, trajectories: Trajectories, num_envs: int) -> None:
        capacity = memory.states.capacity
        if capacity < (least := 64 * num_envs):
            raise ValueError(
                f"The archive has room for {capacity} cells; {num_envs} environments need {least} at least: raise "
                f"agent.memory.capacity, or lower env.num_envs."
            )
        self.memory, self.trajectories = memory, trajectories
        self.archived = np.zeros(capacity, bool)
        self.seen = np.zeros(capacity, np.int64)
        self.score = np.zeros(capacity)
        self.length = np.zeros(capacity, np.int64)
        self.node = np.full(capacity, ROOT, np.int64)
        self._vectors = memory.states.vectors.copy()  # [S, D] whose entries these are
        self._at = np.full(num_envs, ROOT)  # [E] the nodes of the open episodes
        self._gained = np.zeros(num_envs)  # [E]
        self._steps = np.zeros(num_envs, np.int64)  # [E]

    def __len__(self) -> int:
        """Cells. O(S)."""
        return int(self.archived.sum())

    def begin(self, cells: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Episodes of environments `[B]` begin in cells `[B, D]`; their ids. `[B]`."""
        free = self.memory.states.num_free
        ids = self.memory.name(cells)
        self._forget_evicted(free)
        self._at[envs], self._gained[envs], self._steps[envs] = ROOT, 0, 0
        self._improve(ids, envs)
        return ids

    def step(
        self,
        cells: np.ndarray,
        actions: np.ndarray,
        next_cells: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        exploring: np.ndarray,
    ) -> np.ndarray:
        """Take in one step of every environment; returns the ids of the next cells. `[E]`.

        Args:
            cells: `[E, D]`
            actions: Numbers. `[E]`
            next_cells: `[E, D]`
            reward: `[E]`
            terminated: Whether the task has ended. `[E]` of bool
            exploring: Whether the step was one of exploring rather than of returning. `[E]` of bool
        """
        free = self.memory.states.num_free
        written = self.memory.write(cells, actions, next_cells, rewards=reward, terminals=terminated)
        self._forget_evicted(free)
        if not self.trajectories.room_for(len(actions)):
            self._tidy()
        self._at = self.trajectories.add(self._at, actions)
        self._gained = self._gained + reward
        self._steps = self._steps + 1
        going_on = np.flatnonzero(~terminated)
        self._improve(written.next_states[going_on], going_on)
        np.add.at(self.seen, written.next_states[exploring & ~terminated], 1)
        return written.next_states

    def choose(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Cells (ids) to return to, drawn by their weights. `[count]`."""
        ids = np.flatnonzero(self.archived)
        cumulative = np.cumsum(selection_weights(self.seen[ids]))
        return ids[np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")]

    def choose_among(self, row: np.ndarray, ids: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """For each of some environments one of the cells that it can reach, drawn by their weights. `[count]`.

        Args:
            row: Of which environment a cell can be reached, ascending; at least one for each. `[R]`
            ids: The cell. `[R]`
            count: Environments.
            rng: Draws.
        """
        weights = np.where(self.archived[ids], selection_weights(self.seen[ids]), 0)
        cumulative = np.cumsum(weights)
        last = np.searchsorted(row, np.arange(count), side="right") - 1
        before = np.r_[0, cumulative[last[:-1]]]
        drawn = before + rng.random(count) * (cumulative[last] - before)
        return ids[np.minimum(np.searchsorted(cumulative, drawn, side="right"), last)]

    def way_to(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The actions that led to cells (ids) `[B]` from an episode's first step on; how many. `[B, L]`, `[B]`."""
        return self.trajectories.actions_to(self.node[ids])

    def _improve(self, ids: np.ndarray, envs: np.ndarray) -> None:
        """Environments `[B]` came to cells (ids) `[B]`: their trajectories are kept where they are the best."""
        worst_first = np.lexsort((-self._steps[envs], self._gained[envs]))  # of several to one cell the best stays
        ids, envs = ids[worst_first], envs[worst_first]
        score, length = self._gained[envs], self._steps[envs]
        better = ~self.archived[ids] | (score > self.score[ids])
        better |= (score == self.score[ids]) & (length < self.length[ids])
        ids, envs = ids[better], envs[better]
        self._vectors[ids] = self.memory.states.vectors[ids]
        self.archived[ids] = True
        self.score[ids], self.length[ids], self.node[ids] = self._gained[envs], self._steps[envs], self._at[envs]

    def _forget_evicted(self, free_before: int) -> None:
        """The memory has made room if it has more than before: a sixteenth of it is more than a step names."""
        states = self.memory.states
        if states.num_free > free_before:
            gone = self.archived & (~states.used | (states.vectors != self._vectors).any(1))
            self.archived[gone], self.seen[gone] = False, 0

    def _tidy(self) -> None:
        """Trajectories that lead to no cell and to no open episode go."""
        ids = np.flatnonzero(self.archived)
        names = self.trajectories.tidy(np.concatenate([self.node[ids], self._at]))
        self.node[ids], self._at = names[self.node[ids]], names[self._at]

    def state_dict(self) -> dict[str, Any]:
        """The memory, the cells, their trajectories and where the open episodes stand."""
        return {
            "memory": self.memory.state_dict(),
            "trajectories": self.trajectories.state_dict(),
            "vectors": self._vectors.copy(),
            **{name: getattr(self, name).copy() for name in _PARTS},
            **{name: getattr(self, f"_{name}").copy() for name in _OPEN},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: It is of another number of cells or environments.
        """
        if state["archived"].shape != self.archived.shape or state["at"].shape != self._at.shape:
            raise ValueError(
                f"This archive has room for {len(self.archived)} cells of {len(self._at)} environments, the state for "
                f"{len(state['archived'])} of {len(state['at'])}."
            )
        self.memory.load_state_dict(state["memory"])
        self.trajectories.load_state_dict(state["trajectories"])
        self._vectors = state["vectors"].copy()
        for name in _PARTS:
            setattr(self, name, state[name].copy())
        for name in _OPEN:
            setattr(self, f"_{name}", state[name].copy())
