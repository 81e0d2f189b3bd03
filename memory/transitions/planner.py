"""Looking ahead over remembered transitions: exact shortest paths that imagine what is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engram_rl.memory.checks import number
from engram_rl.memory.transitions.checks import checked_ids
from engram_rl.memory.transitions.kept_costs import KeptCosts, padded
from engram_rl.memory.transitions.memory import TransitionMemory
from engram_rl.memory.transitions.shortest_paths import Ways
from engram_rl.memory.transitions.states import ABSENT

_NOT_IMAGINED = -2
_KEPT_FREE = 4  # imagination leaves one in so many places of the memory's table to experience

_SAVED_ROWS = ("guess", "refused", "refusals", "covered")
_SAVED_BY_OWNER = ("low", "high", "valid_until")
_CHANGING = (
    "successor",
    "cost",
    *(f"_{name}" for name in (*_SAVED_ROWS, *_SAVED_BY_OWNER)),
    *("_versions", "_mark", "_movement_mark", "_num_free", "_kept", "_times_cleared", "_ways", "_ways_of"),
)

Goals = Sequence[np.ndarray] | np.ndarray
"""Sets of states to reach, for each set the ids of its states: all of one owner, at least one. G arrays `[N]`, or one
`[G, n]` in which -1 fills up what is shorter."""


@dataclass(frozen=True)
class Walks:
    """Ways through states, padded with -1 where they have ended.

    Attributes:
        states: Ids, the start first. `[..., L + 1]`
        actions: `[..., L]`
        lengths: Steps until the goal was reached; -1 where it was not. `[...]`
    """

    states: np.ndarray
    actions: np.ndarray
    lengths: np.ndarray


class Planner:
    """Exact least-cost paths over remembered transitions and, where none is remembered, imagined ones.

    An unknown outcome is imagined as the movement recalled by the action alone, applied to the state: optimistic, since
    a movement that was blocked elsewhere is not expected to be blocked here. Imagined states get names in the memory
    (while a quarter of its table is free), so that a path may lead over many states never visited to a goal never
    visited. Experience replaces imagination cell by cell. Costs are worked out anew, in O(S A log S), only for owners
    for whom what is expected has changed, and otherwise looked up.

    Args:
        memory: What is remembered. Imagination names states in it and changes nothing else.
        imagine: Whether to use imagined transitions at all.
        bounds: Lowest and highest numbers that states can have, `[D]` each; None: the range of those met, by owner.
        unknown_cost: Cost of an imagined step; a remembered one costs 1.
        harm_cost: Cost of each unit of remembered harm; infinite: such transitions are vetoed.
        min_support: Share of the recalled movements of an action that must agree for it to be imagined.
        refused_cost: Added cost of an imagined step into a state that refused entry: one that a remembered step should
            have led to, as imagination has it, and did not. What blocked the way from one side probably blocks it from
            the others.
    """

    def __init__(
        self,
        memory: TransitionMemory,
        *,
        imagine: bool = True,
        bounds: tuple[np.ndarray, np.ndarray] | None = None,
        unknown_cost: float = 1.0,
        harm_cost: float = np.inf,
        min_support: float = 0.0,
        refused_cost: float = 0.0,
    ) -> None:
        number("min_support", min_support, 0, most=1)
        if not unknown_cost > 0 or not harm_cost >= 0 or not refused_cost >= 0:
            raise ValueError(f"costs must be positive, got {unknown_cost=}, {harm_cost=}, {refused_cost=}")
        self.memory = memory
        self.imagine, self.min_support = imagine, min_support
        self.unknown_cost, self.harm_cost, self.refused_cost = unknown_cost, harm_cost, refused_cost
        cells = memory.table.next.shape
        self.successor = np.full(cells, ABSENT, np.int64)  # [S, A], what is expected: remembered, else imagined
        self.cost = np.full(cells, np.inf)  # [S, A], of that step
        self._guess = np.full(cells, _NOT_IMAGINED, np.int64)  # [S, A]
        self._refused = np.full(cells, ABSENT, np.int64)  # [S, A], the guess that a remembered step belies
        self._refusals = np.zeros(cells[0], np.int64)  # [S], how many steps belie a guess of this state
        self._covered = np.zeros(cells[0], bool)  # [S], states whose cells are up to date
        self._given_bounds = None if bounds is None else _checked_bounds(bounds, memory.states.dim)
        self._times_cleared = memory.times_cleared.copy()  # [O], of which the ranges know
        self._low = np.full((memory.num_owners, memory.states.dim), np.inf)  # [O, D]
        self._high = -self._low
        self._versions = np.zeros(memory.num_owners, np.int64)  # [O], of what is expected
        self._mark, self._movement_mark, self._num_free = 0, -1, -1
        self._valid_until = np.full(memory.num_owners, -np.inf)  # [O], tick at which something fades
        self._kept = KeptCosts(cells[0])
        self._ways: Ways | None = None
        self._ways_of = (0, 0)  # nodes, and versions of what is expected

    def cost_to_go(self, goals: Goals) -> np.ndarray:
        """Least cost from every state to the nearest of each set of goals; inf where there is no way. `[G, S]`."""
        rows = self._rows(self._sets(goals))
        return self._kept.costs[rows]

    def action_costs(self, ids: np.ndarray, goals: Goals) -> np.ndarray:
        """Cost of each action in E states (ids) and of the way on from there, each to its set of goals. `[E, A]`."""
        ids, sets = self._for_each(ids, goals)
        rows = self._rows(sets)
        following = self.successor[ids]  # [E, A]
        onward = self._kept.costs[rows[:, None], following]
        return np.where(following == ABSENT, np.inf, self.cost[ids] + onward)

    def shortest_path(self, starts: np.ndarray, goals: Goals) -> Walks:
        """A least-cost way from each of E states (ids) to the nearest of its goals; of equals the first action."""
        here, goals = self._for_each(starts, goals)
        rows = self._rows(goals)
        cost = self._kept.costs[rows, here]
        lengths = np.where(np.isfinite(cost), 0, ABSENT)
        walking = np.flatnonzero((cost > 0) & np.isfinite(cost))
        states, actions = [here], []
        while len(walking):
            onward = self.action_costs(here[walking], goals[walking])
            action, there = np.full(len(here), ABSENT), np.full(len(here), ABSENT)
            action[walking] = onward.argmin(1)
            there[walking] = self.successor[here[walking], action[walking]]
            lengths[walking] += 1
            states.append(there)
            actions.append(action)
            walking = walking[onward.min(1) > self.cost[here[walking], action[walking]]]
            here = there
        stacked = np.stack(actions, 1) if actions else np.zeros((len(here), 0), np.int64)
        return Walks(np.stack(states, 1), stacked, lengths)

    def costs_from(self, starts: np.ndarray) -> np.ndarray:
        """Least cost from each of E states (ids) to every state; inf where there is no way. `[E, S]`."""
        row, states, least = self.reached_from(starts)
        costs = np.full((len(starts), len(self.successor)), np.inf)
        costs[row, states] = least
        return costs

    def reached_from(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What can be reached from each of E states (ids): from which, which state (id), at which cost. `[R]` each.

        Ascending by start, then by state; a start reaches itself at no cost.
        """
        starts = checked_ids("starts", starts, len(self.successor))
        self.refresh()
        ways, owners = self._ways_between(starts)
        return ways.reached_from(starts, owners)

    def refusals(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Remembered steps that should have led to one of states `[N]` and did not: where from, and which. `[M]`s."""
        self.refresh()
        states = checked_ids("states", states, len(self.successor))
        states = states[self._refusals[states] > 0]
        starts, actions = np.nonzero(np.isin(self._refused, states)) if len(states) else (states, states)
        return starts, actions

    def imagined(self, ids: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Where imagination alone has actions `[N]` in states `[N]` lead; -1 where it was not asked. `[N]`, ids."""
        self.refresh()
        return np.maximum(self._guess[ids, actions], ABSENT)

    def refresh(self) -> None:
        """Take in what the memory has learned, dropped or let fade since the last time."""
        if not self._is_outdated():
            return
        if self.memory.table.changed_since(self._mark) is None:
            self._drop_evicted()
        ids = self._outdated()
        self._mark, self._movement_mark = self.memory.table.changes, self._movements
        while len(ids):
            self._expect(ids)
            ids = np.flatnonzero(self.memory.states.used & ~self._covered)  # states just imagined
        self._num_free = self.memory.states.num_free

    @contextmanager
    def only_looking(self) -> Iterator[None]:
        """Take back what is worked out meanwhile: around it, the memory must take back the names that are given."""
        kept = {name: copy(getattr(self, name)) for name in _CHANGING}
        try:
            yield
        finally:
            for name, value in kept.items():
                setattr(self, name, value)

    def state_dict(self) -> dict[str, Any]:
        """What it expects, as tensors of the memory's used rows; to be saved at the same time as the memory.

        A new planner would expect something else where there was once more room, or less, to imagine states.
        """
        self._forget_ranges()
        ids, pending = self.memory.ids(), self.memory.table.changed_since(self._mark)
        rows = {name: torch.from_numpy(getattr(self, f"_{name}")[ids]) for name in _SAVED_ROWS}
        rows |= {"successor": torch.from_numpy(self.successor[ids]), "cost": torch.from_numpy(self.cost[ids])}
        owners = {name: torch.from_numpy(getattr(self, f"_{name}").copy()) for name in _SAVED_BY_OWNER}
        return {
            **rows,
            **owners,
            "free": self._num_free,
            "pending": torch.from_numpy(np.zeros(0, np.int64) if pending is None else pending),
            "begin": pending is None,
            "moved": self._movement_mark != self._movements,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, after the memory."""
        ids, table = self.memory.ids(), self.memory.table
        self._drop_evicted()
        self._guess[:] = _NOT_IMAGINED
        arrays = {name: np.asarray(value) for name, value in state.items()}
        for name in _SAVED_ROWS:
            getattr(self, f"_{name}")[ids] = arrays[name]
        self.successor[ids], self.cost[ids] = arrays["successor"], arrays["cost"]
        for name in _SAVED_BY_OWNER:
            getattr(self, f"_{name}")[:] = arrays[name]
        self._times_cleared = self.memory.times_cleared.copy()
        self._num_free, self._kept = int(state["free"]), KeptCosts(len(self.successor))
        self._mark = -1 if state["begin"] else table.changes
        table.note(arrays["pending"])
        self._movement_mark = self._movements - bool(state["moved"])

    def _rows(self, goals: np.ndarray) -> np.ndarray:
        """Which of the costs kept are those to each set of goals, worked out where something has changed. `[G]`."""
        given, owners = goals != ABSENT, self.memory.states.owners
        if not given.any(1).all():
            raise ValueError("a set of goals is empty: there is nowhere to go; leave it out")
        self._forget_guesses_of(self._widen(goals[given]))
        self.refresh()
        versions = (given * self._versions[owners[goals]]).sum(1)  # [G], another whenever one of its owners' is
        rows = self._kept.find(goals, versions)
        self._kept.touch(rows[rows != ABSENT])
        stale = rows == ABSENT
        if stale.any():
            missing, first = np.unique(goals[stale], axis=0, return_index=True)
            ways, owners = self._ways_between(missing)
            costs = ways.costs_to(missing, owners)
            self._kept.keep(missing, versions[stale][first], costs, len(goals))
            rows = self._kept.find(goals, versions)
        return rows

    def _sets(self, goals: Goals) -> np.ndarray:
        """Sets of goals as one array. `[G, n]`."""
        capacity = len(self.successor)
        if isinstance(goals, np.ndarray) and goals.ndim == 2:
            return checked_ids("goals", goals.ravel(), capacity, nobody=True).reshape(goals.shape)
        return padded([checked_ids("each set of goals", ids, capacity, nobody=True) for ids in goals])

    def _for_each(self, ids: np.ndarray, goals: Goals) -> tuple[np.ndarray, np.ndarray]:
        """States (ids), and a set of goals for each. `[E]`, `[E, n]`."""
        ids, sets = checked_ids("states", ids, len(self.successor)), self._sets(goals)
        if len(ids) != len(sets):
            raise ValueError(f"{len(sets)} sets of goals for {len(ids)} states: give one for each")
        return ids, sets

    @property
    def _movements(self) -> int:
        """How often what may be expected of movements has changed; how many agree counts where that decides."""
        return self.memory.movement_changes + (self.memory.support_changes if self.min_support > 0 else 0)

    def _is_outdated(self) -> bool:
        """Whether anything was learned, dropped, named, widened or faded since the last time. O(O)."""
        memory = self.memory
        same = memory.table.changes == self._mark and self._movements == self._movement_mark
        same &= memory.states.num_free == self._num_free  # eviction, which could hide a name, is a change of the table
        return not same or bool((memory.clock > self._valid_until).any())

    def _outdated(self) -> np.ndarray:
        """States of which something may have changed. `[N]`."""
        memory, owners = self.memory, self.memory.states.owners
        changed = memory.table.changed_since(self._mark)
        if changed is None or self._movements != self._movement_mark:
            self._forget_guesses_of(np.arange(memory.num_owners))
        new = np.flatnonzero(memory.states.used & ~self._covered)
        grown = self._widen(new[memory.visited[new]])
        self._forget_guesses_of(grown)
        faded = np.flatnonzero(memory.clock > self._valid_until)
        self._valid_until[faded] = np.inf
        outdated = memory.states.used & (~self._covered | np.isin(owners, faded))
        if changed is not None:
            outdated[changed // memory.num_actions] = True
        return np.flatnonzero(outdated)

    def _expect(self, ids: np.ndarray) -> None:
        """Work out what to expect of every action in distinct states `[N]`."""
        memory = self.memory
        known = memory.known(ids)  # [N, A]
        self._covered[ids] = True
        row, action = np.nonzero((~known | (self.refused_cost > 0)) & (self._guess[ids] == _NOT_IMAGINED))
        if self.imagine and len(row):
            self._guess[ids[row], action] = self._imagined(ids[row], action)
        if self.refused_cost:
            self._compare(ids, known)
        following = np.where(known, memory.table.next[ids], np.maximum(self._guess[ids], ABSENT))
        harm = memory.table.harm[ids]
        pain = np.multiply(harm, self.harm_cost, out=np.zeros(harm.shape), where=known & (harm > 0))
        imagined = self.unknown_cost + np.where(self._refusals[following] > 0, self.refused_cost, 0.0)
        cost = np.where(known, 1 + pain, np.where(following == ABSENT, np.inf, imagined))
        changed = ((self.successor[ids] != following) | (self.cost[ids] != cost)).any(1)
        self.successor[ids], self.cost[ids] = following, cost
        owners = memory.states.owners[ids]
        self._versions[np.unique(owners[changed])] += 1
        until = np.where(known, memory.table.known_until(ids), np.inf).min(1)
        np.minimum.at(self._valid_until, owners, until)

    def _compare(self, ids: np.ndarray, known: np.ndarray) -> None:
        """Note which guesses about states `[N]` what is known `[N, A]` belies, and review steps into those states."""
        guess, before = self._guess[ids], self._refused[ids]
        now = np.where(known & (guess >= 0) & (self.memory.table.next[ids] != guess), guess, ABSENT)
        self._refused[ids] = now
        affected = np.unique(np.concatenate([before[before != now], now[before != now]]))
        affected = affected[affected != ABSENT]
        refusing = self._refusals[affected] > 0
        np.subtract.at(self._refusals, before[before != ABSENT], 1)
        np.add.at(self._refusals, now[now != ABSENT], 1)
        flipped = affected[refusing != (self._refusals[affected] > 0)]
        if len(flipped):
            self._covered[np.isin(self._guess, flipped).any(1)] = False

    def _imagined(self, ids: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Where actions `[Q]` in states `[Q]` lead if they do as elsewhere; -1 where that says nothing. `[Q]`."""
        memory = self.memory
        states, owners = memory.states.vectors[ids], memory.states.owners[ids]
        moved, support = memory.movements.recall(owners, actions, states)
        targets = memory.states.canonical(states + moved)  # [Q, D]
        believed = (support > 0) & (support >= self.min_support) & moved.any(1) & self._possible(targets, owners)
        found = memory.states.find(targets, owners)
        spare = memory.states.num_free - memory.states.capacity // _KEPT_FREE
        if (believed & (found == ABSENT)).sum() > spare:
            believed &= found != ABSENT
        guess = np.full(len(ids), ABSENT)
        guess[believed] = memory.name(targets[believed], owners[believed])
        return guess

    def _possible(self, states: np.ndarray, owners: np.ndarray) -> np.ndarray:
        low, high = self._given_bounds or (self._low[owners], self._high[owners])
        return np.all((states >= low) & (states <= high), axis=1)

    def _widen(self, ids: np.ndarray) -> np.ndarray:
        """Count states `[N]` among those met; returns the owners whose range became wider by that."""
        if self._given_bounds is not None:
            return np.array([], np.int64)
        self._forget_ranges()
        owners = self.memory.states.owners[ids]
        low, high = self._low.copy(), self._high.copy()
        np.minimum.at(self._low, owners, self.memory.states.vectors[ids])
        np.maximum.at(self._high, owners, self.memory.states.vectors[ids])
        return np.flatnonzero(((low != self._low) | (high != self._high)).any(1))

    def _forget_ranges(self) -> None:
        """Owners that were cleared have met nothing."""
        cleared = self._times_cleared != self.memory.times_cleared
        self._low[cleared], self._high[cleared] = np.inf, -np.inf
        self._times_cleared = self.memory.times_cleared.copy()

    def _forget_guesses_of(self, owners: np.ndarray) -> None:
        if len(owners):
            ids = np.isin(self.memory.states.owners, owners)
            self._guess[ids] = _NOT_IMAGINED
            self._covered[ids] = False
            self._num_free = -1

    def _drop_evicted(self) -> None:
        gone = ~self.memory.states.used
        self.successor[gone], self.cost[gone] = ABSENT, np.inf
        self._refused[:], self._refusals[:] = ABSENT, 0
        self._covered[:] = False
        self._versions[:] = self._versions.max() + 1  # above all there were: an id may be another owner's from now on

    def _ways_between(self, states: np.ndarray) -> tuple[Ways, np.ndarray]:
        """The ways between all states up to the highest id in use, or of these; and the states' owners. `[N]`."""
        nodes = int(max(np.flatnonzero(self.memory.states.used).max(initial=-1), states.max(initial=-1))) + 1
        expected = (nodes, int(self._versions.sum()))
        if self._ways is None or self._ways_of != expected:
            self._ways, self._ways_of = Ways(self.successor[:nodes], self.cost[:nodes]), expected
        return self._ways, self.memory.states.owners[:nodes]


def _checked_bounds(bounds: tuple[np.ndarray, np.ndarray], dim: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.asarray(bound) for bound in bounds) if len(bounds) == 2 else (np.zeros(0), np.zeros(0))
    if low.shape != (dim,) or high.shape != (dim,) or not (low <= high).all():
        raise ValueError(f"bounds must be the lowest and the highest of {dim} numbers, [{dim}] each, got {bounds}")
    return low, high
