"""An actor: a copy of the agent in a process of its own, which acts in some of the environments, a round at a time."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from engram_rl.agents.agent import Transition
from engram_rl.agents.common.observations import map_observation
from engram_rl.memory.sharded.packing import packed, unpacked
from engram_rl.training.construction import build_agent, build_environments, end
from engram_rl.training.distributed.changes import Leaves, applied, nested
from engram_rl.training.distributed.worker import EnvironmentWorker, Made, told
from engram_rl.training.intake.infos import LOST
from engram_rl.training.making import known_here
from engram_rl.training.rollout import act, allowed, step
from engram_rl.training.runs.restoring import ELSEWHERE, same_shown
from engram_rl.training.seeding import generators, seed_everything, set_generators, takes_each, use_threads

ACTING = 100
"""What tells the seeds of actors from those of worlds."""


@dataclass(frozen=True)
class Step:
    """A step of B environments, and what the copy noted when it acted."""

    transition: Transition
    noted: dict[str, Any]


@dataclass(frozen=True)
class Round:
    """What an actor answers: its steps, packed.

    Attributes:
        steps: A list of `Step`.
        stepped: That it has done what it was asked.
    """

    steps: bytes
    stepped: bool = True


@dataclass(frozen=True)
class Begun:
    """What B environments show after a reset, and which actions they allow there."""

    observation: Any
    mask: np.ndarray | None


@dataclass(frozen=True)
class Orders:
    """What an actor is told to be.

    Attributes:
        config: Of the run, as plain values.
        rows: Which of the run's environments are its own. `[B]`
        number: Which actor it is.
        spec: Of the environment, where only the process of the run may have heard of it.
    """

    config: dict[str, Any]
    rows: np.ndarray
    number: int
    spec: Any = None


class Actor:
    """Acts in its environments and says what it did; it learns nothing, and knows what it is told.

    Args:
        orders: What it is.
    """

    def __init__(self, orders: Orders):
        self._config: Any = OmegaConf.create(orders.config)
        self._number = orders.number
        use_threads(self._config.threads)
        self._draw_by(())
        self._rows = orders.rows
        self._config.env.num_envs = len(self._rows)
        known_here(self._config.env.id, orders.spec)
        self.environments = build_environments(self._config.env)
        self._known: Leaves = {}
        self._begun: Begun | None = None
        self._cut: Begun | None = None  # what another showed last in whose place this one acts

    @cached_property
    def agent(self) -> Any:
        """The copy, made when it is first needed: what is wrong with the agent is found by the learner.

        It is built with the run's seed, as what an agent draws when it is built need not be in its `knowledge`; what
        it draws when it acts is as of one that was built with another.
        """
        build: Any = partial(build_agent, self._config.agent, self.environments)
        other = build(self._seed)
        drawing = other.acting_state()
        end(other)
        copy = build(self._config.seed)
        copy.load_acting_state(drawing)
        torch.manual_seed(self._seed)  # building has set it
        return copy

    def reset(self, seeds: Sequence[int], after: Begun | None = None) -> Begun:
        """Begin episodes.

        Args:
            seeds: Of each environment. `[B]`
            after: Of an actor that died and whose place this one takes: what its environments showed last. Their
                episodes end there, which the first step of the next round says.
        """
        self._draw_by(seeds)
        observation, info = self.environments.reset(seed=list(seeds) if takes_each(self.environments) else seeds[0])
        self._begun, self._cut = Begun(observation, allowed(self.environments, info)), after
        return self._begun

    def play(self, changed: bytes, anew: bool, steps: int) -> Round:
        """Take in what the learner knows now, and take that many steps in each environment.

        Args:
            changed: Packed `changes` of what it knew before.
            anew: Whether they are all that it knows.
            steps: T.
        """
        self._known = applied({} if anew else self._known, unpacked(changed))
        self.agent.know(nested(self._known), self._rows)
        return Round(packed([self._step() for _ in range(steps)]))

    def state(self) -> bytes:
        """Where it is between two rounds, packed."""
        assert self._begun is not None
        return packed(
            {
                "environments": self.environments.state_dict(),
                "agent": self.agent.acting_state(),
                "observation": self._begun.observation,
                "cut": vars(self._cut) if self._cut else None,
                "generators": generators(),
            }
        )

    def restore(self, state: bytes) -> Begun:
        """Go where `state` was taken."""
        saved = unpacked(state)
        observation = self.environments.load_state_dict(saved["environments"])
        if not same_shown(observation, saved["observation"]):
            print(f"Actor {self._number}: {ELSEWHERE}", file=sys.stderr)
        self.agent.load_acting_state(saved["agent"])
        self._begun = Begun(observation, allowed(self.environments, self.environments.info))
        self._cut = Begun(**saved["cut"]) if saved["cut"] else None
        set_generators(saved["generators"])
        return self._cut or self._begun

    def close(self) -> None:
        """End the environments, and what the agent holds."""
        if "agent" in vars(self):
            end(self.agent)
        self.environments.close()

    def _draw_by(self, seeds: Sequence[int]) -> None:
        """Draw by these seeds: no two actors do alike, nor does one that begins anew draw as the one before it."""
        drawn = np.random.SeedSequence([self._config.seed, *seeds], spawn_key=(ACTING, self._number))
        self._seed = int(drawn.generate_state(1)[0])
        seed_everything(self._seed)

    def _step(self) -> Step:
        shown = self._cut or self._begun
        assert shown is not None
        action = act(self.agent, shown.observation, shown.mask)
        noted = _kept(self.agent.noted())
        if self._cut:
            transition = self._cut_short(self._cut, action)
        else:
            transition = step(self.environments, shown.observation, action, shown.mask)
        self.agent.follow(transition)
        self._begun, self._cut = Begun(transition.reset_observation, transition.reset_mask), None
        return Step(_sendable(transition), noted)

    def _cut_short(self, cut: Begun, action: np.ndarray) -> Transition:
        """The last step of episodes that ended with another actor: where they were last seen, and for nothing."""
        assert self._begun is not None
        none = np.zeros(len(self._rows), bool)
        return Transition(
            observation=cut.observation,
            action=action,
            reward=np.zeros(len(none)),
            terminated=none,
            truncated=~none,
            next_observation=cut.observation,
            reset_observation=self._begun.observation,
            info={LOST: ~none},
            mask=cut.mask,
            next_mask=cut.mask,
            reset_mask=self._begun.mask,
        )


class ActorWorker(EnvironmentWorker):
    """An actor at the end of a line to the learner."""

    @told
    def make(self, makers: bytes) -> Made:
        """Make the actor of these pickled orders."""
        self._actor = Actor(*pickle.loads(makers))
        there = self._actor.environments
        spaces = there.single_observation_space, there.single_action_space
        return Made(*spaces, dict(there.metadata), there.render_mode, os.getpid())

    @told
    def reset(self, seeds: Sequence[int], after: Begun | None = None) -> Begun:
        """See `Actor.reset`."""
        return self._actor.reset(seeds, after)

    @told
    def play(self, changed: bytes, anew: bool, steps: int) -> Round:
        """See `Actor.play`."""
        return self._actor.play(changed, anew, steps)

    @told
    def state(self) -> bytes:
        """See `Actor.state`."""
        return self._actor.state()

    @told
    def restore(self, state: bytes) -> Begun:
        """See `Actor.restore`."""
        return self._actor.restore(state)

    @told
    def close(self) -> None:
        """See `Actor.close`."""
        with suppress(AttributeError):  # it was never made
            self._actor.close()


def joined(steps: Sequence[Step]) -> Step:
    """Steps of all actors at the same time, side by side.  `[E, ...]`."""
    parts = [one.transition for one in steps]
    masks: dict[str, Any] = {name: _joined_masks(parts, name) for name in ("mask", "next_mask", "reset_mask")}
    names = ("observation", "action", "reward", "terminated", "truncated", "next_observation", "reset_observation")
    whole = {name: map_observation(_side_by_side, *(getattr(one, name) for one in parts)) for name in names}
    transition = Transition(**whole, **masks, info=_joined_infos(parts))
    return Step(transition, map_observation(_side_by_side, *(one.noted for one in steps)))


def _side_by_side(*parts: Any) -> Any:
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else np.concatenate(parts)


def _joined_masks(parts: Sequence[Transition], name: str) -> np.ndarray | None:
    masks = [getattr(one, name) for one in parts]
    known = next((mask for mask in masks if mask is not None), None)
    if known is None:
        return None
    sizes = [len(one.reward) for one in parts]
    ones = partial(np.ones, dtype=bool)
    all_of = [ones((size, known.shape[1])) if mask is None else mask for mask, size in zip(masks, sizes, strict=True)]
    return np.concatenate(all_of)


def _joined_infos(parts: Sequence[Transition]) -> dict[str, Any]:
    """Numbers that environments say, 0 where they do not say them."""
    infos, sizes = [one.info for one in parts], [len(one.reward) for one in parts]
    return _side(infos, sizes)


def _side(infos: Sequence[dict[str, Any]], sizes: Sequence[int]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name in dict.fromkeys(name for info in infos for name in info):
        first = next(info[name] for info in infos if name in info)
        if isinstance(first, dict):
            whole[name] = _side([one if isinstance(one := info.get(name), dict) else {} for info in infos], sizes)
            continue
        said = [
            info[name] if name in info else np.zeros((size, *first.shape[1:]), first.dtype)
            for info, size in zip(infos, sizes, strict=True)
        ]
        if all(isinstance(one, np.ndarray) and one.shape[1:] == first.shape[1:] for one in said):
            whole[name] = np.concatenate(said)
    return whole


def _kept(noted: Any) -> Any:
    """As it is now: tensors and arrays that are changed later are copied."""
    copy = lambda part: part.clone() if isinstance(part, torch.Tensor) else np.copy(part)  # noqa: E731
    return map_observation(copy, noted)


def _sendable(transition: Transition) -> Transition:
    """Without what environments say that is no number, which stays where they are.

    It is sent after the steps that follow it, in which environments and agents may write to their arrays again.
    """
    copies = {name: getattr(transition, name).copy() for name in ("action", "reward", "terminated", "truncated")}
    said = {name: one for name, one in transition.info.items() if name != "final_obs"}  # `next_observation` is sent
    return replace(transition, **copies, info=_numbers(said, len(transition.reward)))


def _numbers(info: dict[str, Any], count: int) -> dict[str, Any]:
    """Copies of those that a checkpoint can hold."""
    kept: dict[str, Any] = {}
    for name, said in info.items():
        if not isinstance(name, str):
            continue
        if isinstance(said, dict):
            kept[name] = _numbers(said, count)
        elif isinstance(said, np.ndarray) and _is_plain(said.dtype) and said.shape[:1] == (count,):
            kept[name] = said.copy()
    return kept


def _is_plain(kind: np.dtype) -> bool:
    return kind.kind in "biuf" and kind.itemsize <= 8 and kind.isnative
