"""Actors and a learner: copies of the agent act on Ray, a round at a time, and the agent learns from what they did."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from omegaconf import DictConfig, OmegaConf

from engram_rl.agents.agent import WHOLE, Transition
from engram_rl.agents.common.observations import map_observation
from engram_rl.memory.sharded.packing import packed, unpacked
from engram_rl.training.distributed.actor import ActorWorker, Begun, Orders, Round, Step, joined
from engram_rl.training.distributed.changes import Leaves, changes, leaves
from engram_rl.training.distributed.cluster import Cluster, lies_in_shards
from engram_rl.training.distributed.crew import Crew
from engram_rl.training.distributed.environments import other_seed
from engram_rl.training.errors import UsageError


class Actors:
    """E environments on W actors, each a copy of the agent that acts in its own: a source of steps to learn from.

    In rounds: each actor is told what the agent has learned since (of memories the rows that changed), takes
    `cluster.round` steps in each of its environments, and sends them in one message. The agent takes them in as if it
    had acted itself, a vector step of all environments at a time. With `cluster.staleness=1` actors play the next round
    while it learns from the last, so that what acts is one to two rounds old; with 0 they wait for it, so that it is at
    most one. Which step is learned from when does not depend on who answers first: with the same seed, the same run.

    Where an actor dies it begins anew, with other seeds: its open episodes are lost. They end, truncated, with what was
    last observed and no reward, and `info["engram/lost"]` says which.

    Args:
        config: Of the run.

    Attributes:
        num_envs: E.
        lost: How many open episodes were lost so far.

    Raises:
        UsageError: There are fewer environments than actors, what is configured cannot be on actors, or an environment
            cannot be made.
    """

    waiting = None
    """All environments always wait for an action."""

    takes_each_seed = True
    """That a reset takes a list of seeds, whatever the environments of an actor take."""

    def __init__(self, config: DictConfig):
        self._cluster = _checked(config)
        self.num_envs, self.lost, self.info = int(config.env.num_envs), 0, dict[str, Any]()
        actors = self._cluster.actors or 1
        self._rows = np.array_split(np.arange(self.num_envs), actors)  # [B] of each actor
        plain = _plain(config)
        spec = gym.registry.get(config.env.id)
        orders = [[Orders(plain, rows, number, spec)] for number, rows in enumerate(self._rows)]
        as_workers = replace(self._cluster, workers=actors)
        self._crew = Crew(orders, as_workers, kind=ActorWorker, needed_by="cluster.actors")
        made = self._crew.made[0]
        self.single_observation_space, self.single_action_space = made.observation_space, made.action_space
        self.action_space = batch_space(made.action_space, self.num_envs)
        self.metadata = {**made.metadata, "restorable": False}
        self._seeds: list[int | None] = []
        self._shown: list[Begun] = []  # of each actor, after its last round
        self._sent: Leaves = {}  # what actors know
        self._fresh = set(range(actors))  # actors that know nothing
        self._steps: deque[Step] = deque()  # of the last round, not yet learned from
        self._ahead: list[Step] = []  # the round after it, where a checkpoint waited for it
        self._torn = False  # whether of the last round only parts were taken, which are lost
        self._learned = self._learned_when_sent = self._behind = 0  # vector steps

    @property
    def unwrapped(self) -> Actors:
        """Itself."""
        return self

    def reset(self, *, seed: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes everywhere. `[E, ...]`."""
        self._seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        self._shown = self._all("reset", [([self._seeds[row] for row in rows],) for rows in self._rows])
        return self._observation(), {}

    def step(self, agent: Any) -> Transition:
        """The next vector step, which the agent has taken note of and is to observe. `[E, ...]`."""
        if not self._steps:
            self._next_round(agent)
        one = self._steps.popleft()
        agent.note(one.noted, one.transition)
        self._learned += 1
        return one.transition

    def metrics(self) -> dict[str, float]:
        """How many environment steps were learned from since what acted last was known."""
        return {"cluster/steps_behind": float(self._behind * self.num_envs)}

    def state_dict(self) -> dict[str, Any]:
        """Where the actors are after their last round, and what of it has not been learned from yet.

        Where something went wrong in that round, as in an environment, what was seen before it: they begin anew there.
        """
        if not self._torn and self._crew.is_busy(0):
            self._ahead = self._round()
        if self._torn:
            actors = [{"cut": vars(one)} for one in self._shown]
        else:
            actors = [unpacked(one) for one in self._all("state")]
        return {
            "actors": actors,
            "seeds": self._seeds,
            "steps": [_plain_step(one) for one in self._steps],
            "ahead": [_plain_step(one) for one in self._ahead],
            "learned": [self._learned, self._learned_when_sent, self._behind],
            "lost": self.lost,
        }

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Go where `state_dict` was taken; what the environments show before the step that is learned from next.

        Raises:
            UsageError: It is of other actors, or of none.
        """
        saved = state.get("actors", [])
        if len(saved) != len(self._rows):
            raise UsageError(
                f"The run was made with cluster.actors={len(saved) or 'null'}; resume it with as many, not "
                f"{len(self._rows)}."
            )
        self._seeds, self.lost = list(state["seeds"]), state["lost"]
        self._steps = deque(_step_of(one) for one in state["steps"])
        self._ahead = [_step_of(one) for one in state["ahead"]]
        self._learned, self._learned_when_sent, self._behind = state["learned"]
        if any("environments" not in one for one in saved):
            self._begin_after([Begun(**one["cut"]) for one in saved])
        else:
            self._shown = self._all("restore", [(packed(one),) for one in saved])
        waiting = [*self._steps, *self._ahead]
        return waiting[0].transition.observation if waiting else self._observation()

    def close(self) -> None:
        """End the environments and the processes."""
        self._crew.close()

    def _begin_after(self, shown: list[Begun]) -> None:
        """Begin anew everywhere, as where all died that had shown this last."""
        rows = np.concatenate(self._rows)
        self._reseed(rows)
        seeds = [[self._seeds[row] for row in rows] for rows in self._rows]
        self._all("reset", list(zip(seeds, shown, strict=True)))
        self._shown = shown
        self.lost += len(rows)
        print(f"The open episodes of the {len(rows)} environments are lost: their round failed.", file=sys.stderr)

    def _reseed(self, rows: np.ndarray) -> None:
        """Other seeds for environments that begin anew, also of those that did before."""
        for row in rows:
            self._seeds[row] = other_seed(self._seeds[row], self._crew.lost + 1)

    def _next_round(self, agent: Any) -> None:
        """Take in a round; the next one begins, if acting may go on meanwhile."""
        if not self._crew.is_busy(0) and not self._ahead:
            self._begin_round(agent)
        self._behind = self._learned - self._learned_when_sent
        self._steps.extend(self._ahead or self._round())
        self._ahead = []
        if self._cluster.staleness:
            self._begin_round(agent)

    def _begin_round(self, agent: Any) -> None:
        """Tell all actors what has been learned, and let them play."""
        now = leaves(agent.knowledge())
        changed, whole = packed(changes(self._sent, now)), None
        self._sent, self._learned_when_sent = now, self._learned
        for actor in range(len(self._rows)):
            anew = actor in self._fresh
            whole = whole or (packed(now) if anew else None)
            self._crew.ask(actor, "play", whole if anew else changed, anew, self._cluster.round)
        self._fresh.clear()

    def _round(self) -> list[Step]:
        """What all actors did in the round that they are playing."""
        self._torn = True
        rounds = [self._taken(actor) for actor in range(len(self._rows))]
        self._torn = False
        last = [steps[-1].transition for steps in rounds]
        self._shown = [Begun(one.reset_observation, one.reset_mask) for one in last]
        return [joined(steps) for steps in zip(*rounds, strict=True)]

    def _taken(self, actor: int) -> list[Step]:
        """What an actor did; where it died, what the one in its place does."""
        played: Round | None = self._crew.take(actor)
        while played is None:
            self._anew(actor, self._shown[actor])
            self._crew.ask(actor, "play", packed(self._sent), True, self._cluster.round)
            played = self._crew.take(actor)
        steps: list[Step] = unpacked(played.steps)
        return steps

    def _all(self, method: str, of_each: Sequence[tuple[Any, ...]] | None = None) -> list[Any]:
        """What the actors answer, none of which is playing; where one died, what the one in its place does.

        Args:
            method: What each is asked.
            of_each: With these arguments each.
        """
        arguments = [()] * len(self._rows) if of_each is None else of_each
        for actor, given in enumerate(arguments):
            self._crew.ask(actor, method, *given)
        answers = [self._crew.take(actor) for actor in range(len(self._rows))]
        for actor, given in enumerate(arguments):
            while answers[actor] is None:
                self._anew(actor, self._shown[actor] if self._shown else None)
                self._fresh.add(actor)
                self._crew.ask(actor, method, *given)
                answers[actor] = self._crew.take(actor)
        return answers

    def _anew(self, actor: int, after: Begun | None) -> Begun:
        """An actor in place of one that died."""
        rows = self._rows[actor]
        self._reseed(rows)
        begun = self._crew.replace(actor, [self._seeds[row] for row in rows], after)
        if after is not None:
            self.lost += len(rows)
            print(
                f"Actor {actor} died: its environments ({rows[0]} to {rows[-1]}) begin anew and their open episodes "
                f"are lost, {self.lost} so far in this run.",
                file=sys.stderr,
            )
        return begun

    def _observation(self) -> Any:
        return map_observation(lambda *parts: np.concatenate(parts), *(begun.observation for begun in self._shown))


def _plain_step(one: Step) -> dict[str, Any]:
    """A step as a checkpoint holds it."""
    parts = {field.name: getattr(one.transition, field.name) for field in fields(one.transition) if field.init}
    return {"transition": parts, "noted": one.noted}


def _step_of(saved: dict[str, Any]) -> Step:
    return Step(Transition(**saved["transition"]), saved["noted"])


def require_copies(agent: Any) -> None:
    """Raise unless copies of an agent can act elsewhere.

    Raises:
        UsageError: They cannot.
    """
    if missing := [name for name in WHOLE if not callable(getattr(agent, name, None))]:
        raise UsageError(
            f"{type(agent).__name__} cannot act in other processes while it learns here: it has no "
            f"{', '.join(missing)} (engram_rl.agents.agent.ActsElsewhere). Leave cluster.actors out, or choose "
            f"agent=nec, agent=mfec, agent=episodic, agent=ppo or agent=retrieval_ppo; env.vectorization=ray spreads "
            f"environments for every agent."
        )
    try:
        agent.knowledge()
    except ValueError as error:
        raise UsageError(str(error)) from error


def _checked(config: DictConfig) -> Cluster:
    """The cluster of a run, if what is configured can be on actors."""
    cluster = Cluster.of(config.cluster)
    actors, env = cluster.actors or 1, config.env
    if actors > env.num_envs:
        raise UsageError(
            f"cluster.actors is {actors}, but there are only {env.num_envs} environments for them: raise env.num_envs "
            f"to at least as many, or lower cluster.actors."
        )
    if env.vectorization not in ("sync", "vector_entry_point"):
        raise UsageError(
            f"env.vectorization is {env.vectorization}, but with cluster.actors each actor steps its environments "
            f"itself: leave it at sync, or leave cluster.actors out."
        )
    if cluster.workers is not None or cluster.asynchronous:
        raise UsageError(
            "cluster.workers and cluster.asynchronous are for env.vectorization=ray: leave them out beside "
            "cluster.actors."
        )
    if lies_in_shards(config.agent):
        raise UsageError("A memory in shards cannot be sent to actors: leave shards=... out, or cluster.actors.")
    return cluster


def _plain(config: DictConfig) -> dict[str, Any]:
    """The values of a run, as they are sent to where there may be another device."""
    agent = OmegaConf.merge(config.agent, {"device": "cpu"}) if "device" in config.agent else config.agent
    parts = {"agent": agent, "env": config.env}
    plain = {name: OmegaConf.to_container(part, resolve=True) for name, part in parts.items()}
    return {**plain, "seed": config.seed, "threads": config.threads}
