"""Policies that mark the limits of an environment: what nobody can beat, and what nobody should fail to beat.

A policy has the verbs of an agent and plays every run of a suite vector environment at once, so it can be evaluated
wherever an agent can:

    policy = make_policy("clairvoyant", env, seed=0)
    actions = policy.act(observation)            # [E, ...] -> [E]
    policy.observe(transition)                   # anything with the fields of `policy.Step`
    policy.learn()                               # trains nothing; {"memory/size": what it remembers}

What each is told is in its docstring; `told` says it in a word.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from engram_rl.envs.clairvoyant import MemorylessTurn, clairvoyant
from engram_rl.envs.planners import FreespacePlanner, FreshPlanner, GoalHeuristic, ToldPlanner, VigilantPlanner
from engram_rl.envs.policy import Policy
from engram_rl.envs.searchers import Recall, RecallSites, RecallSpiral
from engram_rl.envs.suite import SuiteVectorEnv


class RandomPolicy(Policy):
    """Every action with equal probability, whatever the observations look like."""

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """One action for each run. `[E]`."""
        return self.random.integers(self.num_actions, size=self.num_envs)


POLICIES: dict[str, Callable[[SuiteVectorEnv, int], Policy]] = {
    "random": RandomPolicy,
    "clairvoyant": clairvoyant,
    "planner": FreespacePlanner,
    "planner_fresh": FreshPlanner,
    "planner_told": ToldPlanner,
    "planner_vigilant": VigilantPlanner,
    "heuristic": GoalHeuristic,
    "memoryless": MemorylessTurn,
    "recall": Recall,
    "recall_told": partial(Recall, told_shifts=True),
    "recall_sites": RecallSites,
    "recall_sites_told": partial(RecallSites, told_shifts=True),
    "recall_spiral": RecallSpiral,
}


def make_policy(name: str, env: SuiteVectorEnv, seed: int) -> Policy:
    """The policy of that name, for this environment.

    Args:
        name: One of `POLICIES`.
        env: A vector environment of the suite.
        seed: Of the policy's own choices.

    Raises:
        ValueError: No policy has that name.
        TypeError: The policy cannot play this environment.
    """
    if name not in POLICIES:
        raise ValueError(f"No policy is called {name!r}; there are {', '.join(POLICIES)}.")
    return POLICIES[name](env, seed)
