"""The one place that turns configuration into objects (law 8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from agents.agent import Agent
from agents.keys import parts_named
from training.environments import Resumable, make_environments
from training.errors import UsageError


def build_agent(config: DictConfig, environments: gym.vector.VectorEnv, seed: int) -> Agent:
    """Build the agent of `conf/agent/*.yaml` for these environments.

    The configuration names a factory, called with the spaces of one environment, their number and a seed.
    """
    factory = instantiate(config, _partial_=True)
    try:
        return factory(
            observation_space=environments.single_observation_space,
            action_space=environments.single_action_space,
            num_envs=environments.num_envs,
            seed=seed,
        )
    except TypeError as error:
        raise UsageError(
            f"{config._target_} cannot be built from these values: {error}. Compare their names and types with "
            f"conf/agent; HYDRA_FULL_ERROR=1 shows the place."
        ) from error


def build_environments(config: DictConfig) -> Resumable:
    """Make the vectorised environments of `conf/env/*.yaml`."""
    return make_environments(
        config.id,
        config.num_envs,
        vectorization=config.vectorization,
        kwargs=OmegaConf.to_container(config.kwargs, resolve=True),  # type: ignore[arg-type]
        wrappers=instantiate(config.wrappers, _convert_="all"),
        parts=parts_named(modalities) if (modalities := config.get("modalities")) else None,
    )


def refuse_foreign_targets(config: DictConfig, config_folders: list[Path], origin: Path) -> None:
    """Raise unless each `_target_` of a stored configuration is one that the user's own YAML names.

    A run folder may come from a stranger; what it asks to build must not choose the code that runs.
    """
    known = {target for folder in config_folders for target in _targets_in_folder(folder)}
    foreign = sorted(set(_targets(config)) - known)
    if foreign:
        raise UsageError(
            f"{origin} asks to build {', '.join(foreign)}, which no YAML of {', '.join(map(str, config_folders))} "
            f"names. If you trust it, add a YAML that names this target to a folder of your own and pass "
            f"--config-dir."
        )


def _targets_in_folder(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.yaml"):
        yield from _targets(OmegaConf.load(path))


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, DictConfig):
        for key in node:
            if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, str(key)):
                continue
            value = node[key]
            if key == "_target_":
                yield str(value)
            else:
                yield from _targets(value)
    elif isinstance(node, ListConfig):
        for value in node:
            yield from _targets(value)
