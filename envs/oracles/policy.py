"""What a policy that marks a limit offers, and what it is shown: the verbs of an agent, over one vector step."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from engram_rl.envs.suite import SuiteVectorEnv


class Step(Protocol):
    """What a policy reads of a vector step, in SAME_STEP mode; `engram_rl.agents.agent.Transition` has it all."""

    @property
    def observation(self) -> Any:
        """What was acted on. `[E, D]`."""

    @property
    def action(self) -> np.ndarray:
        """What was done. `[E]`."""

    @property
    def terminated(self) -> np.ndarray:
        """Whether the task ended. `[E]`."""

    @property
    def truncated(self) -> np.ndarray:
        """Whether the time ended. `[E]`."""

    @property
    def next_observation(self) -> Any:
        """The true successor, also where an episode ended. `[E, D]`."""


class Policy:
    """Acts in E runs at once.

    Args:
        env: The vector environment that it will play.
        seed: Of its choices, among which are those between equally good actions.
    """

    privileged = "nothing"

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        self.num_envs = env.num_envs
        self.num_actions = int(env.core.action_space.n)
        self.random = np.random.default_rng(seed)

    @property
    def entries(self) -> int:
        """How many things it remembers, over all runs."""
        return 0

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """One action for each run. `[E]`."""
        raise NotImplementedError

    def observe(self, transition: Step) -> None:
        """Take in one vector step."""

    def learn(self) -> dict[str, float]:
        """Nothing to train; says how much it remembers."""
        return {"memory/size": self.entries}

    def best(self, cost: np.ndarray) -> np.ndarray:
        """The cheapest action of each run, ties broken at random. `cost [E, A]` -> `[E]`."""
        ties = self.random.random(cost.shape)
        return np.argmin(np.where(cost == cost.min(axis=1, keepdims=True), ties, 1.0), axis=1)
