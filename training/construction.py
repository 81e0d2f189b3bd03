"""The one place that turns configuration into objects: nothing else calls `instantiate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import Space, spaces
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from engram_rl.agents.agent import Agent, Transition
from engram_rl.agents.episodic_control.modality_keys import parts_named
from engram_rl.memory import DifferentiableNeuralDictionary, TransitionMemory
from engram_rl.training.configuration.signatures import in_whole_numbers, require_types
from engram_rl.training.distributed.cluster import lies_in_shards
from engram_rl.training.environments import Resumable, make_environments
from engram_rl.training.errors import FAILURES, UsageError, in_your
from engram_rl.training.intake.spaces import presented
from engram_rl.training.logging.logger import Curves
from engram_rl.training.making import import_owner, make_environment, unmade
from engram_rl.training.rollout import Worlds, act, allowed
from engram_rl.training.runs.checkpoint import flatten
from engram_rl.training.seeding import undisturbed


def build_agent(config: DictConfig, environments: Any, seed: int) -> Agent:
    """Build the agent of `conf/agent/*.yaml` for these environments.

    The configuration names a factory, called with the spaces of one environment, their number and a seed.
    """
    return build_agent_for(
        config, environments.single_observation_space, environments.single_action_space, environments.num_envs, seed
    )


@contextmanager
def agent_in(environments: Worlds, config: DictConfig) -> Iterator[Agent]:
    """The agent of a run, built for these environments; what it holds in other processes ends with the context.

    Args:
        environments: Where it acts.
        config: Of the run.
    """
    agent = build_agent(config.agent, environments, config.seed)
    try:
        yield agent
    finally:
        end(agent)


def end(agent: Agent) -> None:
    """End what an agent holds in other processes, if it does."""
    if hasattr(agent, "close"):
        agent.close()


def build_agent_for(
    config: DictConfig, observation_space: Space, action_space: Space, num_envs: int, seed: int
) -> Agent:
    """Build the agent of `conf/agent/*.yaml` from the spaces of one environment, as agents are shown them."""
    config = in_whole_numbers(config)
    require_types(config, "agent")
    _refuse_core(config)
    _refuse_shards(config)
    factory = instantiate(config, _partial_=True)
    try:
        return factory(
            observation_space=observation_space,
            action_space=action_space,
            num_envs=num_envs,
            seed=seed,
        )
    except TypeError as error:
        raise UsageError(
            f"{config._target_} cannot be built from these values: {error}. Compare their names and types with "
            f"conf/agent; HYDRA_FULL_ERROR=1 shows the place."
        ) from error


def _refuse_core(config: DictConfig) -> None:
    """Raise where a memory core was chosen for an agent that has none, or has no numbers from it."""
    if "core" not in config or not isinstance(config.get("_target_"), str):
        return
    if config.get("recurrent") == 0:
        raise UsageError(
            "agent.recurrent is 0, so the memory core would be left out: give the numbers in its output, such as "
            "agent.recurrent=64, or leave core=... out."
        )
    try:
        parameters = signature(get_object(config._target_)).parameters
    except (ImportError, TypeError, ValueError):
        return
    if not {"core", "ppo"} & parameters.keys() and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        made = config.core.get("_target_", "") if isinstance(config.core, DictConfig) else config.core
        raise UsageError(
            f"{config._target_.rpartition('.')[2]} makes an agent without a memory core, so it takes no core "
            f"({str(made).rpartition('.')[2]}). Leave core=... out, or choose an agent of the PPO family: agent=ppo, "
            f"agent=retrieval_ppo, agent=self_imitation_ppo."
        )


def _refuse_shards(config: DictConfig) -> None:
    """Raise where a memory in shards was chosen for an agent that has none which could lie there."""
    if not lies_in_shards(config) or not isinstance(config.get("_target_"), str):
        return
    try:
        parameters = signature(get_object(config._target_)).parameters
    except (ImportError, TypeError, ValueError):
        return
    of_one_piece = (TransitionMemory.__name__, DifferentiableNeuralDictionary.__name__)
    if "memory" not in parameters or any(kind in str(parameters["memory"].annotation) for kind in of_one_piece):
        lacks = "whose memory cannot lie in shards" if "memory" in parameters else "without a memory of this kind"
        raise UsageError(
            f"{config._target_.rpartition('.')[2]} makes an agent {lacks}. Leave shards=... out, or choose agent=nec, "
            f"agent=mfec, agent=episodic or agent=retrieval_ppo."
        )


def build_environments(
    config: DictConfig, cluster: Mapping[str, Any] | None = None, *, beside: bool = False
) -> Resumable:
    """Make the vectorised environments of `conf/env/*.yaml`.

    Args:
        config: As there.
        cluster: As in `conf/cluster/*.yaml`, for those on workers.
        beside: Whether they work while others rest; see `make_environments`.
    """
    return make_environments(
        config.id,
        config.num_envs,
        vectorization=config.vectorization,
        kwargs=partial(instantiate, config.kwargs, _convert_="all"),
        max_episode_steps=config.get("max_episode_steps"),
        wrappers=instantiate(config.wrappers, _convert_="all"),
        parts=parts_named(modalities) if (modalities := config.get("modalities")) else None,
        cluster=cluster,
        beside=beside,
    )


def build_environment(config: DictConfig) -> gym.Env:
    """Make one environment of `conf/env/*.yaml` with its wrappers, showing and saying what it does itself.

    Raises:
        UsageError: It cannot be made.
    """
    import_owner(config.id)
    arguments = partial(instantiate, config.kwargs, _convert_="all")
    wrappers = instantiate(config.wrappers, _convert_="all")
    try:
        return make_environment(config.id, arguments, wrappers, config.get("max_episode_steps"))
    except FAILURES as error:
        raise unmade(config.id, arguments, error) from error


def build_curves(config: DictConfig, folder: Path) -> list[Curves]:
    """What is told of a run's curves beside TensorBoard: that of `conf/logger/*.yaml`, if one is chosen."""
    if not config.get("logger"):
        return []
    settings = OmegaConf.to_container(config, resolve=True)
    return [instantiate(config.logger, folder=folder, settings=settings, _recursive_=False, _convert_="all")]


def space_shown(space: Space, config: DictConfig) -> Space:
    """What an agent is shown of the observations of an environment: numbers, and only the parts that it has keys of.

    Args:
        space: Of one environment.
        config: As of `conf/env/*.yaml`.
    """
    shown = presented(space, config.id)
    if not (modalities := config.get("modalities")) or not isinstance(shown, spaces.Dict):
        return shown
    parts = parts_named(modalities)
    return spaces.Dict({name: part for name, part in shown.spaces.items() if name in parts})


VERBS = ("act", "observe", "learn", "state_dict", "load_state_dict")


def check_agent(agent: Agent, config: DictConfig, environments: Worlds, observation: Any) -> None:
    """Try an agent that is not ours on a copy, so that what is wrong with it is said before anything is trained.

    Args:
        agent: As built.
        config: Of the run.
        environments: In which it is going to act.
        observation: What they show now. `[E, ...]`

    Raises:
        UsageError: It lacks a method, acts outside the action space, learns without saying what, or has a state that
            cannot be saved or does not fit itself.
    """
    kind = type(agent)
    if kind.__module__.startswith("engram_rl."):
        return
    name = kind.__name__
    if missing := [verb for verb in VERBS if not callable(getattr(agent, verb, None))]:
        raise UsageError(f"{name} has no {', '.join(missing)}; an agent offers {', '.join(VERBS)} (docs/extending.md).")
    if environments.action_space.shape is None:
        raise UsageError(
            f"{name} acts in {environments.single_action_space}, whose actions are no arrays, which runs need. "
            f"Make one of them with a wrapper, such as gymnasium.wrappers.TransformAction."
        )
    with undisturbed():
        tried: Any = build_agent(config.agent, environments, config.seed)
        mask = allowed(environments, environments.info)
        try:
            action = act(tried, observation, mask)
            _check_actions(action, environments, name)
            none = np.zeros(environments.num_envs, dtype=bool)
            tried.observe(
                Transition(observation, np.asarray(action), np.zeros(len(none)), none, none, observation, observation)
            )
            said = tried.learn()
        except UsageError:
            raise
        except Exception as error:
            raise in_your(f"agent {name}", "a first step", error) from error
        numbers = isinstance(said, dict) and all(isinstance(value, float | int | np.number) for value in said.values())
        if not numbers:
            raise UsageError(f"learn of {name} gave {said!r}; it gives numbers by name, {{}} where there are none.")
        try:
            state = tried.state_dict()
            flatten(state, "", {})
            tried.load_state_dict(deepcopy(state))
        except UsageError as error:
            raise UsageError(f"The state of {name} cannot be saved and given back: {error}") from error
        except Exception as error:
            raise UsageError(
                f"The state of {name} cannot be saved and given back: {type(error).__name__}: {error}. "
                f"state_dict gives dicts and lists of tensors, arrays and plain values, which load_state_dict takes."
            ) from error
        parts = set(getattr(agent, "memory_parts", ()))
        if unknown := sorted(parts - state.keys()):
            raise UsageError(f"memory_parts of {name} names {', '.join(unknown)}, which its state_dict does not have.")


def _check_actions(action: Any, environments: Worlds, name: str) -> None:
    space, actions = environments.action_space, np.asarray(action)
    wanted = np.asarray(space.sample())
    single = environments.single_action_space
    kind_fits = actions.dtype.kind in ("iu" if wanted.dtype.kind in "iu" else "biuf")
    inside = (
        actions.shape == wanted.shape
        and kind_fits
        and all(single.contains(one.astype(wanted.dtype)) for one in actions)
    )
    if not inside:
        raise UsageError(
            f"act of {name} gave {str(action)[:80]} of shape {actions.shape} and type {actions.dtype}; {len(wanted)} "
            f"environments with actions {single} take shape {wanted.shape} of {wanted.dtype}."
        )
