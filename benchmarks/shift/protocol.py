"""How a run is measured: which episodes count, what is learned from, and what each episode cost.

A *run* is one agent with one seed on a fixed sequence of episodes. Its budget says what the agent may learn from:

- `own`: only the episodes that count. It lives through them once, in order, learning as it goes; every exploratory step
  is paid for in the score. The budget is at most episodes x step limit (10,000 steps of ShiftWall, n = 10).
- N practice steps an episode: before each episode that counts, it acts for N steps on copies of just that episode (same
  target, same obstacles, restarted from the same state whenever it ends) and learns from them; then it plays the
  episode once, learning nothing. This is how PPO and TRPO of arXiv 2301.13758 were given 2048 steps an episode, 204,800
  in all. (The published code asks for 100, which PPO and TRPO round up to a rollout of 2048, and A2C does not.)
  Algorithms that collect whole rollouts round N up to them; `env_steps` counts what was taken.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, Protocol

import gymnasium as gym

from benchmarks.fingerprint import note
from engram_rl.envs import scoring

Budget = Literal["own"] | int


class EpisodeLog(scoring.EpisodeLog):
    """`engram_rl.envs.scoring.EpisodeLog`, whose steps go into the fingerprint of the run."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step that counts."""
        observation, reward, terminated, truncated, info = super().step(action)
        note(action, reward, terminated or truncated, observation)
        return observation, reward, terminated, truncated, info


class PinnedEpisode(gym.Env):
    """One episode as often as one likes: every reset restores a copy of the moment in which it began.

    Args:
        env: The environment, just reset; it is copied and not touched.
        observation: What that reset returned.
        info: Likewise.
    """

    def __init__(self, env: gym.Env, observation: Any, info: dict[str, Any]):
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.metadata, self.spec = env.metadata, env.spec
        self.steps = 0
        self._beginning = copy.deepcopy(env)
        self._start = (observation, info)
        self._env = self._beginning

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Go back to the beginning; seed and options would change the episode and are ignored."""
        self._env = copy.deepcopy(self._beginning)
        return copy.deepcopy(self._start)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step that does not count but is paid for in `env_steps`."""
        self.steps += 1
        observation, reward, terminated, truncated, info = self._env.step(action)
        note(action, reward, terminated or truncated, observation)
        return observation, reward, terminated, truncated, info


class Learner(Protocol):
    """What is measured, whoever drives whom: some loops call the environment, others are called by it.

    Attributes:
        privileged: What it knows beyond the observations.
        entries: How many entries its memory holds.
        unseen_gradient_steps: Updates so far that no torch optimiser took.
    """

    privileged: str
    entries: int

    @property
    def unseen_gradient_steps(self) -> int:
        """See above."""

    def live(self, log: EpisodeLog) -> None:
        """Play until `log.finished`, learning from these very steps."""

    def practise(self, episode: PinnedEpisode, steps: int) -> None:
        """Learn from `steps` steps of an episode that does not count."""

    def attempt(self, log: EpisodeLog, observation: Any) -> None:
        """Play the episode that was just begun to its end, as it acts when it learns, but learning nothing."""


def play(learner: Learner, log: EpisodeLog, budget: Budget) -> int:
    """Play all scored episodes within the budget; returns the environment steps taken, practice included."""
    if budget == "own":
        learner.live(log)
        return sum(log.record.steps)
    practised = 0
    while not log.finished:
        observation, info = log.reset()
        episode = PinnedEpisode(log.env, observation, info)
        learner.practise(episode, budget)
        practised += episode.steps
        learner.attempt(log, observation)
    return practised + sum(log.record.steps)
