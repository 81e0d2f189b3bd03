"""One environment as agents meet it: imported, made, wrapped and taken in, or what is to be said where it cannot be.

Processes that only hold environments import this and nothing that brings torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.wrappers import FilterObservation, NormalizeObservation, NormalizeReward

import engram_rl.envs  # noqa: F401  (registers engram/*)
from engram_rl.training.errors import FAILURES, UsageError, causes, did_you_mean, in_your, raised_by_user
from engram_rl.training.intake.environments import TakenIn
from engram_rl.training.intake.rewards import Paid

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


def single(
    id: str,
    arguments: Callable[[], dict[str, Any]],
    wrappers: Sequence[Callable[[gym.Env], gym.Env]],
    parts: Collection[str] | None,
    max_episode_steps: int | None,
    index: int,
) -> gym.Env:
    """One environment, as agents meet it."""
    environment = make_environment(id, arguments, wrappers, max_episode_steps)
    return keep_parts(TakenIn(environment, id, index, wrapped=bool(wrappers)), parts)


def make_environment(
    id: str,
    arguments: Callable[[], dict[str, Any]],
    wrappers: Sequence[Callable[[gym.Env], gym.Env]],
    max_episode_steps: int | None,
) -> gym.Env:
    """One environment with its wrappers, as it is itself; see `make_environments`."""
    environment = quicken_view(
        gym.make(id, max_episode_steps=max_episode_steps, disable_env_checker=True, **arguments())
    )
    if wrappers:
        environment = Paid(environment)
    for wrap in wrappers:
        environment = wrap(environment)
        _refuse_own_statistics(environment)
    return environment


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


def single_there(spec: Any, make: Callable[[], gym.Env]) -> gym.Env:
    """One environment in a process that may not have heard of it yet."""
    id, arguments, *_ = make.args  # type: ignore[attr-defined]
    try:
        known_here(id, spec)
        return make()
    except FAILURES as error:
        raise unmade(id, arguments, error) from error


def known_here(id: str, spec: Any) -> None:
    """Register what this process may not have heard of yet.

    Args:
        id: Of the environment.
        spec: As the process has it that asked; None where it is imported by its id.
    """
    import_owner(id)
    if spec is not None:
        gym.registry.setdefault(spec.id, spec)


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


def unmade(id: str, arguments: Callable[[], dict[str, Any]], error: BaseException) -> UsageError:
    """What is to be said where an environment could not be made."""
    if isinstance(error, UsageError):
        return error
    if isinstance(error, gym.error.Error):
        return UsageError(_unknown_environment(id, error))
    if _is_owner_missing(id, error):
        return UsageError(_missing_owner(id))
    if raised_by_user(error) or not isinstance(error, TypeError | ValueError | ModuleNotFoundError):
        return in_your(f"environment {id}", "making it", error)
    return UsageError(f"Environment {id} could not be made with kwargs {arguments()}: {error}")


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


def _unknown_environment(id: str, error: BaseException) -> str:
    if isinstance(error, gym.error.UnregisteredEnv):
        return f"No environment is registered as {id!r}. {did_you_mean(id, gym.registry)}"
    return f"Environment {id!r} could not be made: {error}"
