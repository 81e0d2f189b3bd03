"""An environment whose parameter is a lesson: a curriculum chooses its value, episode by episode."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np

from engram_rl.envs.shifting.wrapper import Mover
from engram_rl.memory.checks import number
from engram_rl.training.curriculum import Curriculum

QUICK, SLOW = 0.3, 0.05
"""Shares of the newest return in the two running means whose distance is progress."""


class Lessons(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Before each episode a `Curriculum` chooses a value of one parameter, where returns change most.

    The progress of an episode is the distance between a quick and a slow running mean of the returns of its lesson:
    what is being learned has one, what is known or out of reach has none, and what is being forgotten has one again
    (after Matiisen et al. 2017, arXiv 1707.00183, who also take the size of a change of the score).

    `reset(seed=...)` begins anew: nothing is known of any lesson, as the first reset has it. `info` gains `lesson`, the
    number of the value. Of environments side by side each has a curriculum of its own, and so has an evaluation, which
    meets all lessons alike at first. An episode that is left before its first step tells nothing. It runs on seeds and
    actions alone, so a resumed run goes on as it would have.

        engram train agent=ppo core=gru env=memory_len env.vectorization=sync +curriculum@env=length

    Args:
        env: Any environment.
        mover: How a value reaches it, such as `engram_rl.envs.ConstructorArgument("length")`.
        values: Of the parameter, easy ones first or in any order; at least 2.
        rate: eta of the curriculum.
        explore: eps of the curriculum.

    Raises:
        ValueError: Fewer than 2 values, or a rate that `Curriculum` cannot have.
        TypeError: The mover is none, or the values are no list.
    """

    def __init__(
        self, env: gymnasium.Env, mover: Mover, values: Sequence[Any], rate: float = 0.2, explore: float = 0.1
    ) -> None:
        super().__init__(env)
        if not isinstance(mover, Mover):
            raise TypeError(f"mover is {mover!r}; it must be a Mover, such as ConstructorArgument('length')")
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"values is {values!r}; it must be a list of the parameter's values, one a lesson")
        self.mover, self.values = mover, list(values)
        self.rate, self.explore = number("rate", rate, above=0.0), number("explore", explore, above=0.0, most=1.0)
        self._begin(0)
        self._lesson: int | None = None
        self._return, self._stepped = 0.0, False

    def _begin(self, seed: int) -> None:
        self.curriculum = Curriculum(len(self.values), self.rate, self.explore, seed=seed)
        self._quick, self._slow = np.full((2, len(self.values)), np.nan)  # means of returns, by lesson

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode, of the lesson that is chosen; with a seed the first of a new run.

        Raises:
            ValueError: The value makes an environment of other observations or actions.
        """
        if seed is not None:
            self._begin(seed)
            self._lesson = None
        elif self._lesson is not None and self._stepped:
            self.curriculum.learned(self._lesson, self._progress(self._lesson, self._return))
        self._lesson, self._return, self._stepped = self.curriculum.draw(), 0.0, False
        self._move(self.values[self._lesson])
        return self._told(self.env.reset(seed=seed, options=options))

    def _move(self, value: Any) -> None:
        before = self.env.observation_space, self.env.action_space
        self.env, added = self.mover.move(self.env, value)
        if added:
            raise ValueError(f"{self.mover} changes a reset; Lessons takes movers that change the environment itself")
        if (self.env.observation_space, self.env.action_space) != before:
            raise ValueError(
                f"the lesson {value!r} of {self.mover} has other observations or actions than the one before; choose a "
                f"parameter that leaves both as they are"
            )

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises:
            ValueError: The reward is NaN or infinite, so that nothing can be said of the lesson.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not math.isfinite(reward):
            raise ValueError(
                f"the reward of lesson {self.values[self._lesson or 0]!r} is {reward}; it must be finite: mend the "
                f"environment, or its reward in a wrapper"
            )
        self._return, self._stepped = self._return + float(reward), True
        observation, info = self._told((observation, info))
        return observation, reward, terminated, truncated, info

    def _told(self, shown: tuple[Any, dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
        observation, info = shown
        return observation, {**info, "lesson": self._lesson}

    def _progress(self, lesson: int, gained: float) -> float:
        """How far the lesson's means of returns lie apart, the newest return among them."""
        for means, share in ((self._quick, QUICK), (self._slow, SLOW)):
            means[lesson] = gained if np.isnan(means[lesson]) else (1 - share) * means[lesson] + share * gained
        return float(abs(self._quick[lesson] - self._slow[lesson]))
