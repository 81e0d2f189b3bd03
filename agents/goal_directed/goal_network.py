"""The fast half of the fast/slow agent: a goal-conditioned network, trained by hippocampal replay."""

from __future__ import annotations

from typing import Any

import numpy as np

from engram_rl.agents.goal_directed.perceptron import Perceptron

_ROOM = 64  # steps of an episode for which there is room from the first on


class GoalNetwork:
    """Action probabilities for a state and a goal, learned from what once led there (arXiv 2301.13758).

    The loss is the cross-entropy between what the network would do and what was done.

    Args:
        network: States beside goals to actions, as they are. `[B, 2 D] -> [B, A]`
        batch_size: Rows of a minibatch; each row of a replay is used once.
        rng: Shuffles the rows.
    """

    def __init__(self, network: Perceptron, batch_size: int, rng: np.random.Generator) -> None:
        self.network = network
        self._batch_size, self._rng = batch_size, rng

    def probabilities(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Probability of each action in states `[B, D]` with goals `[B, D]`. `[B, A]`."""
        return self.network.probabilities(_rows(states, goals))

    def learn(self, states: np.ndarray, goals: np.ndarray, actions: np.ndarray) -> float:
        """One pass over rows `[N, D]`, `[N, D]`, `[N]`; returns their mean loss."""
        rows = _rows(states, goals)
        order = self._rng.permutation(len(rows))
        batches = [order[start : start + self._batch_size] for start in range(0, len(rows), self._batch_size)]
        return sum(self.network.learn(rows[batch], actions[batch]) * len(batch) for batch in batches) / len(rows)

    def state_dict(self) -> dict[str, Any]:
        """The network and the generator."""
        return {"network": self.network.state_dict(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self._rng.bit_generator.state = state["rng"]


class EpisodeTrace:
    """The states of the present episodes and what was done in them: material for replay.

    Args:
        num_envs: E.
        dim: Numbers in a state, D.
    """

    def __init__(self, num_envs: int, dim: int) -> None:
        self._states = np.zeros((num_envs, 0, dim), np.float32)  # [E, T, D], T grows as needed
        self._actions = np.zeros((num_envs, 0), np.int64)  # [E, T]
        self._length = np.zeros(num_envs, np.int64)  # [E]

    def add(self, states: np.ndarray, actions: np.ndarray) -> None:
        """Append a step of each environment. `[E, D]`, `[E]`."""
        room = self._actions.shape[1]
        if self._length.max() == room:
            more = (0, max(_ROOM, room))
            self._states = np.pad(self._states, ((0, 0), more, (0, 0)))
            self._actions = np.pad(self._actions, ((0, 0), more))
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
        self._states, self._actions = state["states"].copy(), state["actions"].copy()
        self._length = state["length"].copy()


def _rows(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """States beside goals, with 0 for what a goal leaves open. `[B, D], [B, D] -> [B, 2 D]`."""
    return np.concatenate([states, np.where(np.isnan(goals), 0, goals)], 1, dtype=np.float32)
