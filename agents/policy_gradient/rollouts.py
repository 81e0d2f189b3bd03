"""What an on-policy agent learns from: T steps of E environments, and how good they turned out to be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from engram_rl.agents.common.observations import map_observation, rows_of
from engram_rl.memory.cores import State


def generalised_advantages(
    reward: np.ndarray,
    value: np.ndarray,
    next_value: np.ndarray,
    cut: np.ndarray,
    discount: float,
    gae_lambda: float,
) -> np.ndarray:
    """Advantages by exponentially weighted temporal differences (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    `delta_t = r_t + gamma V'_t - V_t` and `A_t = delta_t + gamma lambda A_{t+1}`, where the sum ends at a cut.

    Args:
        reward: `[T, E]`
        value: V of what was acted on. `[T, E]`
        next_value: V' of what followed: 0 where nothing does. `[T, E]`
        cut: Whether what follows belongs to another episode. `[T, E]` of bool
        discount: gamma in [0, 1].
        gae_lambda: lambda in [0, 1].

    Returns:
        `[T, E]`, of the same type.
    """
    delta = reward + discount * next_value - value  # [T, E]
    keep = (discount * gae_lambda) * ~cut  # [T, E]
    advantage = np.empty_like(delta)
    following = np.zeros(delta.shape[1])
    for t in reversed(range(len(delta))):
        following = delta[t] + keep[t] * following
        advantage[t] = following
    return advantage


class Rollout:
    """The last steps of E environments, up to T.

    Whatever was seen beside the observation is kept as it was, so that an update sees what the actor saw.

    Args:
        num_steps: T.
        num_envs: E.
    """

    def __init__(self, num_steps: int, num_envs: int):
        self.num_steps, self.num_envs = num_steps, num_envs
        self.initial_state: State | None = None  # [E, ...] by name, before the first step
        self._steps: list[dict[str, Any]] = []  # [E, ...] by name, a dict a step
        self._reward = np.zeros((num_steps, num_envs), dtype=np.float32)
        self._done = np.zeros((num_steps, num_envs), dtype=bool)
        self._final_value = np.zeros((num_steps, num_envs), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def full(self) -> bool:
        """Whether it holds T steps."""
        return len(self._steps) == self.num_steps

    def add(
        self, state: State, step: dict[str, Any], reward: np.ndarray, done: np.ndarray, final_value: np.ndarray
    ) -> None:
        """Put in one step and its outcome; the tensors are kept, not copied.

        Args:
            state: Of a recurrent policy before the step; the first of a rollout is kept. `[E, ...]` by name
            step: What was seen and done: tensors by name, nested as deep as observations are. `[E, ...]`
            reward: `[E]`
            done: Whether an episode ended. `[E]` of bool
            final_value: What is bootstrapped where one ended: 0 if it terminated, the value of its last observation if
                it was truncated. `[E]`

        Raises:
            RuntimeError: It is full, or this step has other parts than those before; only the `mask` of actions may
                come now and then: a step without allows all.
        """
        if self.full:
            raise RuntimeError(
                f"The rollout of {self.num_steps} steps is full: call learn after every observe, or set the agent's "
                f"frozen to play on without learning."
            )
        if not self._steps:
            self.initial_state = state
        elif step.keys() != (first := self._steps[0]).keys():
            step = self._masked_alike(step, first)
        t = len(self._steps)
        self._steps.append(step)
        self._reward[t], self._done[t], self._final_value[t] = reward, done, final_value

    def _masked_alike(self, step: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
        """The step; where only it or only those before it have a mask, the others get one that allows all."""
        if differing := ", ".join(sorted((step.keys() ^ first.keys()) - {"mask"})):
            raise RuntimeError(
                f"Only some steps of this rollout have a {differing}: give it at every step, or at none."
            )
        if "mask" not in step:
            return step | {"mask": torch.ones_like(first["mask"])}
        self._steps = [before | {"mask": torch.ones_like(step["mask"])} for before in self._steps]
        return step

    def stacked(self) -> dict[str, Any]:
        """What was seen and done, step upon step. `[T, E, ...]` by name."""
        return map_observation(lambda *parts: torch.stack(parts), *self._steps) if self._steps else {}

    def clear(self) -> None:
        """Begin the next rollout."""
        self._steps = []

    def advantages(
        self, value: np.ndarray, last_value: np.ndarray, discount: float, gae_lambda: float, cut_at_episode_ends: bool
    ) -> np.ndarray:
        """Generalised advantages of a full rollout.

        Args:
            value: Of every step. `[T, E]`
            last_value: Of what is acted on next. `[E]`
            discount: gamma.
            gae_lambda: lambda.
            cut_at_episode_ends: Whether what follows an episode's end does not count; if not, the next episode's value
                is bootstrapped there, so that behaviour which pays in later episodes is reinforced.

        Returns:
            `[T, E]`
        """
        following = np.concatenate([value[1:], last_value[None]])  # [T, E]
        cut = self._done & cut_at_episode_ends
        following = np.where(cut, self._final_value, following)
        return generalised_advantages(self._reward, value, following, cut, discount, gae_lambda)

    def state_dict(self) -> dict[str, Any]:
        """The steps so far."""
        outcomes = {"reward": self._reward, "done": self._done, "final_value": self._final_value}
        return {
            "steps": self.stacked(),
            "initial_state": self.initial_state,
            "outcomes": {name: part[: len(self)].copy() for name, part in outcomes.items()},
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Restore what `state_dict` gave, with tensors on `device`.

        Raises:
            ValueError: It holds as many steps as fit here or more, or another number of environments.
        """
        length, envs = state["outcomes"]["reward"].shape
        if envs != self.num_envs or length >= self.num_steps:
            raise ValueError(
                f"The checkpoint holds {length} steps of {envs} environments; this rollout is learned from at "
                f"{self.num_steps} steps of {self.num_envs}. Resume with the same env.num_envs and agent.num_steps."
            )
        initial, steps = state["initial_state"], map_observation(lambda part: part.to(device), state["steps"])
        self.initial_state = None if initial is None else map_observation(lambda part: part.to(device), initial)
        self._steps = [rows_of(steps, t) for t in range(length)]
        for name, part in (("reward", self._reward), ("done", self._done), ("final_value", self._final_value)):
            part[:length] = state["outcomes"][name]


def shuffled_rows(data: dict[str, Any], size: int, generator: torch.Generator) -> Iterator[dict[str, Any]]:
    """Minibatches of single steps, each in one of them. `[T, E, ...]` to `[size, ...]`; the last may be smaller.

    A single step that would be left over, which has no mean to be compared with, goes to the one before.
    """
    flat = map_observation(lambda part: part.flatten(0, 1), data)
    order = torch.randperm(len(flat["action"]), generator=generator).to(flat["action"].device)
    mixed = map_observation(lambda part: part.index_select(0, order), flat)
    firsts = list(range(0, len(order), size))
    if len(firsts) > 1 and len(order) % size == 1:
        firsts.pop()
    for first, end in pairwise([*firsts, len(order)]):
        yield rows_of(mixed, slice(first, end))


def shuffled_sequences(
    data: dict[str, Any], state: State, size: int, generator: torch.Generator
) -> Iterator[tuple[dict[str, Any], State]]:
    """Minibatches of whole sequences, each environment in one of them, with its state before the first step.

    Args:
        data: `[T, E, ...]`
        state: `[E, ...]` by name.
        size: Steps of a minibatch, rounded down to whole sequences, at least one.
        generator: Of the order.

    Yields:
        `[T, b, ...]` and `[b, ...]`, by name.
    """
    length, envs = data["action"].shape[:2]
    order = torch.randperm(envs, generator=generator).to(data["action"].device)
    for chosen in order.split(max(1, size // length)):
        yield map_observation(lambda part: part.index_select(1, chosen), data), rows_of(state, chosen)  # noqa: B023
