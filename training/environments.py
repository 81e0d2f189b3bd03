"""Vectorised Gymnasium environments as every agent here meets them: SAME_STEP autoreset, no text, resumable."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from engram_rl.training.errors import FAILURES, UsageError, did_you_mean
from engram_rl.training.intake.environments import Intake
from engram_rl.training.intake.infos import LOST, STEPPED, AsyncEnvironments, SyncEnvironments
from engram_rl.training.intake.rewards import paid
from engram_rl.training.making import import_owner, single, single_there, unmade

SAME_STEP_VECTORS = {"CartPole-v1": "engram_rl.envs.cartpole:SameStepCartPole"}
"""Vectorised implementations that take the place of Gymnasium's own, whose mode is NEXT_STEP."""

MOST_ENVIRONMENTS = {"sync": 4096, "async": 512, "ray": 4096, "vector_entry_point": 2**20}
"""Side by side: objects of one process, processes, objects of processes, rows of arrays."""


def make_environments(
    id: str,
    num_envs: int,
    *,
    vectorization: str = "sync",
    kwargs: Mapping[str, Any] | Callable[[], dict[str, Any]] | None = None,
    wrappers: Sequence[Callable[[gym.Env], gym.Env]] = (),
    parts: Collection[str] | None = None,
    max_episode_steps: int | None = None,
    cluster: Mapping[str, Any] | None = None,
    beside: bool = False,
) -> Resumable:
    """Make `num_envs` copies of a registered environment, stepped together, with episode statistics in `info`.

    Args:
        id: A Gymnasium id; `package.module:Name-v0` imports the module first.
        num_envs: How many run side by side, at least 1.
        vectorization: `sync` (one process), `async` (a process each), `ray` (workers, on this machine or on many),
            or `vector_entry_point` (the environment's own vectorised implementation, which takes no wrappers).
        kwargs: Constructor arguments of the environment, or what makes them anew for each.
        wrappers: Applied to each single environment, in order; `engram_rl.training.intake` comes after them.
        parts: Of a Dict observation, the only ones that agents are to see; None for all.
        max_episode_steps: Steps after which an episode is truncated, in place of the registered number; None for that.
        cluster: For `ray`: values of `conf/cluster`.
        beside: For `ray`: whether these work while others rest, such as those of evaluations; they are in step and
            reserve nothing.

    Raises:
        UsageError: Unknown id, refused constructor arguments, observations that no agent can be shown, or an autoreset
            mode other than SAME_STEP.
    """
    _check_number(num_envs, vectorization)
    import_owner(id)
    arguments = kwargs if callable(kwargs) else partial(dict, kwargs or {})
    native = vectorization == "vector_entry_point"
    try:
        if native:
            _refuse_limit(max_episode_steps)
            vectorised = gym.make_vec(
                _same_step_spec(id), num_envs=num_envs, vectorization_mode=vectorization, **arguments()
            )
        else:
            one = partial(single, id, arguments, wrappers, parts, max_episode_steps)
            makers: list[Callable[[], gym.Env]] = [partial(one, index) for index in range(num_envs)]
            if vectorization == "ray":
                vectorised = _on_workers(id, makers, cluster, beside)
            else:
                vectorised = _side_by_side(vectorization, makers)
    except FAILURES as error:
        raise unmade(id, arguments, error) from error
    require_same_step(vectorised, id)
    if native:
        _require_parts_named(vectorised, parts)
    return Resumable(CountEpisodes(Intake(vectorised, id, checked=not native)))


def _on_workers(
    id: str, makers: list[Callable[[], gym.Env]], given: Mapping[str, Any] | None, beside: bool
) -> VectorEnv:
    """Environments on Ray workers; what is registered here is registered there."""
    from engram_rl.training.distributed.cluster import Cluster
    from engram_rl.training.distributed.environments import RayEnvironments

    spec = gym.registry.get(id)
    there = [partial(single_there, spec, make) for make in makers]
    cluster = Cluster.of(given)
    return RayEnvironments(there, cluster, asynchronous=cluster.asynchronous and not beside, reserve=not beside)


def _side_by_side(vectorization: str, makers: list[Callable[[], gym.Env]]) -> VectorEnv:
    """Environments that reset within a step; their arrays are copied where they are taken in.

    Where one cannot be made, those before it are closed.
    """
    kinds = {"sync": SyncEnvironments, "async": AsyncEnvironments}
    if vectorization not in kinds:
        raise UsageError(f"env.vectorization is {vectorization!r}. {did_you_mean(vectorization, MOST_ENVIRONMENTS)}")
    made: list[gym.Env] = []
    if vectorization == "sync":  # those of processes end with these
        makers = [partial(_noted, make, made) for make in makers]
    else:
        makers = [partial(_out_of_reach, make, os.getpid()) for make in makers]
    try:
        return kinds[vectorization](makers, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
    except FAILURES:
        for one in made:
            with suppress(*FAILURES):
                one.close()
        raise


def _noted(make: Callable[[], gym.Env], made: list[gym.Env]) -> gym.Env:
    made.append(make())
    return made[-1]


def _out_of_reach(make: Callable[[], gym.Env], asked_by: int) -> gym.Env:
    """Make one where Ctrl-C, and whatever else is sent to all processes of a command, does not come.

    A run that is asked to stop needs its environments until the step in hand is done; they end with their run.
    """
    if os.getpid() != asked_by:
        if hasattr(os, "setsid"):
            os.setsid()
        else:  # Windows
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return make()


def _refuse_limit(max_episode_steps: int | None) -> None:
    if max_episode_steps is not None:
        raise UsageError(
            f"env.max_episode_steps is {max_episode_steps}, which environments of env.vectorization=vector_entry_point "
            f"do not take: give it to them by name if they have such an argument (+env.kwargs....), or use "
            f"env.vectorization=sync."
        )


def _check_number(num_envs: int, vectorization: str) -> None:
    most = MOST_ENVIRONMENTS.get(vectorization, max(MOST_ENVIRONMENTS.values()))
    if not 1 <= num_envs <= most:
        raise UsageError(
            f"env.num_envs is {num_envs}; it must be at least 1 and, with env.vectorization={vectorization}, at most "
            f"{most}."
        )


def _same_step_spec(id: str) -> Any:
    """The id, or its specification with a vectorised implementation that resets in mode SAME_STEP."""
    if id not in SAME_STEP_VECTORS:
        return id
    spec = deepcopy(gym.spec(id))
    spec.vector_entry_point = SAME_STEP_VECTORS[id]
    return spec


def require_same_step(environments: VectorEnv, id: str) -> None:
    """Raise unless environments reset within the step that ends an episode."""
    mode = environments.metadata.get("autoreset_mode")
    if getattr(mode, "value", mode) != AutoresetMode.SAME_STEP.value:
        environments.close()
        raise UsageError(
            f"{id} resets in mode {mode}, whose step after an episode's end is not a real transition. "
            f"Use env.vectorization=sync, or give its vector class autoreset_mode=SAME_STEP."
        )
    environments.unwrapped.metadata = {**environments.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}


def _require_parts_named(environments: VectorEnv, parts: Collection[str] | None) -> None:
    """Raise if parts of the observation would have to be hidden, where no wrapper can."""
    space = environments.single_observation_space
    left_out = set(space) - set(parts) if parts is not None and isinstance(space, spaces.Dict) else set()
    if left_out:
        environments.close()
        raise UsageError(
            f"env.modalities leaves out {', '.join(sorted(left_out))}, which cannot be hidden where "
            f"env.vectorization=vector_entry_point. Name every part, or use env.vectorization=sync."
        )


class CountEpisodes(RecordEpisodeStatistics):
    """Gymnasium's return `r` and length `l` of the episodes that end, in `info["episode"]`, rows marked by `_episode`.

    Returns are what the environments themselves paid: a wrapper that changes rewards changes what is learned from, not
    the score.

    Only what autoreset mode SAME_STEP needs, and no times: Gymnasium's own costs a fifth of a step of eight CartPoles.
    """

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step and count."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        self.episode_returns += paid(reward, info)
        self.episode_lengths += info.get(STEPPED, 1)
        done = terminated | truncated
        if done.any():
            counts = {"r": np.where(done, self.episode_returns, 0.0), "l": np.where(done, self.episode_lengths, 0)}
            whole = done & ~info[LOST] if LOST in info else done
            info = {**info, "episode": counts, "_episode": whole}
            self.episode_returns[done] = 0
            self.episode_lengths[done] = 0
        return observation, reward, terminated, truncated, info


class Resumable(VectorWrapper):
    """Environments that a resumed run can bring to where they were, without running code from a file.

    Those that have a state to save (`metadata["restorable"]`, with `get_state` and `set_state` as in
    `engram_rl.envs.suite.SuiteVectorEnv`) are put there at once. Gymnasium asks for none, so of all others the seed and
    every action are remembered and replayed: exact, schedules and random generators included, as they are deterministic
    given these, but it takes as long as the steps took. Those on workers remember these themselves, and replay side by
    side.

    Attributes:
        info: What the last reset or step said.
    """

    def __init__(self, env: CountEpisodes):
        super().__init__(env)
        self._counts = env
        self._restorable = bool(env.metadata.get("restorable"))
        self._there: Any = env.unwrapped if hasattr(env.unwrapped, "replay") else None
        self._seed: int | list[int] | None = None
        self.info: dict[str, Any] = {}
        self._actions = _empty_log(env)
        self._steps = 0

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; the log starts anew."""
        self._seed, self._steps = seed, 0
        observation, self.info = super().reset(seed=seed, options=options)
        return observation, self.info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and log the actions where they are needed; those of a step that failed are not."""
        result = super().step(actions)
        if not self._restorable and not self._there:
            self._log(actions)
        self.info = result[4]
        return result

    def state_dict(self) -> dict[str, Any]:
        """Their state and the open episodes' counts; or the seed of the last reset and the actions since."""
        counts = {name: getattr(self._counts, name).copy() for name in _OPEN_EPISODES}
        if self._there:
            return {"history": self._there.history(), "counts": counts}
        if not self._restorable:
            return {"seed": self._seed, "actions": self._actions[: self._steps].copy()}  # [T, E, ...]
        return {"state": self.unwrapped.get_state(), "counts": counts}  # type: ignore[attr-defined]

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Go to where `state_dict` was taken and return the observation there.

        Raises:
            UsageError: It was taken of other environments, of another number of them or of another action space.
        """
        if "actors" in state:
            raise UsageError(
                f"The run was made with cluster.actors={len(state['actors'])}: resume it with as many, not without."
            )
        if "history" in state:
            return self._replay_there(state)
        if "state" not in state:
            return self._replay(state["seed"], state["actions"])
        if not self._restorable:
            raise UsageError("The checkpoint is of environments that have a state, these have none: keep their env.id.")
        self.reset(seed=0)
        try:
            observation = self.unwrapped.set_state(state["state"])  # type: ignore[attr-defined]
        except ValueError as error:
            raise UsageError(f"{error} Resume with the same env.id, env.num_envs and env.kwargs.") from error
        self._set_counts(state["counts"])
        return self._counts.env.take(observation)  # type: ignore[attr-defined]

    @property
    def waiting(self) -> np.ndarray | None:
        """Which environments wait for an action, where others are stepping; None where all always wait. `[B]`."""
        return self._there.waiting if self._there else None

    def _replay_there(self, state: dict[str, Any]) -> Any:
        history = state["history"]
        if not self._there:
            if np.ptp(history["counts"]) or np.any(history["stepping"]):
                raise UsageError(
                    "The checkpoint's environments did not take the same number of steps each, as where a worker died "
                    "or workers were not in step: resume with env.vectorization=ray."
                )
            return self._replay(history["seeds"], history["actions"])
        self.reset(seed=0)
        observation, self.info = self._there.replay(history)
        self._set_counts(state["counts"])
        return self._counts.env.take(observation)  # type: ignore[attr-defined]

    def _set_counts(self, counts: dict[str, np.ndarray]) -> None:
        for name in _OPEN_EPISODES:
            getattr(self._counts, name)[...] = counts[name]

    def _log(self, actions: Any) -> None:
        if self._steps == len(self._actions):
            self._actions = np.concatenate([self._actions, np.empty_like(self._actions)])
        self._actions[self._steps] = actions
        self._steps += 1

    def _replay(self, seed: int | list[int] | None, actions: np.ndarray) -> Any:
        if actions.shape[1:] != self._actions.shape[1:]:
            raise UsageError(
                f"The checkpoint's environments took actions of shape {actions.shape[1:]}, these take "
                f"{self._actions.shape[1:]}: resume with the same env.id and env.num_envs."
            )
        observation, _ = self.reset(seed=seed)
        for action in actions:
            observation = self.step(action)[0]
        return observation


_OPEN_EPISODES = ("episode_returns", "episode_lengths")
"""What `CountEpisodes` holds of episodes that have not ended."""


def _empty_log(environments: VectorEnv) -> np.ndarray:
    """Room for actions; for those that are no arrays, which every agent here refuses by name, there is none."""
    space = environments.action_space
    if space.shape is None:
        return np.empty((1024, 0), dtype=object)
    return np.empty((1024, *space.shape), dtype=space.dtype)
