"""Some environments in a process of their own, perhaps on another machine: what it answers are values, errors too.

It imports neither torch nor an agent, so that many such processes begin quickly and take little memory.
"""

from __future__ import annotations

import os
import pickle
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import Space
from gymnasium.vector.utils import concatenate, create_empty_array

from engram_rl.training.distributed import lines
from engram_rl.training.errors import UsageError, in_your, say_once


@dataclass(frozen=True)
class Made:
    """What environments say of themselves: the spaces of one, which all share, and the metadata of the first."""

    observation_space: Space
    action_space: Space
    metadata: dict[str, Any]
    render_mode: str | None
    process: int


@dataclass(frozen=True)
class Answer:
    """What B environments gave.

    Attributes:
        observation: What is acted on next. `[B, ...]`
        reward: 0 after a reset. `[B]`
        terminated: `[B]`
        truncated: `[B]`
        said: For each a pair: its info, and where an episode ended its last observation and info, else None. `[B]`
        stepped: Whether this is of a step.
    """

    observation: Any
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    said: list[tuple[Any, Any]]
    stepped: bool = False


@dataclass(frozen=True)
class Failure:
    """What went wrong in somebody's environment, with its file and line, and the traceback there."""

    error: UsageError
    traceback: str


def told(method: Callable[..., Any]) -> Callable[..., Any]:
    """Errors are answers: of an exception that is raised in a worker, Ray would show its own traceback."""

    @wraps(method)
    def answering(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except Exception as error:
            return Failure(in_your("environments on a worker", method.__name__, error), traceback.format_exc())

    return answering


class EnvironmentWorker:
    """Steps its environments one after another; where an episode ends the next begins within the step.

    Args:
        paths: Where modules are looked for beside where they are by default.
    """

    def __init__(self, paths: Sequence[str]):
        sys.path += [path for path in paths if path not in sys.path]
        self._envs: list[gym.Env] = []

    def serve(self, address: tuple[str, int], key: bytes, ticket: int) -> None:
        """Do what is asked over a line to the driver, until there is nobody at its other end."""
        with lines.call(address, key, ticket) as line, suppress(EOFError, OSError):
            while True:
                method, arguments = line.recv()
                line.send_bytes(_dumped(getattr(self, method)(*arguments)))

    @told
    def make(self, makers: bytes) -> Made:
        """Make the environments.

        Args:
            makers: A pickled list of functions, each of which makes one.
        """
        for maker in pickle.loads(makers):
            self._envs.append(maker())
        first = self._envs[0]
        for one in self._envs:
            if (one.observation_space, one.action_space) != (first.observation_space, first.action_space):
                raise UsageError(f"Environments side by side must have the same spaces, but {one} has others.")
        self._space = first.observation_space
        self._room: Any = create_empty_array(self._space, n=len(self._envs), fn=np.zeros)
        return Made(self._space, first.action_space, dict(first.metadata), first.render_mode, os.getpid())

    @told
    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None = None) -> Answer:
        """Begin episodes; what draws from the generators of the process is seeded with the first seed."""
        if seeds[0] is not None:
            random.seed(seeds[0])
            np.random.seed(seeds[0] % 2**32)  # noqa: NPY002
        given = [env.reset(seed=seed, options=options) for env, seed in zip(self._envs, seeds, strict=True)]
        none = np.zeros(len(given), dtype=bool)
        return self._answer([one for one, _ in given], none * 0.0, none, none, [(info, None) for _, info in given])

    @told
    def step(self, actions: np.ndarray) -> Answer:
        """Take a step in each. `[B, ...]`."""
        count = len(self._envs)
        reward, terminated, truncated = np.zeros(count), np.zeros(count, bool), np.zeros(count, bool)
        seen, said = [], []
        for row, (env, action) in enumerate(zip(self._envs, np.array(actions), strict=True)):
            observation, reward[row], terminated[row], truncated[row], info = env.step(action)
            last = None
            if terminated[row] or truncated[row]:
                last = (observation, info)
                observation, info = env.reset()
            seen.append(observation)
            said.append((info, last))
        return replace(self._answer(seen, reward, terminated, truncated, said), stepped=True)

    @told
    def replay(self, seeds: Sequence[int | None], actions: np.ndarray, counts: np.ndarray) -> Answer:
        """Go to where these seeds and the first `counts` `[B]` of these actions `[T, B, ...]` lead, one by one."""
        seen, said = [], []
        answer = self.reset.__wrapped__(self, seeds)  # type: ignore[attr-defined]
        for row, env in enumerate(self._envs):
            info, _ = answer.said[row]
            observation = _row(answer.observation, row)
            for action in np.array(actions[: counts[row], row]):
                observation, _, terminated, truncated, info = env.step(action)
                if terminated or truncated:
                    observation, info = env.reset()
            seen.append(observation)
            said.append((info, None))
        return self._answer(seen, answer.reward, answer.terminated, answer.truncated, said)

    @told
    def call(self, name: str, *arguments: Any, **named: Any) -> list[Any]:
        """Call a method of each, or give an attribute of it."""
        found = [env.get_wrapper_attr(name) for env in self._envs]
        return [one(*arguments, **named) if callable(one) else one for one in found]

    @told
    def close(self) -> None:
        """Close all; the first error is told after that."""
        errors = []
        for env in self._envs:
            try:
                env.close()
            except Exception as error:
                errors.append(error)
        self._envs = []
        if errors:
            raise errors[0]

    def _answer(
        self, seen: list[Any], reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, said: list[Any]
    ) -> Answer:
        self._room = concatenate(self._space, seen, self._room)  # sent before the next step writes to it
        return Answer(self._room, reward, terminated, truncated, said)


def _row(batch: Any, row: int) -> Any:
    if isinstance(batch, dict):
        return {name: _row(part, row) for name, part in batch.items()}
    return np.copy(batch[row])


def _dumped(answer: Any) -> bytes:
    """An answer in bytes, without the parts of infos that cannot be sent."""
    with suppress(Exception):
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    try:
        return _thoroughly(answer)
    except Exception as error:
        if isinstance(answer, Answer):
            said = [(_sendable(info), last and (last[0], _sendable(last[1]))) for info, last in answer.said]
            return _thoroughly(replace(answer, said=said))
        return pickle.dumps(Failure(UsageError(f"What a worker answers cannot be sent: {error}"), ""))


def _thoroughly(value: Any) -> bytes:
    """In bytes; slower, and what is defined in a script or in a function can be sent."""
    from ray import cloudpickle

    return cloudpickle.dumps(value)


def _sendable(info: dict[Any, Any]) -> dict[Any, Any]:
    kept = {}
    for name, value in info.items():
        try:
            _thoroughly((name, value))
        except Exception as error:
            say_once(f"The info {name!r} stays where the environment is: it cannot be sent ({error}).")
        else:
            kept[name] = value
    return kept
