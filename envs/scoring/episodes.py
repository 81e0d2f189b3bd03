"""A run as it is played: which episodes count, and what each of them cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium


@dataclass
class EpisodeRecord:
    """What the episodes that count cost, one item each.

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

    def begin(self, info: dict[str, Any], target: Any = None) -> None:
        """An episode begins, of which its reset said this."""
        self.steps.append(0)
        self.returns.append(0.0)
        self.optimum.append(int(info["oracle_steps"]) if "oracle_steps" in info else None)
        self.task_index.append(int(info.get("task_index", 0)))
        self.target.append(info.get("target", target))


class EpisodeLog(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Plays a fixed number of episodes that count and records what each cost.

    After the last one it stands still: `finished` is True, and a driver that resets by itself gets the last observation
    again instead of an episode that nobody counts.

    Args:
        env: A single environment whose resets begin the next episode of a run.
        episodes: How many count.
        seed: What the run is reset with: the same for every agent that is compared.
        success_above: An episode with a return above this is solved, however it ends; None looks at its end.
    """

    def __init__(self, env: gymnasium.Env, episodes: int, seed: int, success_above: float | None = None) -> None:
        super().__init__(env)
        self.episodes = episodes
        self.record = EpisodeRecord()
        self.step_limit = step_limit(env)
        self._success_above = success_above
        self._run_seed: int | None = seed
        self._last: tuple[Any, dict[str, Any]] = (None, {})

    @property
    def finished(self) -> bool:
        """Whether all episodes that count have been played."""
        return len(self.record.solved) == self.episodes

    @property
    def most_steps(self) -> int | None:
        """More steps than this the run cannot take; None where an episode may last for ever."""
        return None if self.step_limit is None else self.episodes * self.step_limit

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode that counts; the driver's own seed is ignored.

        Raises:
            RuntimeError: The last one has not ended.
        """
        if self.finished:
            return self._last
        if len(self.record.steps) > len(self.record.solved):
            raise RuntimeError("An episode that counts was left before its end.")
        observation, info = self.env.reset(seed=self._run_seed, options=options)
        self._run_seed = None
        self.record.begin(info, hidden_goal(self.env))
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step that counts.

        Raises:
            RuntimeError: No episode is left to be played.
        """
        if self.finished:
            raise RuntimeError(f"All {self.episodes} episodes that count have been played.")
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.record.steps[-1] += 1
        self.record.returns[-1] += float(reward)
        self._last = (observation, info)
        if terminated or truncated:
            self.record.solved.append(self._is_solved(terminated, float(reward)))
        return observation, reward, terminated, truncated, info

    def _is_solved(self, terminated: bool, reward: float) -> bool:
        if self._success_above is not None:
            return self.record.returns[-1] > self._success_above
        in_time = self.step_limit is None or self.record.steps[-1] < self.step_limit
        return bool(terminated and in_time and reward > 0)


def step_limit(env: gymnasium.Env) -> int | None:
    """Steps after which an episode is truncated, where the environment says."""
    for name in ("step_limit", "max_steps"):  # the suite's, MiniGrid's
        if env.has_wrapper_attr(name):
            return int(env.get_wrapper_attr(name))
    return env.spec.max_episode_steps if env.spec else None


def hidden_goal(env: gymnasium.Env) -> int | None:
    """Where the goal of the current episode is, in a suite environment that does not show it; None elsewhere."""
    core = core_of(env)
    hidden = not getattr(core, "show_goal", True)
    return int(core.goal[0]) if hidden and hasattr(core, "goal") else None


def core_of(env: gymnasium.Env) -> Any:
    """The core of an environment of the suite; None of any other."""
    return env.get_wrapper_attr("core") if env.has_wrapper_attr("core") else None
