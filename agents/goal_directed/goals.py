"""What an agent goes for: the goal that it is shown, or else a place where it remembers, or expects, reward."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import numpy as np

from engram_rl.agents.agent import Observation
from engram_rl.agents.goal_directed.places import PlaceStates
from engram_rl.agents.goal_directed.probing import reconsider, worth_trying
from engram_rl.agents.goal_directed.views import GoalView
from engram_rl.memory import Planner, TransitionMemory
from engram_rl.memory.transitions.kept_costs import padded
from engram_rl.memory.transitions.states import ABSENT

_NEVER = -1  # when a state was visited, or a goal found, that was not

Targets = np.ndarray
"""For each of E environments the states (ids) that it would like to reach, any of them, and -1 behind them; none: it
knows nothing. `[E, n]`"""


class Goals(Protocol):
    """Names the states to go for.

    Attributes:
        certain: Whether the targets are known to be reachable, because the goal is there.
    """

    certain: bool

    def choose(
        self,
        observation: Observation,
        ids: np.ndarray,
        *,
        explore: bool = True,
        allowed: np.ndarray | None = None,
    ) -> Targets:
        """Where to go from the states (ids) in which E environments are.

        Args:
            observation: `[E, ...]`
            ids: `[E]`
            explore: Without it nothing is noted.
            allowed: Which actions may be taken now; None for all. `[E, A]` of bool
        """

    def appeal(self, states: np.ndarray) -> np.ndarray:
        """Which of equally good next states (ids, -1 for none) to prefer, from 0 to 1. `[E, A]` -> `[E, A]`."""

    def observe(self, next_ids: np.ndarray, good: np.ndarray, done: np.ndarray) -> None:
        """Take in which states were reached, whether that was good, and where an episode ended. `[E]` each."""

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were."""

    def state_dict(self) -> dict[str, Any]:
        """What is remembered."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""


class ShownGoal:
    """The goal is part of the observation; what it leaves open (NaN) may be anything met so far."""

    certain = True

    def __init__(self, view: GoalView, memory: TransitionMemory, owners: np.ndarray) -> None:
        self._view, self._memory, self._owners = view, memory, owners

    def choose(
        self,
        observation: Observation,
        ids: np.ndarray,
        *,
        explore: bool = True,
        allowed: np.ndarray | None = None,
    ) -> Targets:
        """All states that agree with the goal shown."""
        goals = self._view.goals(observation)  # [E, D]
        if not np.isnan(goals).any():
            return self._memory.name(goals, self._owners)[:, None]
        return padded([self._completed(goal, owner) for goal, owner in zip(goals, self._owners, strict=True)])

    def appeal(self, states: np.ndarray) -> np.ndarray:
        """None."""
        return np.zeros(states.shape)

    def observe(self, next_ids: np.ndarray, good: np.ndarray, done: np.ndarray) -> None:
        """Nothing to remember."""

    def begin_episodes(self) -> None:
        """Nothing to drop."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""

    def _completed(self, goal: np.ndarray, owner: int) -> np.ndarray:
        """Names for a goal `[D]` with every combination of open numbers that its owner has met. `[N]`."""
        memory, is_open = self._memory, np.isnan(goal)
        met = memory.states.vectors[memory.visited & (memory.states.owners == owner)][:, is_open]
        fillings = np.unique(met, axis=0)  # [N, number open]
        goals = np.repeat(goal[None], len(fillings), 0)
        goals[:, is_open] = fillings
        return memory.name(goals, np.full(len(goals), owner))


class FoundGoal:
    """The goal is not shown: it is sought where reward was found, and where experience says it moves to from there.

    Where the view reaches beyond the agent's own place, a goal in sight is gone for, and what is seen to be empty is
    ruled out.

    "Where reward was found" recalls by what was paid alone, an incomplete key without a place. Every state is given a
    probability that the reward is there now, from three hypotheses whose shares are counted whenever it is found:

    - it is where it was last;
    - it is back at another place where it was before (each equally likely);
    - it has moved by a distance that its moves so far make likely (any state at that distance equally).

    States visited, or seen from afar, since reward was last found are ruled out. The target is the state with the
    highest probability per step of the way, which visits a stale site first, then known ones, then sweeps what is left,
    or spirals out from where the goal was last if it is known to drift.

    Args:
        view: Says what is in sight, and which states are one place.
        memory: Names the states.
        planner: Knows the ways.
        owners: Whose knowledge each environment uses. `[E]`
    """

    certain = False
    _SAVED = ("_now", "_visited_at", "_found_at", "_times_found", "_last_site", "_shares", "_moves", "_target")
    _HYPOTHESES = 3  # stays, returns, moves
    _DISTANCES = 64  # moves by this distance or more count as one

    def __init__(self, view: GoalView, memory: TransitionMemory, planner: Planner, owners: np.ndarray) -> None:
        self._view, self._memory, self._planner, self._owners = view, memory, planner, owners
        self._places = PlaceStates(memory, view)
        capacity, num_owners = memory.states.capacity, memory.num_owners
        self._now = 0  # steps
        self._visited_at = np.full(capacity, _NEVER, np.int64)  # [S]
        self._found_at = np.full(num_owners, _NEVER, np.int64)  # [O]; also set when all has been searched in vain
        self._times_found = np.zeros(capacity, np.int64)  # [S]
        self._last_site = np.full(num_owners, ABSENT, np.int64)  # [O], id
        self._shares = np.ones((num_owners, self._HYPOTHESES))  # [O, 3], how often each hypothesis explained a find
        self._moves = np.zeros((num_owners, self._DISTANCES))  # [O, distances], how often the goal moved so far
        self._target = np.full(len(owners), ABSENT, np.int64)  # [E], id
        self._sought = np.zeros((len(owners), memory.states.dim), np.float32)  # [E, D], what it stood for when chosen
        self._vectors = np.zeros_like(memory.states.vectors)  # [S, D] what an id stood for when it was noted
        self._noted_owners = np.zeros_like(memory.states.owners)  # [S] and whose it was
        self._mark = memory.table.changes

    def choose(
        self,
        observation: Observation,
        ids: np.ndarray,
        *,
        explore: bool = True,
        allowed: np.ndarray | None = None,
    ) -> Targets:
        """One place for each environment, kept until it is reached or ruled out.

        None where there is something to find out about the actions.
        """
        if explore:
            self._drop_ghosts()
        in_sight = self._look(observation, explore)
        held = self._target if explore else np.full_like(self._target, ABSENT)  # which is of the open episodes
        target = np.where(self._is_open(held) & (held != ids), held, ABSENT)
        target = np.where(in_sight != ABSENT, in_sight, target)
        untried = worth_trying(self._memory, ids, self._owners)
        curious = (untried if allowed is None else untried & allowed).any(1)
        undecided = np.flatnonzero((target == ABSENT) & ~curious)
        if len(undecided):
            target[undecided] = self._most_promising(undecided, ids[undecided])
        if explore:
            chosen = target != self._target
            self._sought[chosen] = self._memory.states.vectors[target[chosen]]
            self._target = target
        return self._places.targets(target)

    def appeal(self, states: np.ndarray) -> np.ndarray:
        """States not ruled out."""
        return self._is_open(states).astype(np.float64)

    def observe(self, next_ids: np.ndarray, good: np.ndarray, done: np.ndarray) -> None:
        """Rule out what was visited, and learn from each find how the goal moves."""
        self._drop_ghosts()
        self._now += 1
        self._note(self._places.alike(next_ids), self._now)
        for env in np.flatnonzero(good):
            self._find(int(self._owners[env]), int(next_ids[env]))
        self._target[done] = ABSENT

    def begin_episodes(self) -> None:
        """Choose places anew."""
        self._target[:] = ABSENT

    def state_dict(self) -> dict[str, Any]:
        """Visits, sites and what the goal's moves taught."""
        return {name.lstrip("_"): copy.copy(getattr(self, name)) for name in self._SAVED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name in self._SAVED:
            setattr(self, name, copy.copy(state[name.lstrip("_")]))
        states = self._memory.states
        self._vectors, self._noted_owners = states.vectors.copy(), states.owners.copy()
        self._sought = states.vectors[self._target]
        self._mark = self._memory.table.changes

    def _look(self, observation: Observation, explore: bool) -> np.ndarray:
        """Rule out what is seen to be empty; returns the goals in sight, -1 where there is none. `[E]`, ids."""
        env, empty = self._view.empty_places(observation)
        if explore and len(env):
            ids = self._memory.name(empty, self._owners[env])
            self._note(self._places.alike(ids), self._now + 1)  # by the end of this step
        goals = self._view.goals(observation)  # [E, D]
        found = np.full(len(goals), ABSENT, np.int64)
        seeing = np.flatnonzero(~np.isnan(goals).all(1))
        if len(seeing):
            found[seeing] = self._memory.name(np.nan_to_num(goals[seeing]), self._owners[seeing])
            if explore:
                self._note(self._places.alike(found[seeing]), _NEVER)
        return found

    def _note(self, ids: np.ndarray, when: int) -> None:
        """States (ids) `[...]` were visited then."""
        self._visited_at[ids] = when
        self._vectors[ids], self._noted_owners[ids] = self._memory.states.vectors[ids], self._memory.states.owners[ids]

    def _drop_ghosts(self) -> None:
        """Forget what was noted of states that the memory has forgotten: their ids may stand for others."""
        table, states = self._memory.table, self._memory.states
        if table.changed_since(self._mark) is None:
            same = states.used & (self._noted_owners == states.owners) & (self._vectors == states.vectors).all(1)
            noted = (self._visited_at != _NEVER) | (self._times_found > 0)
            gone = np.flatnonzero(noted & ~same)
            self._visited_at[gone], self._times_found[gone] = _NEVER, 0
            self._last_site[np.isin(self._last_site, gone)] = ABSENT
            at = self._target
            still = states.used[at] & (states.owners[at] == self._owners) & (states.vectors[at] == self._sought).all(1)
            at[~still] = ABSENT
        self._mark = table.changes

    def _is_open(self, states: np.ndarray) -> np.ndarray:
        """Which states (ids, -1 for none) have not been visited since reward was last found."""
        return (states != ABSENT) & (self._visited_at[states] <= self._found_at[self._memory.states.owners[states]])

    def _most_promising(self, envs: np.ndarray, here: np.ndarray) -> np.ndarray:
        """The reachable open state with most probability per step, or -1. `[N]`, `[N]` -> `[N]`."""
        row, states, steps = self._ahead(here)
        is_open = self._is_open(states)
        some, open_ones = (np.bincount(rows, minlength=len(envs)) for rows in (row, row[is_open]))
        exhausted = np.flatnonzero((some > 0) & (open_ones == 0))
        if len(exhausted):  # nowhere left to look: it must have moved meanwhile, or there is more than is known of
            owners = self._owners[envs[exhausted]]
            self._found_at[owners] = self._now
            reconsider(self._memory, owners)
            is_open = self._is_open(states)
        row, states, steps = row[is_open], states[is_open], steps[is_open]
        dear = steps + 0.1 * self._open_neighbours(states)
        best = np.full(len(envs), ABSENT, np.int64)
        bounds = np.searchsorted(row, np.arange(len(envs) + 1))
        for one in np.flatnonzero(np.diff(bounds)):
            part = slice(bounds[one], bounds[one + 1])
            chance = self._chances(int(self._owners[envs[one]]), states[part])
            best[one] = states[part][np.argmax(chance / dear[part])]
        return best

    def _ahead(self, here: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What can be reached from each of states (ids) `[N]`, but for itself: from which, which, in how many steps."""
        row, states, steps = self._planner.reached_from(here)
        ahead = steps > 0
        return row[ahead], states[ahead], steps[ahead]

    def _open_neighbours(self, states: np.ndarray) -> np.ndarray:
        """How many open states are a step away: few, and a sweep that skips this one leaves a hole. `[N]`."""
        return self._is_open(self._planner.successor[states]).sum(1)

    def _chances(self, owner: int, states: np.ndarray) -> np.ndarray:
        """Probability, up to a factor, that the reward is in each of some states `[N]` of an owner now. `[N]`."""
        if self._last_site[owner] == ABSENT:
            return np.ones(len(states))
        return self._shares[owner] @ self._likelihoods(owner, states)

    def _likelihoods(self, owner: int, states: np.ndarray) -> np.ndarray:
        """Probability of the reward being in each of some states `[N]` under each hypothesis. `[3, N]`."""
        last, each = int(self._last_site[owner]), self._places.states_each
        everywhere = np.flatnonzero(self._memory.states.used & (self._memory.states.owners == owner))
        stays = self._places.distance(last, states) == 0
        returns = (self._times_found[states] > 0) & ~stays
        known = (self._times_found[everywhere] > 0) & (self._places.distance(last, everywhere) > 0)
        distance = self._distance(last, states)
        per_distance = np.bincount(self._distance(last, everywhere), minlength=self._DISTANCES) / each
        per_distance[0] = 0
        moves = self._moves[owner] + per_distance / max(per_distance.sum(), 1)  # to begin with, anywhere
        moved = (moves / moves.sum() / np.maximum(per_distance, 1))[distance] if moves.any() else np.zeros(len(states))
        return np.stack([stays, returns / max(known.sum() / each, 1), moved])

    def _distance(self, state: int, others: np.ndarray) -> np.ndarray:
        """Rounded distance (L1) between a state and others `[N]`, at most `_DISTANCES - 1`. `[N]` of integers.

        Only the same place is at 0: one that is nearer than half a step is another one still, to which a goal may move.
        """
        distance = self._places.distance(state, others)
        return np.clip(np.rint(distance), distance > 0, self._DISTANCES - 1).astype(np.int64)

    def _find(self, owner: int, state: int) -> None:
        """Reward was found in a state: say which hypothesis foresaw it, in shares, and start to wonder anew."""
        found = np.array([state])
        if self._last_site[owner] != ABSENT:
            foreseen = self._shares[owner] * self._likelihoods(owner, found).squeeze(1)
            share = foreseen / foreseen.sum()
            self._shares[owner] += share
            self._moves[owner, self._distance(int(self._last_site[owner]), found)] += share[2]
        self._times_found[self._places.alike(found)] += 1
        self._last_site[owner] = state
        self._found_at[owner] = self._now
