"""Policies that mark the limits of an environment: what nobody can beat, and what nobody should fail to beat.

A policy has the verbs of an agent and plays every run of a suite vector environment at once, so it can be evaluated
wherever an agent can:

    policy = make_policy("oracle", env, seed=0)
    actions = policy.act(observation)            # [E, ...] -> [E]
    policy.observe(transition)                   # anything with the fields of `policy.Step`
    policy.learn()                               # trains nothing; {"memory/size": what it remembers}

What each knows that an agent does not is in its docstring; `privileged` says it in a word.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from engram_rl.envs.oracles.oracle import MemorylessTurn, oracle
from engram_rl.envs.oracles.planners import (
    FreespacePlanner,
    FreshPlanner,
    GoalHeuristic,
    InformedPlanner,
    VigilantPlanner,
)
from engram_rl.envs.oracles.policy import Policy
from engram_rl.envs.oracles.searchers import ContextSites, KnownSites, LastSite, LastSiteSpiral
from engram_rl.envs.suite import SuiteVectorEnv


class RandomPolicy(Policy):
    """Every action with equal probability, whatever the observations look like."""

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """One action for each run. `[E]`."""
        return self.random.integers(self.num_actions, size=self.num_envs)


POLICIES: dict[str, Callable[[SuiteVectorEnv, int], Policy]] = {
    "random": RandomPolicy,
    "oracle": oracle,
    "planner": FreespacePlanner,
    "planner_fresh": FreshPlanner,
    "planner_informed": InformedPlanner,
    "planner_vigilant": VigilantPlanner,
    "heuristic": GoalHeuristic,
    "memoryless": MemorylessTurn,
    "last_site": LastSite,
    "last_site_informed": partial(LastSite, knows_shifts=True),
    "known_sites": KnownSites,
    "known_sites_informed": partial(KnownSites, knows_shifts=True),
    "context_sites": ContextSites,
    "last_site_spiral": LastSiteSpiral,
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
