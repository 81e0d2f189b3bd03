"""The environment of a bench: found by name, built once for each run, and asked what it shows and how it is scored."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from omegaconf import OmegaConf

from benchmarks.configuration import environment_config
from engram_rl.envs.scoring.episodes import core_of
from engram_rl.training.construction import build_environments

DEFAULT_EPISODES = 100
EPISODES = {
    "engram/HiddenGoal-v0": 200,  # ten blocks of 20
    "engram/RecurringGoal-v0": 200,
    "engram/NewGoal-v0": 200,
    "engram/DriftGoal-v0": 200,
    "engram/TMaze-v0": 500,
}
SCORED_BY_RETURN = {"engram/MaskedKey-v0", "engram/MemoryPlan-v0", "engram/TMaze-v0"}
"""Where an episode is not better for being shorter, although the fewest steps are known."""

Environment = dict[str, Any]
"""`id`, `kwargs` and `wrappers` of a YAML of `conf/env`, resolved; `success_above` unless any reward will do."""


def resolve_environment(name: str, options: dict[str, Any]) -> Environment:
    """The environment of a YAML of `conf/env`, or of any registered id.

    Args:
        name: A YAML's name, or an id such as `engram/ShiftWall-v0` or `MiniGrid-Empty-8x8-v0`.
        options: Constructor arguments that replace or join those of the YAML.

    Raises:
        UsageError: The name is neither, or the environment cannot be built.
    """
    config = environment_config(name, {})
    found = {"id": config["id"], "kwargs": {**config["kwargs"], **options}, "wrappers": config["wrappers"]}
    if config["success_above"]:
        found["success_above"] = config["success_above"]
    build_environment(found).close()
    return found


def build_environment(environment: Environment, layout_seed: int | None = None) -> gym.Env:
    """One single environment, by the one helper that instantiates.

    Args:
        environment: From `resolve_environment`.
        layout_seed: Handed to environments of the suite; others draw their layouts from the seed of the reset.
    """
    kwargs = dict(environment["kwargs"])
    if layout_seed is not None and environment["id"].startswith("engram/"):
        kwargs["layout_seed"] = layout_seed
    config = OmegaConf.create({**environment, "kwargs": kwargs, "vectorization": "sync", "num_envs": 1})
    return build_environments(config).unwrapped.envs[0]  # type: ignore[attr-defined]


def default_episodes(environment: Environment) -> int:
    """How many episodes count where nothing else is asked for: the length of a run, if it has one."""
    env = build_environment(environment)
    length = getattr(core_of(env), "episodes", None) or EPISODES.get(environment["id"], DEFAULT_EPISODES)
    env.close()
    return length


def shown_by(env: gym.Env) -> list[str]:
    """What the observations of a suite environment show beside the agent's own position."""
    core = core_of(env)
    shown = {"goal": getattr(core, "show_goal", False), "shift": getattr(core, "tell_shift", False)}
    return [name for name, is_shown in shown.items() if is_shown]
