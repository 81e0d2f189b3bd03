"""Looking ahead along remembered transitions at random, many branches at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engram_rl.memory.checks import whole
from engram_rl.memory.transitions.checks import checked_ids
from engram_rl.memory.transitions.memory import TransitionMemory
from engram_rl.memory.transitions.planner import Walks
from engram_rl.memory.transitions.states import ABSENT


class RandomBranches:
    """Random walks over remembered transitions: the look-ahead of the fast/slow agent (arXiv 2301.13758).

    What is known of each state is kept side by side, so that a step of all walks is a few lookups. It is worked out
    anew for the states of which something has changed; for all, in O(S A), when strength that fades has had a tick.

    Args:
        memory: What is remembered.
        branches: Walks from each start, B.
        depth: Longest walk, L.
    """

    def __init__(self, memory: TransitionMemory, branches: int = 100, depth: int = 20) -> None:
        self.memory = memory
        self.branches, self.depth = whole("branches", branches), whole("depth", depth)
        cells = memory.table.next.shape
        self._number = np.zeros(cells[0], np.int64)  # [S], of known actions
        self._actions = np.zeros(cells, np.int64)  # [S, A], the known ones first
        self._following = np.zeros(cells, np.int64)  # [S, A], ids, in the same order
        self._mark = -1
        self._clock = memory.clock.copy()

    def walk(
        self, starts: np.ndarray, goals: np.ndarray, rng: np.random.Generator, shortest_only: bool = False
    ) -> Walks:
        """Walk until the goal, a state of which nothing is known, or the full depth, evenly among what is known.

        Args:
            starts: Ids of the states from which to look ahead. `[E]`
            goals: For each start the states that it wants to reach. `[E, S]` of bool, or `[E]` ids
            rng: Source of chance.
            shortest_only: Stop when a walk from every start has arrived. All take their steps together, so these are
                the shortest; the others count as not arrived.

        Returns:
            Walks of shape `[E, B]`.
        """
        self._refresh()
        capacity = len(self._number)
        starts = checked_ids("starts", starts, capacity, nobody=True)
        goals = _checked_goals(goals, len(starts), capacity)
        env = np.repeat(np.arange(len(starts)), self.branches)  # [E B]
        wanted = _membership(goals, env)
        states = np.full((self.depth + 1, len(env)), ABSENT, np.int64)
        cells = np.full((self.depth, len(env)), ABSENT, np.int64)
        states[0] = here = starts[env]
        lengths = np.where(wanted(here) & (here != ABSENT), 0, ABSENT)
        walking = (lengths != 0) & (here != ABSENT)
        luck = rng.random(cells.shape, np.float32)
        for step in range(self.depth):  # count_nonzero, as any() takes five times as long on so few
            number = self._number.take(here)
            walking &= number > 0
            if not np.count_nonzero(walking):
                break
            cell = here * self.memory.num_actions + (luck[step] * number).astype(np.int64)
            here = self._following.take(cell)
            np.copyto(cells[step], cell, where=walking)
            np.copyto(states[step + 1], here, where=walking)
            arrived = walking & wanted(here)
            if np.count_nonzero(arrived):
                lengths[arrived] = step + 1
                walking &= ~arrived
                if shortest_only and (lengths.reshape(len(starts), -1) >= 0).any(1).all():
                    break
        actions = np.where(cells == ABSENT, ABSENT, self._actions.take(cells))
        shape = (len(starts), self.branches)
        along, taken = (ids.T.reshape(*shape, len(ids)) for ids in (states, actions))
        return Walks(along, taken, lengths.reshape(shape))

    def _refresh(self) -> None:
        """Take in what the memory has learned, dropped or let fade since the last time."""
        ids = self._outdated()
        if not len(ids):
            return
        known = self.memory.known(ids)  # [N, A]
        order = np.argsort(~known, axis=1, kind="stable")
        self._number[ids] = known.sum(1)
        self._actions[ids] = order
        self._following[ids] = np.take_along_axis(self.memory.table.next[ids], order, 1)

    def _outdated(self) -> np.ndarray:
        """States of which something may have changed. `[N]`."""
        table, clock = self.memory.table, self.memory.clock
        changed = table.changed_since(self._mark) if self._mark >= 0 else None
        faded = np.isfinite(table.half_life) and bool((clock != self._clock).any())
        self._mark, self._clock = table.changes, clock.copy()
        if changed is None or faded:
            return np.arange(len(self._number))
        return np.unique(changed // table.num_actions) if len(changed) else changed


def _checked_goals(goals: np.ndarray, starts: int, capacity: int) -> np.ndarray:
    """Goals of so many starts, as for `RandomBranches.walk`."""
    goals = np.asarray(goals)
    if goals.dtype == bool and goals.shape == (starts, capacity):
        return goals
    if goals.shape != (starts,):
        raise ValueError(
            f"goals must be [{starts}] ids, one for each start, or [{starts}, {capacity}] truth values, got "
            f"{list(goals.shape)} of {goals.dtype}"
        )
    return checked_ids("goals", goals, capacity, nobody=True)


def _membership(goals: np.ndarray, env: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Says which states `[N]` are goals of their environments `[N]`; the goals as for `RandomBranches.walk`."""
    if goals.ndim == 2:
        return lambda states: goals[env, states]
    goal = goals[env]
    return lambda states: goal == states
