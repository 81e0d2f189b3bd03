"""Looking ahead in memory, the slow half of the fast/slow agent: random branches, or an exact search that imagines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from engram_rl.agents.goal_directed.goals import Targets
from engram_rl.agents.goal_directed.probing import worth_trying
from engram_rl.memory import Planner, RandomBranches, TransitionMemory
from engram_rl.memory.transitions.outcomes import Written
from engram_rl.memory.transitions.planner import Walks

NONE = -1
_SAME = 1e-9  # costs that differ by less are equal


@dataclass(frozen=True)
class Plan:
    """What E environments intend.

    Attributes:
        actions: First action of each plan; -1 where there is none. `[E]`
        walks: The remembered or imagined ways to the goals, for replay, or None if they were not worked out. `[E]`
    """

    actions: np.ndarray
    walks: Walks | None = None


@dataclass(frozen=True)
class Situation:
    """What E environments plan from.

    Attributes:
        ids: The states in which they are. `[E]`
        owners: Whose memory each uses. `[E]`
        targets: Where they would like to be.
        preference: Works out what decides between equally good actions. `[E, A]`
        certain: Whether the targets are known to be reachable.
        allowed: Which actions may be taken first; None for all. `[E, A]` of bool
    """

    ids: np.ndarray
    owners: np.ndarray
    targets: Targets
    preference: Callable[[], np.ndarray]
    certain: bool
    allowed: np.ndarray | None = None


def best_allowed(score: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    """The action of the highest score that is allowed, however low it is. `[E, A]`, `[E, A]` -> `[E]`."""
    if allowed is None:
        return score.argmax(1)
    return np.where(allowed, np.maximum(score, np.finfo(score.dtype).min), -np.inf).argmax(1)


class Slow(Protocol):
    """Looks ahead in memory."""

    def plan(self, now: Situation, rng: np.random.Generator, explore: bool) -> Plan:
        """Look for ways; without `explore`, what is noticed on the way changes nothing."""

    def expected(self, states: np.ndarray, owners: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
        """Where actions `[E]` in states `[E, D]` should lead, -1 for unknown; None if that is not used. `[E]`."""

    def observe(self, owners: np.ndarray, expected: np.ndarray, written: Written) -> None:
        """Notice what a step taught beyond itself.

        Args:
            owners: Whose memory it went to. `[E]`
            expected: The states (ids) that it should have led to, -1 where nothing was expected. `[E]`
            written: What the memory made of it.
        """

    def successors(self, ids: np.ndarray) -> np.ndarray:
        """Where each action in states (ids) `[E]` should lead; -1 where nothing is expected. `[E, A]`."""

    def state_dict(self) -> dict[str, Any]:
        """What it noticed that is not in the memory."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; `{}` of an agent that had noticed nothing."""


class Branches:
    """Random branches over remembered transitions; the shortest that meets the goal is followed (arXiv 2301.13758).

    Args:
        memory: What is remembered.
        branches: How many start in each environment's state, B.
        depth: Longest branch, D.
    """

    def __init__(self, memory: TransitionMemory, branches: int, depth: int) -> None:
        self.memory = memory
        self._branches = RandomBranches(memory, branches, depth)

    def plan(self, now: Situation, rng: np.random.Generator, explore: bool) -> Plan:
        """The first action of the shortest branch that meets the target."""
        ids = now.ids
        goals = now.targets[:, 0]
        walks = self._branches.walk(ids, goals, rng, shortest_only=True)
        steps = np.where(walks.lengths > 0, walks.lengths, np.iinfo(np.int64).max)  # [E, B]
        env, shortest = np.arange(len(ids)), steps.argmin(1)
        best = Walks(*(part[env, shortest] for part in (walks.states, walks.actions, walks.lengths)))
        first = best.actions[:, 0]
        follows = best.lengths > 0
        if now.allowed is not None:
            follows &= now.allowed[env, first]
        return Plan(np.where(follows, first, NONE), best)

    def expected(self, states: np.ndarray, owners: np.ndarray, actions: np.ndarray) -> None:
        """Expects nothing."""

    def observe(self, owners: np.ndarray, expected: np.ndarray, written: Written) -> None:
        """The memory itself drops what a step contradicts."""

    def successors(self, ids: np.ndarray) -> np.ndarray:
        """Expects nothing."""
        return np.full((len(ids), self.memory.num_actions), NONE)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all is in the memory."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class Search:
    """Exact shortest paths over remembered and imagined transitions, corrected by contradiction.

    - A step that should have led to a state, and left the agent where it was, speaks against that state: other ways
      into it are dropped if remembered, and doubted if imagined.
    - To be in a state, or to see the goal there, speaks for it: what refused entry is dropped.
    - A surprise (something remembered turned out wrong) says that the world has shifted: refusals from earlier episodes
      are dropped with it. What was remembered before a shift that is known already is wrong without another one.
    - Refusals are dropped when they leave no way at all; those of this episode only if nothing is left to try, as who
      forgets at once what refused entry walks into it again and again.
    - Where not even imagination knows a way, an action whose effect is unknown is tried: where that is possible with
      the least of a detour.

    Args:
        planner: Plans over the memory.
        replay_paths: Whether to work out whole paths, for replay.
    """

    def __init__(self, planner: Planner, replay_paths: bool) -> None:
        self.planner = planner
        self.memory = planner.memory
        self._replay_paths = replay_paths
        self._shifted = np.full(self.memory.num_owners, -np.inf)  # [O], tick at which a shift was last noticed

    def plan(self, now: Situation, rng: np.random.Generator, explore: bool) -> Plan:
        """The first action of a shortest path; of equals the one with the highest preference, then any."""
        ids, targets = now.ids, now.targets
        if explore:
            seen = np.concatenate([ids, targets[targets != NONE]]) if now.certain else ids
            self._drop(*self.planner.refusals(seen))
        aiming = targets[:, 0] != NONE
        costs = self._costs(ids, targets, aiming)
        cut_off = aiming & ~np.isfinite(costs).any(1)
        if explore and cut_off.any():
            costs = self._reopened(now, costs, aiming, cut_off)
        on_its_way = np.isfinite(costs).any(1)
        if not on_its_way.all():
            lost = ~on_its_way
            costs[lost], _ = self._probing_costs(ids[lost], targets[lost, 0])
        if now.allowed is not None:
            costs[~now.allowed] = np.inf
        best = costs <= costs.min(1, keepdims=True) + _SAME  # [E, A]
        scores = np.where(best, now.preference() + _SAME * rng.random(best.shape), -np.inf)
        actions = best_allowed(scores, now.allowed)
        return Plan(actions, self._walks(ids, targets, on_its_way) if self._replay_paths else None)

    def expected(self, states: np.ndarray, owners: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Where memory or imagination has actions `[E]` lead. `[E]`."""
        return self.successors(self.memory.name(states, owners))[np.arange(len(states)), actions]

    def observe(self, owners: np.ndarray, expected: np.ndarray, written: Written) -> None:
        """Take refused entry as news about the state, and a surprise as news about the world."""
        stayed = written.next_states == written.states
        refused = expected[stayed & (expected != NONE) & (expected != written.states)]
        if len(refused):
            starts, ways = np.nonzero(np.isin(self.memory.table.next, refused))
            others = self.memory.table.next[starts, ways] != starts
            self._drop(starts[others], ways[others])
        surprised = written.refuted & (written.since >= self._shifted[owners])
        if surprised.any():
            self._drop_refusals_of(owners[surprised], of_earlier_episodes=True)
            self._shifted[owners[surprised]] = self.memory.clock[owners[surprised]]

    def successors(self, ids: np.ndarray) -> np.ndarray:
        """Where each action in states (ids) `[E]` should lead, by memory or imagination; -1 for unknown. `[E, A]`."""
        self.planner.refresh()
        return self.planner.successor[ids]

    def state_dict(self) -> dict[str, Any]:
        """When shifts were noticed."""
        return {"shifted": self._shifted.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; an agent saved before this was noted knows of no shift."""
        self._shifted = np.array(state["shifted"]) if state else np.full_like(self._shifted, -np.inf)

    def _costs(self, ids: np.ndarray, targets: Targets, aiming: np.ndarray) -> np.ndarray:
        """Steps to a target with each action first; inf where there is no way. `[E, A]`."""
        costs = np.full((len(ids), self.memory.num_actions), np.inf)
        if aiming.any():
            costs[aiming] = self.planner.action_costs(ids[aiming], targets[aiming])
        return costs

    def _reopened(self, now: Situation, costs: np.ndarray, aiming: np.ndarray, cut_off: np.ndarray) -> np.ndarray:
        """Costs once refusals that leave no way are dropped: earlier episodes' first, all if nothing is left to try."""
        self._drop_refusals_of(now.owners[cut_off], of_earlier_episodes=True)
        costs = self._costs(now.ids, now.targets, aiming)
        cut_off = aiming & ~np.isfinite(costs).any(1)
        if not cut_off.any():
            return costs
        _, may_probe = self._probing_costs(now.ids[cut_off], now.targets[cut_off, 0])
        if may_probe.all():
            return costs
        self._drop_refusals_of(now.owners[cut_off][~may_probe])
        return self._costs(now.ids, now.targets, aiming)

    def _probing_costs(self, ids: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Costs that lead to where an action without a known effect can be tried, nearest to here and to the target.

        All 0, which leaves the choice to the preference, if there is no such place.

        Args:
            ids: Where M environments are. `[M]`
            targets: A state each of where they would like to be, -1 for none. `[M]`

        Returns:
            `[M, A]`, and whether there is such a place. `[M]` of bool
        """
        states = self.memory.states
        steps = self.planner.costs_from(ids)  # [M, S]
        reachable = np.flatnonzero(np.isfinite(steps).any(0))
        untried = worth_trying(self.memory, reachable, states.owners[reachable])  # [N, A]
        reachable, untried = reachable[untried.any(1)], untried[untried.any(1)]
        costs = np.zeros((len(ids), self.memory.num_actions))
        if not len(reachable):
            return costs, np.zeros(len(ids), np.bool_)
        onward = np.abs(states.vectors[reachable] - states.vectors[targets][:, None]).sum(2)  # [M, N]
        detour = steps[:, reachable] + np.where(targets[:, None] != NONE, onward, 0)
        place = detour.argmin(1)  # [M]
        going = np.isfinite(detour.min(1))
        here = going & (reachable[place] == ids)
        costs[here] = ~untried[place[here]]
        elsewhere = going & ~here
        if elsewhere.any():
            costs[elsewhere] = self.planner.action_costs(ids[elsewhere], reachable[place[elsewhere], None])
        return costs, going

    def _drop_refusals_of(self, owners: np.ndarray, of_earlier_episodes: bool = False) -> None:
        memory = self.memory
        ids = np.flatnonzero(memory.states.used & np.isin(memory.states.owners, owners))
        starts, actions = self.planner.refusals(ids)
        if of_earlier_episodes:
            old = memory.table.stamp[starts, actions] < memory.clock[memory.states.owners[starts]]
            starts, actions = starts[old], actions[old]
        self._drop(starts, actions)

    def _drop(self, starts: np.ndarray, actions: np.ndarray) -> None:
        """Forget what actions `[N]` do in states (ids) `[N]`."""
        if len(starts):
            states = self.memory.states
            self.memory.contradict(states.vectors[starts], actions, states.owners[starts])

    def _walks(self, ids: np.ndarray, targets: Targets, on_its_way: np.ndarray) -> Walks | None:
        """Whole paths, empty for those who do not know one; None if nobody does."""
        if not on_its_way.any():
            return None
        staying = np.full_like(targets, NONE)
        staying[:, 0] = ids
        return self.planner.shortest_path(ids, np.where(on_its_way[:, None], targets, staying))
