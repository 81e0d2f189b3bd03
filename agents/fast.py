"""The fast half of the fast/slow agent: a goal-conditioned network, trained by hippocampal replay."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.networks import perceptron


def replay_loss(logits: Tensor, actions: Tensor) -> Tensor:
    """Cross-entropy between what the network would do and what led to the goal. `[B, A], [B] -> []`."""
    return functional.cross_entropy(logits, actions)


class GoalNetwork:
    """Action probabilities for a state and a goal, learned from what once led there (arXiv 2301.13758).

    Args:
        network: States beside goals to logits. `[B, 2 D] -> [B, A]`
        optimiser: Of its parameters.
        batch_size: Rows of a minibatch; each row of a replay is used once.
        generator: Shuffles the rows.
    """

    def __init__(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, batch_size: int, generator: torch.Generator
    ) -> None:
        self.network, self.optimiser = network, optimiser
        self._batch_size, self._generator = batch_size, generator

    @torch.no_grad()
    def probabilities(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Probability of each action in states `[B, D]` with goals `[B, D]`. `[B, A]`."""
        return torch.softmax(self.network(_rows(states, goals)), 1).numpy()

    def learn(self, states: np.ndarray, goals: np.ndarray, actions: np.ndarray) -> float:
        """One pass over rows `[N, D]`, `[N, D]`, `[N]`; returns their mean loss."""
        rows, taken = _rows(states, goals), torch.as_tensor(actions)
        total = 0.0
        for batch in torch.randperm(len(rows), generator=self._generator).split(self._batch_size):
            self.optimiser.zero_grad()
            loss = replay_loss(self.network(rows[batch]), taken[batch])
            loss.backward()
            self.optimiser.step()
            total += loss.item() * len(batch)
        return total / len(rows)

    def state_dict(self) -> dict[str, Any]:
        """Copies of weights, optimiser and generator."""
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}
        return copy.deepcopy(state) | {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])


class EpisodeTrace:
    """The states of the present episodes and what was done in them: material for replay.

    Args:
        num_envs: E.
        dim: Numbers in a state, D.
    """

    def __init__(self, num_envs: int, dim: int) -> None:
        self._states = np.zeros((num_envs, 64, dim), np.float32)  # [E, T, D], T grows as needed
        self._actions = np.zeros((num_envs, 64), np.int64)  # [E, T]
        self._length = np.zeros(num_envs, np.int64)  # [E]

    def add(self, states: np.ndarray, actions: np.ndarray) -> None:
        """Append a step of each environment. `[E, D]`, `[E]`."""
        if self._length.max() == self._actions.shape[1]:
            self._states = np.concatenate([self._states, np.zeros_like(self._states)], 1)
            self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)], 1)
        env = np.arange(len(self._length))
        self._states[env, self._length] = states
        self._actions[env, self._length] = actions
        self._length += 1

    def rows(self, envs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All steps of some environments `[N]`: which environment, state, action. `[R]`, `[R, D]`, `[R]`."""
        row, step = np.nonzero(np.arange(self._actions.shape[1]) < self._length[envs][:, None])
        return envs[row], self._states[envs[row], step], self._actions[envs[row], step]

    def clear(self, envs: np.ndarray) -> None:
        """These environments `[N]` begin an episode."""
        self._length[envs] = 0

    def state_dict(self) -> dict[str, Any]:
        """The present episodes."""
        longest = int(self._length.max())
        return {
            "states": self._states[:, :longest].copy(),
            "actions": self._actions[:, :longest].copy(),
            "length": self._length.copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        longest = state["actions"].shape[1]
        room = max(64, longest)
        self._states = np.zeros((*self._actions.shape[:1], room, self._states.shape[2]), np.float32)
        self._actions = np.zeros((len(self._length), room), np.int64)
        self._states[:, :longest], self._actions[:, :longest] = (
            state["states"],
            state["actions"],
        )
        self._length = state["length"].copy()


def make_network(dim: int, num_actions: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """The published network: states and goals as they are, ReLU layers, Glorot-uniform weights, no bias at first."""
    network = perceptron(2 * dim, num_actions, hidden)
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


def _rows(states: np.ndarray, goals: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate([states, np.nan_to_num(goals)], 1).astype(np.float32))
