"""How often each action was taken in each state within the present episode."""

from __future__ import annotations

from typing import Any

import numpy as np

from engram_rl.memory.checks import require_ram


class EpisodeVisits:
    """Counts that start anew with each episode without being cleared: they carry the episode that they belong to.

    Args:
        capacity: Number of states, S.
        num_actions: A.
        num_envs: E.
    """

    def __init__(self, capacity: int, num_actions: int, num_envs: int) -> None:
        what = f"counts of {num_actions} actions in {capacity} states of {num_envs} environments"
        require_ram(what, num_envs * capacity * (4 * num_actions + 4), "lower agent.memory.capacity or env.num_envs")
        self._counts = np.zeros((num_envs, capacity, num_actions), np.int32)  # [E, S, A]
        self._counted_in = np.zeros((num_envs, capacity), np.int32)  # [E, S], the episode that the counts are from
        self._episode = np.ones(num_envs, np.int32)  # [E]

    def of(self, states: np.ndarray) -> np.ndarray:
        """Counts of every action in the states (ids) that E environments are in. `[E, A]`."""
        env = np.arange(len(states))
        present = self._counted_in[env, states] == self._episode
        return np.where(present[:, None], self._counts[env, states], 0)

    def count(self, states: np.ndarray, actions: np.ndarray) -> None:
        """Each environment took an action `[E]` in a state (id) `[E]`."""
        env = np.arange(len(states))
        self._counts[env, states] = self.of(states)
        self._counted_in[env, states] = self._episode
        self._counts[env, states, actions] += 1

    def begin_episodes(self, envs: np.ndarray) -> None:
        """These environments `[N]` begin an episode."""
        self._episode[envs] += 1

    def state_dict(self) -> dict[str, Any]:
        """The counts of the present episodes."""
        env, state = np.nonzero(self._counted_in == self._episode[:, None])
        return {"env": env, "state": state, "counts": self._counts[env, state], "episode": self._episode.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        env, at = state["env"], state["state"]
        self._episode[:] = state["episode"]
        self._counted_in[:] = 0
        self._counted_in[env, at] = self._episode[env]
        self._counts[env, at] = state["counts"]
