"""Gymnasium's two faces of a core: the single environment and the vector environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from engram_rl.envs.checks import at_least
from engram_rl.envs.core import Core, Observation

_ONLY = np.array([0])
_SEEDS = 2**64  # that tell runs apart; of larger ones, as entropy has them, the lowest bits count


class SuiteEnv(gymnasium.Env[Any, Any]):
    """One run of a suite environment.

    `reset(seed=s)` starts a run anew at episode 0, and so does the first reset; any other reset begins the run's next
    episode. The run is drawn from `layout_seed` if one was given, else from `s`.
    `info` holds `task_index`, `shifted`, `oracle_steps` and `episode_index` (see `engram_rl.envs.core.Core`).

    Args:
        render_mode: "rgb_array", or None.
        **options: The keyword arguments of this environment, as its docstring lists them.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 (gymnasium's own type)
    core_class: ClassVar[Callable[..., Core]]

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        self.render_mode = _known_mode(render_mode)
        self.core = self.core_class(1, **options)
        self.observation_space = self.core.observation_space
        self.action_space = self.core.action_space
        self._running = False
        self._run_started = False

    @property
    def step_limit(self) -> int:
        """Steps after which an episode is truncated."""
        return self.core.step_limit

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of the run, or with a seed the first of a new run."""
        super().reset(seed=seed)
        if seed is not None or not self._run_started:
            fresh = seed if seed is not None else int(self.np_random.integers(2**31))
            self.core.start_runs(_ONLY, np.array([fresh % _SEEDS], dtype=np.uint64))
        else:
            self.core.next_episodes(_ONLY)
        self._run_started = self._running = True
        return _first(self.core.observation()), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step; raises ResetNeeded if the episode is over."""
        if not self._running:
            raise ResetNeeded("The episode is over or none has begun: call reset() before step().")
        reward, terminated, truncated = self.core.step(np.asarray([action]))
        self._running = not (terminated[0] or truncated[0])
        observation = _first(self.core.observation())
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), self._info()

    def render(self) -> Any:
        """The current state. `[H, W, 3]` of uint8, or None without a render mode."""
        return self.core.render(0) if self.render_mode == "rgb_array" else None

    def _info(self) -> dict[str, Any]:
        return {name: values[0].item() for name, values in self.core.info().items()}


class SuiteVectorEnv(VectorEnv[Any, Any, Any]):
    """E runs of a suite environment, stepped at once; step for step what E single environments would do.

    Autoreset is SAME_STEP: where an episode ends, the observation is already that of the run's next episode, and
    `info["final_obs"]`, `info["final_info"]` hold what ended (rows marked by `_final_obs`).

    Every sub-environment is a run of its own. `reset(seed=s)` gives run j the seed `s + j`, a list gives one each. With
    `layout_seed=k` all runs share the layouts drawn from k; with a list of E ints each has its own.

    `metadata["restorable"]` says that `get_state` and `set_state` bring the runs back without replaying them.

    Args:
        num_envs: E.
        render_mode: "rgb_array", or None.
        max_episode_steps: Steps after which an episode is truncated, where that is sooner than by `step_limit`;
            `gymnasium.make_vec` gives it, as `gymnasium.make` does to its wrapper.
        **options: As for the single environment.
    """

    core_class: ClassVar[Callable[..., Core]]

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **options: Any,
    ) -> None:
        self.metadata = {**SuiteEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP, "restorable": True}
        self.render_mode = _known_mode(render_mode)
        self.num_envs = num_envs
        self.core = self.core_class(num_envs, **options)
        self._most_steps = self.core.step_limit
        if max_episode_steps is not None:
            self._most_steps = min(self._most_steps, at_least(1, "max_episode_steps", max_episode_steps, "step"))
        self.single_observation_space = self.core.observation_space
        self.single_action_space = self.core.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._all = np.arange(num_envs)
        self._run_started = False

    @property
    def step_limit(self) -> int:
        """Steps after which an episode is truncated."""
        return self._most_steps

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of every run, or with seeds the first of new runs.

        Args:
            seed: One for all, counted up from run to run, or a list with one for each.
            options: `{"reset_mask": mask}` begins episodes only where the mask is True; there is no other option.

        Raises:
            ValueError: Not one seed or one truth value for each run, or a mask on the very first reset.
        """
        chosen = self._chosen(options)
        self._refuse_bad(seed)
        first = seed[0] if isinstance(seed, list) and None not in seed else seed
        super().reset(seed=first if isinstance(first, int) else None)
        rows = np.flatnonzero(chosen)
        if seed is not None or not self._run_started:
            self.core.start_runs(rows, self._seeds(seed)[rows])
        else:
            self.core.next_episodes(rows)
        self._run_started = True
        return self.core.observation(), _with_masks(self.core.info(), chosen)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one step in every run; runs whose episode ends go on to their next one."""
        if not self._run_started:
            raise ResetNeeded("No run has begun: call reset() before step().")
        reward, terminated, truncated = self.core.step(actions)
        truncated |= ~terminated & (self.core.elapsed >= self._most_steps)
        done = terminated | truncated
        final = self._end_episodes(done) if done.any() else {}
        info = _with_masks(self.core.info(), np.ones(self.num_envs, dtype=np.bool_))
        return self.core.observation(), reward, terminated, truncated, info | final

    def render(self) -> tuple[Any, ...] | None:
        """One image for each run, or None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self.core.render(row) for row in range(self.num_envs))

    def get_state(self) -> dict[str, Any]:
        """Where all runs stand: arrays and plain values, which may be stored."""
        generator = self.np_random.bit_generator.state
        return {"runs": self.core.get_state(), "started": self._run_started, "generator": generator}

    def set_state(self, state: dict[str, Any]) -> Any:
        """Put all runs where `get_state` was called; returns what they show there.

        Raises:
            ValueError: The state is of other environments. Nothing has changed then.
        """
        self.core.set_state(state["runs"])
        self.np_random.bit_generator.state = state["generator"]
        self._run_started = bool(state["started"])
        return self.core.observation()

    def _end_episodes(self, done: np.ndarray) -> dict[str, Any]:
        """Keep what the finished runs showed last, then begin their next episodes. `done [E]`."""
        final = {
            "final_obs": _final_observations(self.core.observation(), done),
            "_final_obs": done,
            "final_info": _with_masks(self.core.info(), done),
            "_final_info": done.copy(),
        }
        self.core.next_episodes(np.flatnonzero(done))
        return final

    def _chosen(self, options: dict[str, Any] | None) -> np.ndarray:
        """Which runs to reset. `[E]` of bool."""
        every = np.ones(self.num_envs, dtype=np.bool_)
        mask = np.asarray((options or {}).get("reset_mask", every))
        if mask.shape != every.shape or mask.dtype != np.bool_:
            raise ValueError(f"reset_mask must be {self.num_envs} truth values, got {mask!r}.")
        if not self._run_started and not mask.all():
            raise ValueError("The first reset begins all runs: leave out reset_mask.")
        return mask

    def _refuse_bad(self, seed: int | list[int | None] | None) -> None:
        seeds = [seed] * self.num_envs if seed is None or isinstance(seed, int) else seed
        if not hasattr(seeds, "__len__"):
            raise ValueError(f"Seeds must be ints from 0, got {seed!r}.")
        if len(seeds) != self.num_envs:
            raise ValueError(f"Got {len(seeds)} seeds for {self.num_envs} environments: give an int or one seed each.")
        if any(one is not None and one < 0 for one in seeds):
            raise ValueError(f"Seeds must be ints from 0, got {seed!r}.")

    def _seeds(self, seed: int | list[int | None] | None) -> np.ndarray:
        """One seed for each run. `[E]` of uint64."""
        drawn = self.np_random.integers(2**31, size=self.num_envs).astype(np.uint64)
        if seed is None:
            return drawn
        if isinstance(seed, int):
            seed = [seed + run for run in range(self.num_envs)]
        return np.array([drawn[j] if one is None else one % _SEEDS for j, one in enumerate(seed)], dtype=np.uint64)


def _known_mode(render_mode: str | None) -> str | None:
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f'render_mode must be None or "rgb_array", got {render_mode!r}.')
    return render_mode


def _first(observation: Observation) -> Any:
    if isinstance(observation, dict):
        return {name: values[0] for name, values in observation.items()}
    return observation[0]


def _with_masks(info: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    """Gymnasium's form of vector info: beside each `name` a mask `_name` of the rows that have it."""
    return info | {f"_{name}": mask.copy() for name in info}


def _final_observations(observation: Observation, done: np.ndarray) -> np.ndarray:
    """The observations that ended episodes, indexed by environment: `[E, ...]`, or dicts for a Dict space."""
    if not isinstance(observation, dict):
        return observation
    final = np.full(len(done), None, dtype=object)
    for row in np.flatnonzero(done):
        final[row] = {name: values[row] for name, values in observation.items()}
    return final
