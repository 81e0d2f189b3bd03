"""The fast/slow goal-directed agent (Tan and Motani 2023, arXiv 2301.13758), and one that searches exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.actions import Actions
from engram_rl.agents.common.restoring import all_or_nothing
from engram_rl.agents.goal_directed.goal_network import EpisodeTrace, GoalNetwork
from engram_rl.agents.goal_directed.goals import FoundGoal, Goals, ShownGoal
from engram_rl.agents.goal_directed.look_ahead import NONE, Branches, Plan, Search, Situation, Slow, best_allowed
from engram_rl.agents.goal_directed.outcomes import Outcomes
from engram_rl.agents.goal_directed.perceptron import Perceptron
from engram_rl.agents.goal_directed.views import GoalView, decimal_places
from engram_rl.agents.goal_directed.visits import EpisodeVisits
from engram_rl.memory import Planner, TransitionMemory

_PARTS = ("memory", "planner", "goals", "fast", "visits", "trace", "rng", "size")
"""The parts of an agent's state."""

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""States `[N, D]`, goals `[N, D]` and actions `[N]` to learn from."""


class FastSlow:
    """Goes for a goal by what a network finds natural (fast), unless memory knows or imagines a way (slow).

    1. Read the state and the goal; the goal may be an incomplete key: some numbers of a state, or "where reward was
       found". Preference = p(action | state, goal) of the network - c sqrt(visits of (state, action) this episode).
    2. Look ahead in memory. The first action of a way that meets the goal is taken; else the preferred one.
    3. Remember the transition; what it contradicts is dropped. What hurt more than steps usually do is not done again:
       a remembered harm vetoes (`agents/goal_directed/outcomes.py`).
    4. Hippocampal replay: train the network on all states of the episode so far with the state just reached as the
       goal, and on the way that was imagined with the real goal.

    It learns while it acts: with `explore=False` it goes by what it knows and cannot notice that a way is blocked or a
    site empty, so its learning curve says more about it than an evaluation.

    Args:
        view: Reads states and goals from observations.
        actions: Numbers them, from 0 on.
        memory: (state, action) -> next state; one owner for each environment, or one for all.
        planner: Plans over it, for whoever looks ahead or seeks a goal.
        goals: Names the states to go for.
        fast: The network, or None to do without.
        slow: Looks ahead, or None to do without.
        visit_weight: c.
        danger: Whether an action that hurt in a state is not taken there again.
        rng: Breaks ties and draws branches.
        num_envs: E.
    """

    def __init__(
        self,
        *,
        view: GoalView,
        actions: Actions,
        memory: TransitionMemory,
        planner: Planner,
        goals: Goals,
        fast: GoalNetwork | None,
        slow: Slow | None,
        visit_weight: float,
        danger: bool,
        rng: np.random.Generator,
        num_envs: int,
    ) -> None:
        self.view, self.memory, self.planner, self.goals = view, memory, planner, goals
        self.fast, self.slow = fast, slow
        self._actions = actions
        self._visit_weight, self._danger, self._rng = visit_weight, danger, rng
        self._env = np.arange(num_envs)
        self._owners = self._env if memory.num_owners > 1 else np.zeros(num_envs, np.int64)
        self._visits = EpisodeVisits(memory.states.capacity, memory.num_actions, num_envs)
        self._trace = EpisodeTrace(num_envs, view.dim)
        self._outcomes = Outcomes()
        self._plan = Plan(np.full(num_envs, NONE))
        self._goals = np.full((num_envs, view.dim), np.nan, np.float32)  # [E, D]
        self._replay: list[Rows] = []
        self._size = 0  # transitions known when an episode last ended
        self.frozen = False
        """Whether the network rests, while the memory lives on."""

    memory_parts = ("memory", "planner", "goals", "visits", "trace", "size")
    """The parts of the state that hold what was experienced, rather than what was trained."""

    def act(self, observation: Observation, *, explore: bool = True, mask: np.ndarray | None = None) -> np.ndarray:
        """One action for each environment, of those that `mask` `[E, A]` allows. `[E]`, or `[E, P]` of P parts."""
        permitted = self._actions.allowed(mask, len(self._env))
        allowed = None if permitted is None else permitted.numpy()
        if explore:
            self._plan, self._goals = self._look_ahead(observation, self._rng, explore=True, allowed=allowed)
            return self._actions.named(self._plan.actions)
        with self._undisturbed(), self.memory.only_looking(), self.planner.only_looking():
            plan, _ = self._look_ahead(observation, np.random.default_rng(0), explore=False, allowed=allowed)
        return self._actions.named(plan.actions)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """What is named meanwhile may displace what is remembered, where the memory is full: it is put back."""
        if self.memory.states.num_free >= self.memory.states.capacity // 4 > 16 * len(self._env):
            yield
            return
        memory, planner, goals = (copy.deepcopy(one.state_dict()) for one in (self.memory, self.planner, self.goals))
        yield
        self.memory.load_state_dict(memory)
        self.planner.load_state_dict(planner)
        self.goals.load_state_dict(goals)

    def observe(self, transition: Transition) -> None:
        """Remember one vector step, correct what it contradicts, and put aside what is to be replayed."""
        states, next_states = (self.view.states(o) for o in (transition.observation, transition.next_observation))
        actions = self._actions.numbered(transition.action)
        expected = self.slow.expected(states, self._owners, actions) if self.slow else None
        outcome = self._outcomes(transition)
        written = self.memory.write(
            states,
            actions,
            next_states,
            rewards=transition.reward,
            terminals=outcome.harm > 0,
            harms=outcome.harm,
            owners=self._owners,
        )
        self._visits.count(written.states, actions)
        self.goals.observe(written.next_states, outcome.good, transition.done)
        if self.slow and expected is not None:
            self.slow.observe(self._owners, expected, written)
        if self.fast and not self.frozen:
            self._collect(states, actions, next_states)
        self._end_episodes(np.flatnonzero(transition.done))

    def learn(self) -> dict[str, float]:
        """Replay what the last steps put aside."""
        metrics = {"memory/size": float(self._size)}
        if self.fast and self._replay:
            states, goals, actions = (np.concatenate(parts) for parts in zip(*self._replay, strict=True))
            self._replay = []
            metrics["train/loss"] = self.fast.learn(states, goals, actions)
        return metrics

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were."""
        self._visits.begin_episodes(self._env)
        self._trace.clear(self._env)
        self.goals.begin_episodes()

    @property
    def gradient_steps(self) -> int:
        """Minibatches that the network has learned from."""
        return self.fast.network.updates if self.fast else 0

    def _look_ahead(
        self, observation: Observation, rng: np.random.Generator, explore: bool, allowed: np.ndarray | None
    ) -> tuple[Plan, np.ndarray]:
        """The plan, with the preferred action where there is no way; and the states gone for `[E, D]`, NaN for none."""
        states = self.view.states(observation)  # [E, D]
        ids = self.memory.name(states, self._owners)
        targets = self.goals.choose(observation, ids, explore=explore, allowed=allowed)
        goals = np.where(
            targets[:, :1] != NONE, self.memory.states.vectors[targets[:, 0]], np.float32(np.nan)
        )  # [E, D]
        preference = partial(self._preference, ids, states, goals, explore)
        if not self.slow:
            return Plan(best_allowed(preference(), allowed)), goals
        now = Situation(ids, self._owners, targets, preference, self.goals.certain, allowed)
        plan = self.slow.plan(now, rng, explore)
        undecided = plan.actions == NONE
        if undecided.any():
            plan = replace(plan, actions=np.where(undecided, best_allowed(preference(), allowed), plan.actions))
        return plan, goals

    def _preference(self, ids: np.ndarray, states: np.ndarray, goals: np.ndarray, explore: bool) -> np.ndarray:
        """What the network finds natural, less what was tried in this episode, never what hurt. `[E, A]`."""
        visits = self._visits.of(ids) if explore else np.zeros((len(ids), self.memory.num_actions))
        preference = -self._visit_weight * np.sqrt(visits)
        if self.fast:
            preference += self.fast.probabilities(states, goals)
        if self.slow:
            preference += self.goals.appeal(self.slow.successors(ids))
        harmful = self.memory.known(ids) & (self.memory.table.harm[ids] > 0)
        return np.where(self._danger & harmful, -np.inf, preference)

    def _collect(self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray) -> None:
        """Rows to replay: the episode so far with the state reached as goal, the imagined way with the real goal."""
        self._trace.add(states, actions)
        env, earlier, taken = self._trace.rows(self._env)
        self._replay.append((earlier, next_states[env], taken))
        walks = self._plan.walks
        if walks is not None:
            env, step = np.nonzero(np.arange(walks.actions.shape[1]) < walks.lengths[:, None])
            imagined = self.memory.states.vectors[walks.states[env, step]]
            self._replay.append((imagined, self._goals[env], walks.actions[env, step]))

    def _end_episodes(self, envs: np.ndarray) -> None:
        """Environments `[N]` are about to begin an episode."""
        if len(envs):
            self._visits.begin_episodes(envs)
            self._trace.clear(envs)
            self.memory.tick(1, np.unique(self._owners[envs]))
            self._size = len(self.memory)

    def state_dict(self) -> dict[str, Any]:
        """Memory, goals, network, generator, and where the present episodes stand."""
        return {
            "memory": self.memory.state_dict(),
            "planner": self.planner.state_dict(),
            "goals": self.goals.state_dict(),
            "fast": self.fast.state_dict() if self.fast else {},
            "visits": self._visits.state_dict(),
            "trace": self._trace.state_dict(),
            "rng": self._rng.bit_generator.state,
            "size": self._size,
            "outcomes": self._outcomes.state_dict(),
            "slow": self.slow.state_dict() if self.slow else {},
        }

    @all_or_nothing
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; a state that lacks a part is refused before anything is changed.

        Raises:
            KeyError: It lacks one.
        """
        outcomes, slow = state.get("outcomes"), state.get("slow", {})  # which the first versions had not
        state = {name: state[name] for name in _PARTS}
        self.memory.load_state_dict(state["memory"])
        self.planner.load_state_dict(state["planner"])
        self.goals.load_state_dict(state["goals"])
        if self.fast:
            self.fast.load_state_dict(state["fast"])
        if self.slow:
            self.slow.load_state_dict(slow)
        self._visits.load_state_dict(state["visits"])
        self._trace.load_state_dict(state["trace"])
        self._rng.bit_generator.state = state["rng"]
        self._size = state["size"]
        self._outcomes = Outcomes()
        if outcomes:
            self._outcomes.load_state_dict(outcomes)
        self._replay = []


PLANNER = partial(Planner, unknown_cost=1.2, refused_cost=np.inf)
"""An imagined step costs a little more than a remembered one; into what refused entry from elsewhere none is taken."""


def make_fast_slow(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    view: Callable[[spaces.Space], GoalView],
    memory: Callable[..., TransitionMemory],
    slow: Literal["search", "branches", "none"] = "search",
    planner: Callable[..., Planner] = PLANNER,
    branches: int = 100,
    depth: int = 20,
    fast: bool = False,
    hidden: Sequence[int] = (128, 128),
    learning_rate: float = 1e-3,
    batch_size: int = 32,
    visit_weight: float = 1.0,
    share_memory: bool = False,
    danger: bool = True,
) -> FastSlow:
    """Build the agent for the spaces of an environment; `conf/agent/fast_slow.yaml` says what its values mean.

    - `planner`: for `slow="search"`; makes it over the memory
    - `branches`, `depth`: for `slow="branches"`: how many start in a state, and the longest
    - `learning_rate` (of Adam), `batch_size`: of the network
    - `visit_weight`: c: an action loses c sqrt(how often it was taken in this state in this episode)

    Raises:
        ValueError: Actions that are not Discrete or MultiDiscrete, observations that the view cannot read, or an
            unknown `slow`.
    """
    actions = Actions(action_space, "The fast/slow agent")
    reads = view(observation_space)
    owners = np.zeros(num_envs, np.int64) if share_memory else np.arange(num_envs)
    remembered = memory(
        reads.dim,
        actions.count,
        owners=1 if share_memory else num_envs,
        movement_context=reads.movement_context,
        decimals=decimal_places(reads.bounds),
    )
    looks_ahead = planner(remembered, bounds=reads.bounds, harm_cost=np.inf if danger else 0.0)
    goals = (
        ShownGoal(reads, remembered, owners) if reads.shows_goal else FoundGoal(reads, remembered, looks_ahead, owners)
    )
    network = _goal_network([2 * reads.dim, *hidden, actions.count], learning_rate, batch_size, seed) if fast else None
    return FastSlow(
        view=reads,
        actions=actions,
        memory=remembered,
        planner=looks_ahead,
        goals=goals,
        fast=network,
        slow=_slow(slow, remembered, looks_ahead, branches, depth, replay_paths=fast),
        visit_weight=visit_weight,
        danger=danger,
        rng=np.random.default_rng(seed),
        num_envs=num_envs,
    )


def _slow(
    kind: str, memory: TransitionMemory, planner: Planner, branches: int, depth: int, replay_paths: bool
) -> Slow | None:
    if kind == "search":
        return Search(planner, replay_paths)
    if kind == "branches":
        return Branches(memory, branches, depth)
    if kind == "none":
        return None
    raise ValueError(f"slow={kind!r}: give search, branches or none.")


def _goal_network(sizes: Sequence[int], learning_rate: float, batch_size: int, seed: int) -> GoalNetwork:
    rng = np.random.default_rng(seed)
    return GoalNetwork(Perceptron(sizes, rng, learning_rate), batch_size, rng)
