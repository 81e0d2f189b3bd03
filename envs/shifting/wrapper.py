"""ShiftingTarget makes the target of any environment shift; a `Mover` says how the target gets there.

env = ShiftingTarget(gymnasium.make("CartPole-v1"), Periodic([9.8, 30.0], period=20), Attribute("gravity"))
env.target                # 9.8
env.move_target(1.6)      # by hand, from the next reset on
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import gymnasium
import numpy as np

from engram_rl.envs.checks import at_least, no_nan
from engram_rl.envs.shifting.schedules import Moment, Schedule, Target, same

_MISSING = object()


class Mover:
    """How a target reaches an environment. Called before each reset, with the target of the episode to come."""

    def move(self, env: gymnasium.Env, target: Target) -> tuple[gymnasium.Env, dict[str, Any]]:
        """Move the target.

        Args:
            env: The environment that the wrapper holds.
            target: Where the target is to be.

        Returns:
            The environment to go on with, and options for its reset.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ResetOption(Mover):
    """Through `reset(options={name: target})`."""

    name: str

    def move(self, env: gymnasium.Env, target: Target) -> tuple[gymnasium.Env, dict[str, Any]]:
        """Hand the target to the reset."""
        return env, {self.name: target}


@dataclass(frozen=True)
class Attribute(Mover):
    """Through an attribute of the bare environment; dots lead further in, as in "model.opt.gravity"."""

    name: str

    def move(self, env: gymnasium.Env, target: Target) -> tuple[gymnasium.Env, dict[str, Any]]:
        """Set the attribute."""
        *way, last = self.name.split(".")
        bare: Any = env.unwrapped
        owner = reduce(lambda inner, name: getattr(inner, name, _MISSING), way, bare)
        if getattr(owner, last, _MISSING) is _MISSING:
            raise AttributeError(f"{env.unwrapped} has no attribute {self.name!r} to shift.")
        setattr(owner, last, target)
        return env, {}


@dataclass(frozen=True)
class ConstructorArgument(Mover):
    """Through an argument of the constructor: a shift closes the environment and makes it anew from its spec."""

    name: str

    def move(self, env: gymnasium.Env, target: Target) -> tuple[gymnasium.Env, dict[str, Any]]:
        """Make the environment anew if the argument differs."""
        if env.spec is None:
            raise ValueError(f"{env} was not made by gymnasium.make, so it cannot be made anew with {self.name!r}.")
        if same(env.spec.kwargs.get(self.name, _MISSING), target):
            return env, {}
        spec = copy.deepcopy(env.spec)
        spec.kwargs[self.name] = target
        fresh = gymnasium.make(spec)
        fresh.unwrapped.np_random = env.unwrapped.np_random
        env.close()
        return fresh, {}


@dataclass(frozen=True)
class Call(Mover):
    """Through a function of the bare environment and the target."""

    function: Callable[[Any, Target], None]

    def move(self, env: gymnasium.Env, target: Target) -> tuple[gymnasium.Env, dict[str, Any]]:
        """Call the function."""
        self.function(env.unwrapped, target)
        return env, {}


class ShiftingTarget(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Makes the target of an environment shift between episodes, unannounced.

    `reset(seed=...)` starts a run anew at episode 0, as does the first reset; any other reset begins the run's next
    episode. `info` gains `task_index` (shifts so far), `shifted` (whether this is the first episode since one),
    `episode_index`, `target`, and `oracle_steps` if an oracle is given; the observation is the environment's own.

    Args:
        env: Any environment.
        schedule: When the target shifts, and to what (`engram_rl.envs.shifting.schedules`).
        mover: How it gets there: a `Mover`, or a function of the bare environment and the target.
        success_above: An episode counts as solved if its return is above this.
        layout_seed: What the schedule's chance is drawn from; None takes the seed of the reset.
        oracle: The fewest steps of the episode that has just begun, given the bare environment.

    Raises:
        TypeError: The schedule is none, or the mover neither a `Mover` nor a function.
        ValueError: `success_above` is NaN, or `layout_seed` below 0.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        schedule: Schedule,
        mover: Mover | Callable[[Any, Target], None],
        success_above: float = 0.0,
        layout_seed: int | None = None,
        oracle: Callable[[Any], int] | None = None,
    ) -> None:
        super().__init__(env)
        _require_parts(schedule, mover)
        self.schedule = schedule
        self.mover = mover if isinstance(mover, Mover) else Call(mover)
        self.success_above = no_nan("success_above", success_above)
        self.layout_seed = None if layout_seed is None else at_least(0, "layout_seed", layout_seed, "(or None)")
        self._oracle = oracle
        self._oracle_steps: int | None = None
        self._random = np.random.default_rng(layout_seed)
        self._moment: Moment | None = None
        self._return = 0.0
        self._by_hand: tuple[Target] | None = None  # boxed, as None may be a target

    @property
    def target(self) -> Target:
        """Where the target is in the current episode.

        Raises:
            gymnasium.error.ResetNeeded: No episode has begun.
        """
        if self._moment is None:
            raise gymnasium.error.ResetNeeded("There is no target before the first reset().")
        return self._moment.target

    def move_target(self, target: Target) -> None:
        """Shift the target from the next reset on, whatever the schedule says; later shifts are the schedule's."""
        self._by_hand = (target,)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of the run, or with a seed the first of a new run."""
        moment = self._next_moment(seed)
        self.env, added = self.mover.move(self.env, moment.target)
        observation, info = self.env.reset(seed=seed, options={**(options or {}), **added} or None)
        self._moment, self._return, self._by_hand = moment, 0.0, None
        self._oracle_steps = None if self._oracle is None else self._oracle(self.env.unwrapped)
        return observation, {**info, **self._info(moment)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._return += float(reward)
        if self._moment is not None:
            info = {**info, **self._info(self._moment)}
        return observation, reward, terminated, truncated, info

    def _next_moment(self, seed: int | None) -> Moment:
        """Where the run stands in the episode to come."""
        if seed is not None or self._moment is None:
            self._random = np.random.default_rng(seed if self.layout_seed is None else self.layout_seed)
            moment = self.schedule.first(self._random)
        else:
            moment = self.schedule.following(self._moment, self._return > self.success_above, self._random)
        return moment if self._by_hand is None else moment.shifted_to(*self._by_hand)

    def _info(self, moment: Moment) -> dict[str, Any]:
        info = {
            "task_index": moment.task_index,
            "shifted": moment.task_index > 0 and moment.since == 0,
            "episode_index": moment.episode,
            "target": moment.target,
        }
        return info if self._oracle_steps is None else info | {"oracle_steps": self._oracle_steps}


def _require_parts(schedule: Any, mover: Any) -> None:
    if isinstance(schedule, type) or not all(
        callable(getattr(schedule, verb, None)) for verb in ("first", "following")
    ):
        raise TypeError(
            f"schedule is {schedule!r}; it must be a Schedule, such as Periodic([9.8, 30.0], period=20) of "
            f"engram_rl.envs.shifting.schedules"
        )
    if isinstance(mover, type) or not (isinstance(mover, Mover) or callable(mover)):
        raise TypeError(
            f"mover is {mover!r}; it must be a Mover, such as Attribute('gravity'), or a function of the bare "
            f"environment and the target"
        )
