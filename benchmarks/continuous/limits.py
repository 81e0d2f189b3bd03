"""What the returns of a run are measured against: random actions, and the best that is known."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from omegaconf import OmegaConf

from engram_rl.agents.random import RandomAgent
from engram_rl.envs.oracles.point_mass import PointMassOracle
from engram_rl.training.construction import build_environments
from engram_rl.training.rollout import finished, step

BEST_KNOWN = {"Pendulum-v1": -151.9, "MountainCarContinuous-v0": 94.7}
"""Mean return of the better of the trained SAC and TD3 in the table of RL Baselines3 Zoo (benchmark.md)."""


class Player(Protocol):
    """Whoever plays."""

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """One action for each environment. `[E, A]`."""


def limits(environment: dict[str, Any], seed: int, steps: int) -> dict[str, float]:
    """Mean returns of `random` actions and of the `oracle`, of the whole episodes of so many steps of the same run.

    Where no oracle plays, it is the best that is known.
    """
    one = OmegaConf.create(environment | {"num_envs": 1})
    environments = build_environments(one)
    found = {"random": played(environments, RandomAgent(environments.action_space, seed), seed, steps)}
    if environment["id"] in BEST_KNOWN:
        found["oracle"] = BEST_KNOWN[environment["id"]]
    else:
        found["oracle"] = played(environments, PointMassOracle(environments), seed, steps)
    environments.close()
    return found


def played(environments: Any, player: Player, seed: int, steps: int) -> float:
    """The mean return of the episodes that so many steps of a run hold, or else of the first."""
    observation, _ = environments.reset(seed=seed)
    returns: list[float] = []
    taken = 0
    while taken < steps or not returns:
        transition = step(environments, observation, player.act(observation))
        returns += finished(transition.info).returns.tolist()
        observation = transition.reset_observation
        taken += environments.num_envs
    return round(float(np.mean(returns)), 4)
