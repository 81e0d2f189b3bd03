"""Finite actions as codes that count from 0: a part each, or every combination of the parts as one number."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces

MOST = 512
"""Combinations that an agent with one memory for each can search in a step."""


class ActionCodes:
    """Actions of a Discrete or MultiDiscrete space as codes `0 .. size - 1`, P parts each.

    Args:
        space: Wherever its actions start to count.

    Attributes:
        sizes: Choices of each part.
    """

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        if isinstance(space, spaces.Discrete):
            self.sizes, self._starts = [int(space.n)], np.array([space.start])
            self._shape: tuple[int, ...] = ()
        else:
            self.sizes, self._starts = space.nvec.ravel().tolist(), space.start.ravel()
            self._shape = space.nvec.shape
        self._dtype = space.dtype

    def of(self, actions: np.ndarray) -> np.ndarray:
        """The codes of actions as environments take them. `[N, ...]` to `[N, P]`."""
        return np.reshape(actions, (len(actions), -1)) - self._starts

    def actions(self, codes: np.ndarray) -> np.ndarray:
        """Actions as environments take them. `[N, P]`, or `[N]` for one part, to `[N, ...]`."""
        parts = np.reshape(codes, (len(codes), -1)) + self._starts
        return parts.reshape(-1, *self._shape).astype(self._dtype)


def require_mask(mask: np.ndarray, envs: int, actions: int) -> np.ndarray:
    """A mask of actions as booleans. `[E, A]`.

    Raises:
        ValueError: It is of another shape, or allows some environment nothing.
    """
    allowed = np.asarray(mask, dtype=bool)
    if allowed.shape != (envs, actions):
        raise ValueError(
            f"The action mask has shape {allowed.shape}; it must be ({envs}, {actions}): a row for each environment, a "
            f"column for each action. Mend the environment's info['action_mask']."
        )
    nothing = ~allowed.any(axis=1)
    if nothing.any():
        raise ValueError(
            f"The action mask of environment {int(nothing.argmax())} allows no action at all; an episode in which "
            f"nothing can be done must end. Mend the environment's info['action_mask']."
        )
    return allowed


class Actions:
    """Actions numbered `0 .. count - 1`, every combination of parts one number.

    Args:
        space: Discrete or MultiDiscrete.
        agent: Whose actions they are, for the error.

    Raises:
        ValueError: Another space, or more combinations than can be searched.
    """

    def __init__(self, space: spaces.Space, agent: str):
        if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            raise ValueError(unfit(agent, "chooses among Discrete or MultiDiscrete actions", space))
        self._codes = ActionCodes(space)
        self.count = math.prod(self._codes.sizes)
        if self.count > MOST:
            raise ValueError(
                f"{agent} keeps a memory for each combination of actions; {space} has {self.count}, at most {MOST} "
                f"can be searched in a step. Choose fewer with a wrapper, such as gymnasium.wrappers.TransformAction."
            )

    def allowed(self, mask: np.ndarray | None, envs: int) -> torch.Tensor | None:
        """Which numbers a mask allows; None for all. `[E, A]`, of A choices of all parts, to `[E, count]` of bool.

        Raises:
            ValueError: As of `require_mask`.
        """
        if mask is None:
            return None
        parts = np.split(require_mask(mask, envs, sum(self._codes.sizes)), np.cumsum(self._codes.sizes)[:-1], axis=1)
        codes = np.unravel_index(np.arange(self.count), self._codes.sizes)
        numbers = np.logical_and.reduce([part[:, code] for part, code in zip(parts, codes, strict=True)])
        return torch.from_numpy(require_mask(numbers, envs, self.count))

    def numbered(self, actions: np.ndarray) -> np.ndarray:
        """The number of each action. `[E]`, or `[E, ...]` for several parts, to `[E]`."""
        return np.ravel_multi_index(tuple(self._codes.of(actions).T), self._codes.sizes)

    def named(self, numbers: np.ndarray) -> np.ndarray:
        """The action of each number, as the environments take it. `[E]` to `[E]` or `[E, ...]`."""
        return self._codes.actions(np.stack(np.unravel_index(numbers, self._codes.sizes), axis=1))


def require_discrete(space: spaces.Space, agent: str) -> int:
    """The number of actions, or an error if they are not Discrete."""
    if not isinstance(space, spaces.Discrete):
        raise ValueError(unfit(agent, "chooses among Discrete actions", space))
    if space.start != 0:
        raise ValueError(f"{agent} counts actions from 0, but this environment's start at {space.start}.")
    return int(space.n)


def unfit(agent: str, does: str, space: spaces.Space) -> str:
    """What is said of actions that an agent cannot take."""
    return (
        f"{agent} {does}, but this environment has {space}. Use an agent for such actions, or convert them with a "
        f"wrapper, such as gymnasium.wrappers.TransformAction."
    )
