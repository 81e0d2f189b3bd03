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
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import gymnasium as gym

from benchmarks.fingerprint import note
from benchmarks.shift.environment import hidden_goal, step_limit

Budget = Literal["own"] | int


@dataclass
class EpisodeRecord:
    """What the scored episodes cost, one item each.

    Attributes:
        steps: Steps taken.
        returns: Sums of rewards.
        solved: Whether the task was done: ended with a reward before the step limit, or with enough return.
        optimum: The fewest steps that would have done; None where the environment does not say.
        task_index: How often the target had shifted.
        target: Which target it was, where the environment says; else None.
    """

    steps: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    solved: list[bool] = field(default_factory=list)
    optimum: list[int | None] = field(default_factory=list)
    task_index: list[int] = field(default_factory=list)
    target: list[Any] = field(default_factory=list)


class EpisodeLog(gym.Wrapper):
    """Plays a fixed number of scored episodes and records what each cost.

    After the last one it stands still: `finished` is True, and a driver that resets by itself gets the last observation
    again instead of an episode that nobody counts.

    Args:
        env: A single environment whose resets begin the next episode of a run.
        episodes: How many count.
        seed: What the run is reset with: the same for every agent that is compared.
        success_above: An episode with a return above this is solved, however it ends; None looks at its end.
    """

    def __init__(self, env: gym.Env, episodes: int, seed: int, success_above: float | None = None):
        super().__init__(env)
        self.episodes = episodes
        self.record = EpisodeRecord()
        self.step_limit = step_limit(env)
        self._success_above = success_above
        self._run_seed: int | None = seed
        self._last: tuple[Any, dict[str, Any]] = (None, {})

    @property
    def finished(self) -> bool:
        """Whether all scored episodes have been played."""
        return len(self.record.solved) == self.episodes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next scored episode; the driver's own seed is ignored."""
        if self.finished:
            return self._last
        if len(self.record.steps) > len(self.record.solved):
            raise RuntimeError("An episode that counts was left before its end.")
        observation, info = self.env.reset(seed=self._run_seed, options=options)
        self._run_seed = None
        self._open(info)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step that counts."""
        if self.finished:
            raise RuntimeError(f"All {self.episodes} episodes that count have been played.")
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.record.steps[-1] += 1
        self.record.returns[-1] += float(reward)
        self._last = (observation, info)
        note(action, reward, terminated or truncated, observation)
        if terminated or truncated:
            self.record.solved.append(self._is_solved(terminated, float(reward)))
        return observation, reward, terminated, truncated, info

    def _is_solved(self, terminated: bool, reward: float) -> bool:
        if self._success_above is not None:
            return self.record.returns[-1] > self._success_above
        in_time = self.step_limit is None or self.record.steps[-1] < self.step_limit
        return bool(terminated and in_time and reward > 0)

    def _open(self, info: dict[str, Any]) -> None:
        record = self.record
        record.steps.append(0)
        record.returns.append(0.0)
        record.optimum.append(int(info["oracle_steps"]) if "oracle_steps" in info else None)
        record.task_index.append(int(info.get("task_index", 0)))
        record.target.append(info.get("target", hidden_goal(self.env)))


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
