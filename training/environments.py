"""Vectorised Gymnasium environments as every agent here meets them: SAME_STEP autoreset, no text, resumable."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.wrappers import FilterObservation, NormalizeObservation, NormalizeReward
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import engram_rl.envs  # noqa: F401  (registers engram/*)
from engram_rl.training.errors import UsageError, causes, did_you_mean, in_your, raised_by_user
from engram_rl.training.intake.environments import Intake, TakenIn
from engram_rl.training.intake.infos import AsyncEnvironments, SyncEnvironments
from engram_rl.training.intake.rewards import Paid, paid

REGISTERED_BY = {
    "MiniGrid-": "minigrid",
    "BabyAI-": "minigrid",
    "ALE/": "ale_py",
    "MinAtar/": "minatar.gym",
    "popgym-": "popgym",
}
"""Modules that register their environments only when they are imported, or when their `register_envs` is called."""

EXTRAS = {"ale_py": "atari", "popgym": "popgym", "minatar": "worlds"}
"""What of ours brings such a package."""

SAME_STEP_VECTORS = {"CartPole-v1": "engram_rl.envs.cartpole:SameStepCartPole"}
"""Vectorised implementations that take the place of Gymnasium's own, whose mode is NEXT_STEP."""

MOST_ENVIRONMENTS = {"sync": 4096, "async": 512, "vector_entry_point": 2**20}
"""Side by side: objects of one process, processes, rows of arrays."""


def make_environments(
    id: str,
    num_envs: int,
    *,
    vectorization: str = "sync",
    kwargs: Mapping[str, Any] | Callable[[], dict[str, Any]] | None = None,
    wrappers: Sequence[Callable[[gym.Env], gym.Env]] = (),
    parts: Collection[str] | None = None,
    max_episode_steps: int | None = None,
) -> Resumable:
    """Make `num_envs` copies of a registered environment, stepped together, with episode statistics in `info`.

    Args:
        id: A Gymnasium id; `package.module:Name-v0` imports the module first.
        num_envs: How many run side by side, at least 1.
        vectorization: `sync` (one process), `async` (a process each), or `vector_entry_point` (the environment's
            own vectorised implementation, which takes no wrappers).
        kwargs: Constructor arguments of the environment, or what makes them anew for each.
        wrappers: Applied to each single environment, in order; `engram_rl.training.intake` comes after them.
        parts: Of a Dict observation, the only ones that agents are to see; None for all.
        max_episode_steps: Steps after which an episode is truncated, in place of the registered number; None for that.

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
            one = partial(_single, id, arguments, wrappers, parts, max_episode_steps)
            vectorised = _side_by_side(vectorization, [partial(one, index) for index in range(num_envs)])
    except UsageError:
        raise
    except (gym.error.NameNotFound, gym.error.NamespaceNotFound, gym.error.VersionNotFound, gym.error.Error) as error:
        raise UsageError(_unknown_environment(id, error)) from error
    except Exception as error:
        if _is_owner_missing(id, error):
            raise UsageError(_missing_owner(id)) from error
        if raised_by_user(error) or not isinstance(error, TypeError | ValueError | ModuleNotFoundError):
            raise in_your(f"environment {id}", "making it", error) from error
        raise UsageError(f"Environment {id} could not be made with kwargs {arguments()}: {error}") from error
    require_same_step(vectorised, id)
    if native:
        _require_parts_named(vectorised, parts)
    return Resumable(CountEpisodes(Intake(vectorised, id, checked=not native)))


def _side_by_side(vectorization: str, makers: list[Callable[[], gym.Env]]) -> VectorEnv:
    """Environments that reset within a step; their arrays are copied where they are taken in.

    Where one cannot be made, those before it are closed.
    """
    kinds = {"sync": SyncEnvironments, "async": AsyncEnvironments}
    if vectorization not in kinds:
        valid = (*kinds, "vector_entry_point")
        raise UsageError(f"env.vectorization is {vectorization!r}. {did_you_mean(vectorization, valid)}")
    made: list[gym.Env] = []
    if vectorization == "sync":  # those of processes end with these
        makers = [partial(_noted, make, made) for make in makers]
    try:
        return kinds[vectorization](makers, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
    except Exception:
        for one in made:
            with suppress(Exception):
                one.close()
        raise


def _noted(make: Callable[[], gym.Env], made: list[gym.Env]) -> gym.Env:
    made.append(make())
    return made[-1]


def _single(
    id: str,
    arguments: Callable[[], dict[str, Any]],
    wrappers: Sequence[Callable[[gym.Env], gym.Env]],
    parts: Collection[str] | None,
    max_episode_steps: int | None,
    index: int,
) -> gym.Env:
    """One environment, as agents meet it."""
    environment = quicken_view(
        gym.make(id, max_episode_steps=max_episode_steps, disable_env_checker=True, **arguments())
    )
    if wrappers:
        environment = Paid(environment)
    for wrap in wrappers:
        environment = wrap(environment)
        _refuse_own_statistics(environment)
    return keep_parts(TakenIn(environment, id, index, wrapped=bool(wrappers)), parts)


def _refuse_own_statistics(environment: gym.Env) -> None:
    """Raise for wrappers that learn from what they see: each world would have its own, and no checkpoint holds them."""
    if isinstance(environment, NormalizeObservation | NormalizeReward):
        observed = isinstance(environment, NormalizeObservation)
        instead = "+agent.normalise_observations=true" if observed else "+agent.scale_rewards=true"
        raise UsageError(
            f"env.wrappers names {type(environment).__name__}, which keeps running statistics: they would differ "
            f"between training and evaluation and be lost with the run. PPO does the same itself with "
            f"{instead}, and saves it."
        )


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


def quicken_view(environment: gym.Env) -> gym.Env:
    """MiniGrid's own view, computed faster; other environments as they are."""
    if "minigrid" not in sys.modules:
        return environment
    from engram_rl.envs.minigrid_view import quicken

    return quicken(environment)


def keep_parts(environment: gym.Env, parts: Collection[str] | None) -> gym.Env:
    """Hide the parts of a Dict observation that are not named; names that it lacks are for others to refuse."""
    space = environment.observation_space
    if parts is None or not isinstance(space, spaces.Dict) or not set(parts) < set(space):
        return environment
    return FilterObservation(environment, filter_keys=list(parts))


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
        self.episode_lengths += 1
        done = terminated | truncated
        if done.any():
            counts = {"r": np.where(done, self.episode_returns, 0.0), "l": np.where(done, self.episode_lengths, 0)}
            info = {**info, "episode": counts, "_episode": done}
            self.episode_returns[done] = 0
            self.episode_lengths[done] = 0
        return observation, reward, terminated, truncated, info


class Resumable(VectorWrapper):
    """Environments that a resumed run can bring to where they were, without running code from a file.

    Those that have a state to save (`metadata["restorable"]`, with `get_state` and `set_state` as in
    `engram_rl.envs.suite.SuiteVectorEnv`) are put there at once. Gymnasium asks for none, so of all others the seed and
    every action are remembered and replayed: exact, schedules and random generators included, as they are deterministic
    given these, but it takes as long as the steps took.

    Attributes:
        info: What the last reset or step said.
    """

    def __init__(self, env: CountEpisodes):
        super().__init__(env)
        self._counts = env
        self._restorable = bool(env.metadata.get("restorable"))
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
        if not self._restorable:
            self._log(actions)
        self.info = result[4]
        return result

    def state_dict(self) -> dict[str, Any]:
        """Their state and the open episodes' counts; or the seed of the last reset and the actions since."""
        if not self._restorable:
            return {"seed": self._seed, "actions": self._actions[: self._steps].copy()}  # [T, E, ...]
        counts = {name: getattr(self._counts, name).copy() for name in _OPEN_EPISODES}
        return {"state": self.unwrapped.get_state(), "counts": counts}  # type: ignore[attr-defined]

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Go to where `state_dict` was taken and return the observation there.

        Raises:
            UsageError: It was taken of other environments, of another number of them or of another action space.
        """
        if "state" not in state:
            return self._replay(state["seed"], state["actions"])
        if not self._restorable:
            raise UsageError("The checkpoint is of environments that have a state, these have none: keep their env.id.")
        self.reset(seed=0)
        try:
            observation = self.unwrapped.set_state(state["state"])  # type: ignore[attr-defined]
        except ValueError as error:
            raise UsageError(f"{error} Resume with the same env.id, env.num_envs and env.kwargs.") from error
        for name in _OPEN_EPISODES:
            getattr(self._counts, name)[...] = state["counts"][name]
        return self._counts.env.take(observation)  # type: ignore[attr-defined]

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


def import_owner(id: str) -> None:
    """Import the package that registers this id only then, if it is known to do so.

    Raises:
        UsageError: It is not installed.
    """
    for prefix, package in REGISTERED_BY.items():
        if not id.startswith(prefix) or id in gym.registry:
            continue
        try:
            owner = importlib.import_module(package)
        except ModuleNotFoundError as error:
            root = package.partition(".")[0]
            extra = EXTRAS.get(root)
            remedy = f": pip install 'engram-rl[{extra}]'" if extra else ""
            raise UsageError(f"{id} belongs to the package {root}, which is not installed here{remedy}.") from error
        if id not in gym.registry and hasattr(owner, "register_envs"):
            owner.register_envs()


def _empty_log(environments: VectorEnv) -> np.ndarray:
    """Room for actions; for those that are no arrays, which every agent here refuses by name, there is none."""
    space = environments.action_space
    if space.shape is None or space.dtype is None:
        return np.empty((1024, 0), dtype=object)
    return np.empty((1024, *space.shape), dtype=space.dtype)


def _is_owner_missing(id: str, error: BaseException) -> bool:
    """Whether the module before the colon, or a package that it is said to lie in, was not found."""
    module = id.partition(":")[0] if ":" in id else ""
    names = [one.name for one in causes(error) if isinstance(one, ModuleNotFoundError) and one.name]
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _missing_owner(id: str) -> str:
    module = id.partition(":")[0]
    return (
        f"There is no module {module!r}, which {id} is to come from. It is looked for in the folder given by "
        f"--config-dir, in the present one ({Path.cwd()}) and among what is installed: give the folder that "
        f"{module.partition('.')[0]} lies in, --config-dir FOLDER."
    )


def _unknown_environment(id: str, error: Exception) -> str:
    if isinstance(error, gym.error.UnregisteredEnv):
        return f"No environment is registered as {id!r}. {did_you_mean(id, gym.registry)}"
    return f"Environment {id!r} could not be made: {error}"
