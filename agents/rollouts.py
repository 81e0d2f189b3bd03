"""What an on-policy agent learns from: T steps of E environments, and how good they turned out to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.observations import map_observation


def generalised_advantages(
    reward: np.ndarray,
    value: np.ndarray,
    next_value: np.ndarray,
    cut: np.ndarray,
    discount: float,
    trace: float,
) -> np.ndarray:
    """Advantages by exponentially weighted temporal differences (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    `delta_t = r_t + gamma V'_t - V_t` and `A_t = delta_t + gamma lambda A_{t+1}`, where the sum ends at a cut.

    Args:
        reward: `[T, E]`
        value: V of what was acted on. `[T, E]`
        next_value: V' of what followed: 0 where nothing does. `[T, E]`
        cut: Whether what follows belongs to another episode. `[T, E]` of bool
        discount: gamma in [0, 1].
        trace: lambda in [0, 1].

    Returns:
        `[T, E]`, of the same type.
    """
    delta = reward + discount * next_value - value  # [T, E]
    keep = (discount * trace) * ~cut  # [T, E]
    advantage = np.empty_like(delta)
    following = np.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + keep[t] * following
        advantage[t] = following
    return advantage


class Rollout:
    """The last steps of E environments, up to T, in buffers that are made once.

    A step is put in when it is taken (`record`: what was seen, what was done) and completed when its outcome is known
    (`complete`). Whatever was seen beside the observation is kept as it was, so that an update sees what the actor saw.

    Args:
        num_steps: T.
        num_envs: E.
    """

    def __init__(self, num_steps: int, num_envs: int):
        self.num_steps, self.num_envs = num_steps, num_envs
        self.length = 0
        self.reward = np.zeros((num_steps, num_envs), dtype=np.float32)
        self.done = np.zeros((num_steps, num_envs), dtype=bool)
        self.final_value = np.zeros((num_steps, num_envs), dtype=np.float32)
        self.seen: dict[str, Any] = {}  # by name, [T, E, ...]
        self.initial_state: Tensor | None = None  # [E, H] before the first step

    @property
    def full(self) -> bool:
        """Whether T steps are complete."""
        return self.length == self.num_steps

    def record(self, state: Tensor, step: dict[str, Any]) -> None:
        """Put in what was seen and done.

        Args:
            state: Of a recurrent policy before the step; the first of a rollout is kept. `[E, H]`
            step: Tensors by name, nested as deep as observations are. `[E, ...]`
        """
        if not self.seen:
            self.seen = map_observation(self._room_for, step)
        if not self.length:
            self.initial_state = state.clone()
        _put(self.seen, self.length, step)

    def complete(self, reward: np.ndarray, done: np.ndarray, final_value: np.ndarray) -> None:
        """Add the outcome of the step just recorded.

        Args:
            reward: `[E]`
            done: Whether an episode ended. `[E]` of bool
            final_value: What is bootstrapped where one ended: 0 if it terminated, the value of its last observation if
                it was truncated. `[E]`
        """
        self.reward[self.length], self.done[self.length] = reward, done
        self.final_value[self.length] = final_value
        self.length += 1

    def clear(self) -> None:
        """Begin the next rollout."""
        self.length = 0

    def advantages(
        self, value: np.ndarray, last_value: np.ndarray, discount: float, trace: float, cut_at_episode_ends: bool
    ) -> np.ndarray:
        """Generalised advantages of a full rollout.

        Args:
            value: Of every step. `[T, E]`
            last_value: Of what is acted on next. `[E]`
            discount: gamma.
            trace: lambda.
            cut_at_episode_ends: Whether what follows an episode's end does not count; if not, the next episode's value
                is bootstrapped there, so that behaviour which pays in later episodes is reinforced.

        Returns:
            `[T, E]`
        """
        following = np.concatenate([value[1:], last_value[None]])  # [T, E]
        if not cut_at_episode_ends:
            return generalised_advantages(self.reward, value, following, np.zeros_like(self.done), discount, trace)
        following = np.where(self.done, self.final_value, following)
        return generalised_advantages(self.reward, value, following, self.done, discount, trace)

    def state_dict(self) -> dict[str, Any]:
        """The steps so far."""
        return {
            "seen": map_observation(lambda part: part[: self.length].clone(), self.seen),
            "initial_state": self.initial_state,
            **{name: getattr(self, name)[: self.length].copy() for name in ("reward", "done", "final_value")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: It holds more steps, or another number of environments.
        """
        steps, envs = state["reward"].shape
        if envs != self.num_envs or steps > self.num_steps:
            raise ValueError(
                f"The checkpoint holds {steps} steps of {envs} environments; this rollout holds {self.num_steps} of "
                f"{self.num_envs}. Resume with the same env.num_envs and agent.num_steps."
            )
        self.initial_state = state["initial_state"]
        self.length = steps
        for name in ("reward", "done", "final_value"):
            getattr(self, name)[:steps] = state[name]
        self.seen = map_observation(self._restored, state["seen"])

    def _room_for(self, part: Tensor) -> Tensor:
        return part.new_zeros((self.num_steps, *part.shape))

    def _restored(self, part: Tensor) -> Tensor:
        room = part.new_zeros((self.num_steps, *part.shape[1:]))
        room[: len(part)] = part
        return room


def _put(room: dict[str, Any], t: int, step: dict[str, Any]) -> None:
    for name, part in step.items():
        if isinstance(part, dict):
            _put(room[name], t, part)
        else:
            room[name][t] = part


def shuffled_rows(data: dict[str, Any], size: int, generator: torch.Generator) -> Iterator[dict[str, Any]]:
    """Minibatches of single steps, each in one of them. `[T, E, ...]` to `[size, ...]`; the last may be smaller."""
    flat = map_observation(lambda part: part.flatten(0, 1), data)
    order = torch.randperm(flat["action"].shape[0], generator=generator).to(flat["action"].device)
    mixed = map_observation(lambda part: part.index_select(0, order), flat)
    for first in range(0, len(order), size):
        yield map_observation(lambda part: part[first : first + size], mixed)  # noqa: B023  (used at once)


def shuffled_sequences(
    data: dict[str, Any], state: Tensor, size: int, generator: torch.Generator
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Minibatches of whole sequences, each environment in one of them, with its state before the first step.

    Args:
        data: `[T, E, ...]`
        state: `[E, H]`
        size: Steps of a minibatch, rounded down to whole sequences, at least one.
        generator: Of the order.

    Yields:
        `[T, b, ...]` and `[b, H]`.
    """
    length, envs = data["action"].shape[:2]
    order = torch.randperm(envs, generator=generator).to(state.device)
    for chosen in order.split(max(1, size // length)):
        yield map_observation(lambda part: part.index_select(1, chosen), data), state[chosen]  # noqa: B023
