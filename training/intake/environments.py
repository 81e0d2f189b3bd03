"""The door between environments and everything else: a wrapper for single ones, and one for vectors."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from engram_rl.training.errors import FAILURES, UsageError, in_your, say_once
from engram_rl.training.intake.ends import truth, truths
from engram_rl.training.intake.infos import own
from engram_rl.training.intake.observations import Bounds, copied, reader
from engram_rl.training.intake.rewards import PAID, below, number, numbers
from engram_rl.training.intake.spaces import presented


class TakenIn(gym.Wrapper):
    """One environment, with observations as agents are shown them, one number of reward, and errors with their place.

    The last observation of an episode is copied: the reset that follows may write into the same array.

    Args:
        env: Any environment.
        id: What it was made as.
        index: Which of those side by side it is.
        wrapped: Whether wrappers may change what it pays; where they do, infos say what it paid itself.

    Raises:
        UsageError: Its observations cannot be shown to an agent.
    """

    def __init__(self, env: gym.Env, id: str, index: int, wrapped: bool = False):
        super().__init__(env)
        self._wrapped = wrapped
        self._id, self._who = id, f"environment {index} ({id})"
        self.observation_space = presented(env.observation_space, id)
        self._read = reader(env.observation_space, self.observation_space, self._who)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset."""
        try:
            result: Any = self.env.reset(seed=seed, options=options)
        except UsageError:
            raise
        except FAILURES as error:
            raise in_your(f"environment {self._id}", "reset", error) from error
        if not isinstance(result, tuple) or len(result) != 2:
            raise UsageError(f"reset of {self._who} gave {_brief(result)}; it must give (observation, info).")
        self._paid()
        return self._read(result[0]), own(result[1])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step."""
        try:
            result: Any = self.env.step(action)
        except UsageError:
            raise
        except FAILURES as error:
            raise in_your(f"environment {self._id}", "step", error) from error
        if not isinstance(result, tuple) or len(result) != 5:
            raise UsageError(
                f"step of {self._who} gave {_brief(result)}; it must give (observation, reward, terminated, truncated, "
                f"info)."
            )
        observation, reward, terminated, truncated, info = result
        observation = self._read(observation)
        terminated = truth(terminated, "terminated", self._who)
        truncated = truth(truncated, "truncated", self._who)
        if terminated or truncated:
            observation = copied(observation)
        info, pay = own(info), number(reward, self._who)
        if (gained := self._paid()) is not None and gained != pay:
            info = {**info, PAID: gained}
        return observation, pay, terminated, truncated, info

    def _paid(self) -> float | None:
        """What it paid itself since this was last asked; None where that is not known."""
        counted = below(self.env) if self._wrapped else None
        if counted is None:
            return None
        gained, counted.paid = counted.paid, 0.0
        return None if math.isnan(gained) else gained


def _brief(result: Any) -> str:
    if isinstance(result, tuple):
        return f"{len(result)} values"
    return f"{type(result).__name__} {str(result)[:60]!r}"


class Intake(VectorWrapper):
    """Vectorised environments whose observations are copied and of their space, and whose rewards are finite numbers.

    Args:
        env: In autoreset mode SAME_STEP.
        id: What they were made as.
        checked: Whether the single environments are `TakenIn`, so that kinds and shapes are right already.
    """

    def __init__(self, env: VectorEnv, id: str, *, checked: bool):
        super().__init__(env)
        self._id, self._checked = id, checked
        space = env.single_observation_space
        self.single_observation_space = presented(space, id)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        seen = self.single_observation_space
        self._read = reader(space, seen, f"the environments ({id})", batch=(env.num_envs,))
        self._read_one = reader(space, seen, f"the environments ({id})")
        self._bounds = Bounds(seen, id, codes=not checked)
        self._begun = False
        self._last_bounds = Bounds(seen, id, "final observation", codes=not checked)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset."""
        try:
            observation, info = self.env.reset(seed=seed, options=options)
        except UsageError:
            raise
        except FAILURES as error:
            raise in_your(f"environment {self._id}", "reset", error) from error
        return self._observation(observation), own(info)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all."""
        try:
            result = self.env.step(actions)
        except UsageError:
            raise
        except FAILURES as error:
            raise in_your(f"environment {self._id}", "step", error) from error
        *told, info = self.stepped(*result)
        if "episode" in info:
            info = {name: value for name, value in info.items() if name not in ("episode", "_episode")}
        return (*told, info)

    def stepped(
        self, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any
    ) -> tuple[Any, np.ndarray, Any, Any, dict[str, Any]]:
        """Take in what a step gave."""
        if not self._checked:
            terminated = truths(terminated, self.num_envs, "terminated", self._id)
            truncated = truths(truncated, self.num_envs, "truncated", self._id)
        if not isinstance(info, dict):
            info = {}
        ended = np.logical_or(terminated, truncated)
        if ended.any():
            info = {**info, "final_obs": self._finals(info.get("final_obs"), ended)}
        return self._observation(observation), numbers(reward, self.num_envs, self._id), terminated, truncated, info

    def close(self, **options: Any) -> None:
        """Close all; what goes wrong with one is told, and keeps nobody from going on."""
        try:
            self.env.close(**options)
        except FAILURES as error:
            say_once(str(in_your(f"environment {self._id}", "close", error)))
            inner: Any = self.env.unwrapped
            for one in getattr(inner, "envs", ()):
                with suppress(*FAILURES):
                    one.close()
            inner.closed = True

    def take(self, observation: Any) -> Any:
        """Take in observations that came otherwise than by a reset or a step."""
        return self._observation(observation)

    def _observation(self, observation: Any) -> Any:
        if not self._checked:
            observation = self._read(observation)
        self._bounds.check(observation, first=not self._begun)
        self._begun = True
        return copied(observation)

    def _finals(self, finals: Any, ended: np.ndarray) -> Any:
        """The last observations of episodes, indexed by environment: objects, None where none ended, or a batch."""
        if finals is None:
            raise UsageError(
                f"{self._id} says that it resets within the step, but gives no info['final_obs'] where an episode "
                f"ends: the true last observation is lost. Use env.vectorization=sync, or mend its vector class."
            )
        rows, space = np.flatnonzero(ended), self.single_observation_space
        listed = isinstance(finals, list) and len(finals) == self.num_envs
        if not (listed or (isinstance(finals, np.ndarray) and finals.dtype == object)):
            batch = finals if self._checked else self._read(finals)
            batch = copied(batch)
            self._last_bounds.check(_rows_of(batch, rows), rows)
            return batch
        result = np.full(self.num_envs, None, dtype=object)
        for row in rows:
            result[row] = finals[row] if self._checked else copied(self._read_one(finals[row]))
        self._last_bounds.check(_stacked([result[row] for row in rows], space), rows)
        return result


def _rows_of(batch: Any, rows: np.ndarray) -> Any:
    if isinstance(batch, dict):
        return {name: _rows_of(part, rows) for name, part in batch.items()}
    return batch[rows]


def _stacked(rows: list[Any], space: Any) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _stacked([row[name] for row in rows], part) for name, part in space.spaces.items()}
    return np.stack([np.asarray(row) for row in rows])
