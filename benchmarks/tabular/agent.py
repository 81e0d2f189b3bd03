"""What tabular agents share: the verbs of an agent, and greedy choices with ties broken at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.tabular.places import Places
from engram_rl.agents.agent import Observation, Transition


class Tabular:
    """An agent for E environments of its own world each, with tables over the states of a view.

    Args:
        places: Numbers states and goals.
        num_actions: A.
        num_envs: E.
        seed: Of its choices.
        epsilon: Probability of an action that is drawn uniformly instead.
    """

    privileged = ""

    def __init__(self, places: Places, num_actions: int, num_envs: int, seed: int, epsilon: float) -> None:
        self.places, self.num_actions = places, num_actions
        self.rng, self.epsilon = np.random.default_rng(seed), epsilon
        self.env = np.arange(num_envs)

    def act(self, observation: Observation, *, explore: bool = True) -> np.ndarray:
        """The best action of each environment, or with `explore` sometimes any. `[E]`."""
        chosen = best(self.worth(self.places.states(observation), self.places.goals(observation)), self.rng)
        if not explore or not self.epsilon:
            return chosen
        anyhow = self.rng.integers(self.num_actions, size=len(chosen))
        return np.where(self.rng.random(len(chosen)) < self.epsilon, anyhow, chosen)

    def worth(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """What each action is worth. `[E]`, `[E]` -> `[E, A]`."""
        raise NotImplementedError

    def observe(self, transition: Transition) -> None:
        """Learn from one vector step."""
        raise NotImplementedError

    def learn(self) -> dict[str, float]:
        """All has been learned while observing; says how much is remembered."""
        return {"memory/size": float(self.entries)}

    @property
    def entries(self) -> int:
        """How many things are remembered."""
        raise NotImplementedError

    def _read(self, transition: Transition) -> tuple[Any, Any, Any]:
        """States, goals and next states. `[E]` each."""
        before, after = transition.observation, transition.next_observation
        return self.places.states(before), self.places.goals(before), self.places.states(after)


def best(worth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The action of most worth, ties broken at random. `[E, A]` -> `[E]`."""
    top = worth >= worth.max(axis=1, keepdims=True) - 1e-9
    return np.where(top, rng.random(worth.shape), -1.0).argmax(axis=1)
