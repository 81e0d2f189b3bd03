"""The one place that turns configuration into objects: nothing else calls `instantiate`."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
from hydra.utils import instantiate
from omegaconf import DictConfig

from engram_rl.agents.agent import Agent
from engram_rl.agents.episodic_control.modality_keys import parts_named
from engram_rl.training.configuration.signatures import in_whole_numbers, require_types
from engram_rl.training.environments import Resumable, make_environments
from engram_rl.training.errors import UsageError


def build_agent(config: DictConfig, environments: gym.vector.VectorEnv, seed: int) -> Agent:
    """Build the agent of `conf/agent/*.yaml` for these environments.

    The configuration names a factory, called with the spaces of one environment, their number and a seed.
    """
    config = in_whole_numbers(config)
    require_types(config, "agent")
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
        kwargs=partial(instantiate, config.kwargs, _convert_="all"),
        max_episode_steps=config.get("max_episode_steps"),
        wrappers=instantiate(config.wrappers, _convert_="all"),
        parts=parts_named(modalities) if (modalities := config.get("modalities")) else None,
    )
