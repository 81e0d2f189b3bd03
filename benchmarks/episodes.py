"""Playing whole runs of a vector environment: what every episode cost, run by run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.fingerprint import step
from engram_rl.agents.agent import Observation, Transition
from engram_rl.envs.context_goal import ContextGoalCore
from engram_rl.envs.suite import SuiteVectorEnv


class Player(Protocol):
    """What it takes to play: an agent, or a policy of `engram_rl.envs.oracles`."""

    def act(self, observation: Observation, *, explore: bool = True) -> np.ndarray:
        """One action for each run. `[E]`."""

    def observe(self, transition: Transition) -> None:
        """Take in one vector step."""


@dataclass
class Episodes:
    """The first K episodes of E runs.

    Attributes:
        steps: Steps taken. `[E, K]`
        oracle_steps: The fewest steps possible. `[E, K]`
        terminated: Whether the task ended, rather than the time. `[E, K]` of bool
        shifted: Whether it was the first episode since a shift. `[E, K]` of bool
        returns: Rewards, summed. `[E, K]`
        step_limit: Steps after which an episode is truncated.
        context: The number of the context that each was in, where the environment has any. `[E, K]`
    """

    steps: np.ndarray
    oracle_steps: np.ndarray
    terminated: np.ndarray
    shifted: np.ndarray
    returns: np.ndarray
    step_limit: int
    context: np.ndarray | None = None

    @property
    def solved(self) -> np.ndarray:
        """Whether the task ended in fewer steps than the limit. `[E, K]` of bool."""
        return self.terminated & (self.steps < self.step_limit)

    @property
    def regret(self) -> np.ndarray:
        """Steps above the fewest possible. `[E, K]`."""
        return self.steps - self.oracle_steps


def play(environments: SuiteVectorEnv, player: Player, episodes: int, seed: int = 0) -> Episodes:
    """Play every run until it has had so many episodes; what faster runs play meanwhile is not counted.

    Args:
        environments: E runs of the suite, in SAME_STEP mode.
        player: Who plays them.
        episodes: K.
        seed: That the runs are reset with.
    """
    shape = (environments.num_envs, episodes)
    played = Episodes(
        steps=np.zeros(shape, dtype=np.int64),
        oracle_steps=np.zeros(shape, dtype=np.int64),
        terminated=np.zeros(shape, dtype=np.bool_),
        shifted=np.zeros(shape, dtype=np.bool_),
        returns=np.zeros(shape),
        step_limit=environments.step_limit,
    )
    core = environments.core
    if isinstance(core, ContextGoalCore):
        played.context = np.zeros(shape, dtype=np.int64)
    counted, elapsed, collected = (np.zeros(shape[0], dtype=kind) for kind in (np.int64, np.int64, np.float64))
    observation, _ = environments.reset(seed=seed)
    while counted.min() < episodes:
        if isinstance(core, ContextGoalCore) and played.context is not None:
            under_way = np.flatnonzero(counted < episodes)
            played.context[under_way, counted[under_way]] = core.context[under_way]
        transition = step(environments, observation, player.act(observation))
        player.observe(transition)
        observation = transition.reset_observation
        elapsed += 1
        collected += transition.reward
        rows = np.flatnonzero(transition.done & (counted < episodes))
        if len(rows):
            _note(played, rows, counted[rows], transition, elapsed[rows], collected[rows])
        counted[rows] += 1
        elapsed[transition.done] = collected[transition.done] = 0
    return played


def _note(
    played: Episodes,
    rows: np.ndarray,
    episode: np.ndarray,
    transition: Transition,
    steps: np.ndarray,
    returns: np.ndarray,
) -> None:
    """Write down the episodes that have just ended. `rows [R]`, `episode [R]`, `steps [R]`, `returns [R]`."""
    info = transition.info["final_info"]
    played.steps[rows, episode] = steps
    played.returns[rows, episode] = returns
    played.oracle_steps[rows, episode] = info["oracle_steps"][rows]
    played.shifted[rows, episode] = info["shifted"][rows]
    played.terminated[rows, episode] = transition.terminated[rows]
