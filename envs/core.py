"""The bookkeeping that every environment of the suite shares: E runs of episodes, advanced together.

A *run* is a sequence of episodes: `reset(seed=...)` starts one anew, every other reset begins its next episode, also
when the last episode was left unfinished. A core holds E of them as arrays. The single environment is a core of one,
the vector environment a core of E, so that the two cannot disagree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Discrete

from engram_rl.envs.checks import at_least

Observation = np.ndarray | dict[str, np.ndarray]
LayoutSeed = int | Sequence[int] | None


class Core(ABC):
    """E independent runs of one environment.

    Args:
        num_envs: E, the number of runs.
        step_limit: Steps after which an episode is truncated.
        layout_seed: What the layouts are drawn from: one int for all runs, or one for each; None takes the seed that
            the run is reset with.
        episodes: The length of a run, after which it starts over at episode 0; None if it never ends.

    Attributes:
        episode_index: The current episode of each run, from 0. `[E]`
        task_index: How often the target has shifted so far in the run. `[E]`
        shifted: Whether this episode is the first since a shift. `[E]` of bool
        oracle_steps: The fewest steps that solve the current episode, for someone who knows it all. `[E]`
        elapsed: Steps taken in the current episode. `[E]`
    """

    observation_space: Space[Any]
    action_space: Discrete

    def __init__(
        self, num_envs: int, *, step_limit: int, layout_seed: LayoutSeed = None, episodes: int | None = None
    ) -> None:
        self.num_envs = at_least(1, "num_envs", num_envs, "run")
        self.step_limit = at_least(1, "step_limit", step_limit, "step")
        self.episodes = episodes
        self.layout_seed = seeds_for("layout_seed", layout_seed, num_envs)
        self.run_seed = np.zeros(num_envs, dtype=np.uint64)
        self.episode_index = np.zeros(num_envs, dtype=np.int64)
        self.task_index = np.zeros(num_envs, dtype=np.int64)
        self.shifted = np.zeros(num_envs, dtype=np.bool_)
        self.oracle_steps = np.zeros(num_envs, dtype=np.int64)
        self.elapsed = np.zeros(num_envs, dtype=np.int64)

    def start_runs(self, rows: np.ndarray, seeds: np.ndarray) -> None:
        """Start these runs at episode 0.

        Args:
            rows: Which runs. `[R]`
            seeds: Their seeds, used unless a layout seed was given. `[R]`
        """
        self.run_seed[rows] = seeds if self.layout_seed is None else self.layout_seed[rows]
        self.episode_index[rows] = self.task_index[rows] = self.elapsed[rows] = 0
        self.shifted[rows] = False
        self._start_run(rows)
        self._start_episode(rows)

    def next_episodes(self, rows: np.ndarray) -> None:
        """Begin the next episode of these runs. `[R]`."""
        following = self.episode_index[rows] + 1
        self.episode_index[rows] = following if self.episodes is None else following % self.episodes
        self.elapsed[rows] = 0
        over = rows[self.episode_index[rows] == 0]
        if len(over):
            self._start_run(over)
        self._start_episode(rows)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take one step in every run.

        Args:
            actions: `[E]`

        Returns:
            Reward `[E]` of float64, whether the task ended `[E]` and whether the step limit truncated it `[E]`.

        Raises:
            ValueError: An action is outside the action space; nothing has moved.
        """
        actions = np.asarray(actions)
        self._refuse_bad(actions)
        self.elapsed += 1
        reward, terminated = self._act(actions)
        return reward, terminated, ~terminated & (self.elapsed >= self.step_limit)

    def info(self) -> dict[str, np.ndarray]:
        """What an agent is not shown: each `[E]`."""
        return {
            "task_index": self.task_index.copy(),
            "shifted": self.shifted.copy(),
            "oracle_steps": self.oracle_steps.copy(),
            "episode_index": self.episode_index.copy(),
        }

    def get_state(self) -> dict[str, np.ndarray]:
        """Every array with a row for each run, by name: all that a core knows of its runs. Copies."""
        return {name: array.copy() for name, array in self._per_run()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Put the runs where `get_state` was called.

        Raises:
            ValueError: It is of another environment, of other options or of another number of runs; nothing has
                changed then.
        """
        mine = dict(self._per_run())
        wanted = {name: (array.shape, array.dtype) for name, array in mine.items()}
        given = {name: (np.shape(array), getattr(array, "dtype", None)) for name, array in state.items()}
        if given != wanted:
            differing = sorted(n for n in given.keys() | wanted.keys() if given.get(n) != wanted.get(n))
            raise ValueError(f"The state is of another environment or of other options: {', '.join(differing)} differ.")
        for name, array in mine.items():
            array[...] = state[name]

    def _per_run(self) -> list[tuple[str, np.ndarray]]:
        """The arrays whose first axis is E, of this object alone."""
        arrays = [(name, value) for name, value in sorted(vars(self).items()) if isinstance(value, np.ndarray)]
        own = [(name, value) for name, value in arrays if value.flags.writeable]  # others are shared, and constant
        return [(name, value) for name, value in own if value.ndim and len(value) == self.num_envs]

    @abstractmethod
    def observation(self) -> Observation:
        """What the agents see now: `[E, ...]`, or one such array for each name of a Dict space. Freshly made."""

    @abstractmethod
    def render(self, row: int) -> np.ndarray:
        """An image of one run. `[H, W, 3]` of uint8."""

    @abstractmethod
    def _start_run(self, rows: np.ndarray) -> None:
        """Draw what holds for the whole run. `rows [R]`."""

    @abstractmethod
    def _start_episode(self, rows: np.ndarray) -> None:
        """Set up the episode `episode_index`, with its task, shifted and oracle_steps. `rows [R]`."""

    @abstractmethod
    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Apply valid actions `[E]`; returns reward `[E]` and terminated `[E]`."""

    def _enter_task(self, rows: np.ndarray, task_index: np.ndarray) -> None:
        """Say that these runs are now at this task; a change of task is a shift. `[R]`, `[R]`."""
        self.shifted[rows] = task_index != self.task_index[rows]
        self.task_index[rows] = task_index

    def _refuse_bad(self, actions: np.ndarray) -> None:
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"Expected {self.num_envs} integer actions, shape ({self.num_envs},); "
                f"got shape {actions.shape} of {actions.dtype}."
            )
        if actions.min() < 0 or actions.max() >= self.action_space.n:
            bad = actions[(actions < 0) | (actions >= self.action_space.n)][0]
            raise ValueError(f"Action {bad} is outside 0 to {self.action_space.n - 1}.")


def seeds_for(name: str, given: LayoutSeed, num_envs: int) -> np.ndarray | None:
    """One seed for each run, or None if none is given. `[E]` of uint64.

    Raises:
        ValueError: What is given under this name is no seed, or not as many as there are runs.
    """
    if given is None:
        return None
    seeds = np.asarray(given)
    if seeds.dtype.kind not in "iu" or seeds.ndim > 1 or seeds.min() < 0:
        raise ValueError(f"{name} must be an int from 0 or a list of them, got {given!r}.")
    if seeds.ndim == 1 and len(seeds) != num_envs:
        raise ValueError(f"{name} has {len(seeds)} seeds for {num_envs} environments: give one for all, or one each.")
    return np.broadcast_to(seeds, num_envs).astype(np.uint64)
