"""The agents and environments of a benchmark, found by name in `conf/` and resolved before anything is started."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engram_rl.agents.ppo import make_ppo
from engram_rl.training.cli import explain
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.making import import_owner

CONF = Path(__file__).resolve().parents[1] / "conf"


def environment_config(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The environment of a YAML of `conf/env`, or of any registered id.

    Args:
        name: A YAML's name, or an id such as `Acrobot-v1`.
        options: Values that replace those of the YAML, such as `{"num_envs": 4}`.

    Raises:
        UsageError: The name is neither, or there is no such value or argument.
    """
    import_owner(name)
    chosen = [f"env={name}"] if (CONF / "env" / f"{name}.yaml").is_file() else ["env=gym", f"env.id={name}"]
    if chosen[0] == "env=gym" and ":" not in name and name not in gym.registry:
        known = [path.stem for path in (CONF / "env").glob("*.yaml")] + list(gym.registry)
        raise UsageError(f"There is no environment {name!r}, in conf/env or registered. {did_you_mean(name, known)}")
    named = chosen[0] != "env=gym"  # a YAML of its own names its arguments, an id alone does not
    if named:
        _check_arguments(name, options.get("kwargs", {}))
    given = [
        f"{'' if named or not key.startswith('env.kwargs.') else '++'}{key}={json.dumps(value)}"
        for key, value in _leaves("env", options)
    ]
    return plain(_compose(*chosen, *given).env)


def _check_arguments(name: str, given: Mapping[str, Any]) -> None:
    """Raise for what a YAML of `conf/env` does not name among the arguments of its environment."""
    environment = _compose(f"env={name}").env
    for argument in given:
        if argument not in environment.kwargs:
            known = did_you_mean(argument, map(str, environment.kwargs)) if environment.kwargs else "It names none."
            raise UsageError(
                f"conf/env/{name}.yaml names no argument {argument!r}. {known} An id, {environment.id}, takes any."
            )


def given_of(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What gives the same environment again beside its name: the values that a command line may change."""
    names = ("id", "num_envs", "vectorization", "kwargs", "max_episode_steps")
    return {name: environment[name] for name in names if environment.get(name) is not None}


def agent_config(given: str, others: Collection[str] = (), core: str | None = None) -> dict[str, Any]:
    """The configuration of an agent of `conf/agent`, with values of its own behind the name: `nec memory.k=11`.

    Args:
        given: The name, alone or as `agent/<name>`, then overrides, separated by spaces.
        others: Names that are no agents of `conf/agent` but valid where this is asked, for the error's hint.
        core: A name of `conf/core`; None for the agent as it is.

    Raises:
        UsageError: An unknown name or setting.
    """
    name, *overrides = given.removeprefix("agent/").split()
    known = [path.stem for path in (CONF / "agent").glob("*.yaml")]
    if name not in known:
        raise UsageError(f"There is no agent {name!r}. {did_you_mean(name, [*known, *others])}")
    chosen = [f"agent={name}", *([f"core={core}"] if core else [])]
    base = _compose(*chosen).agent if overrides else {}
    return plain(_compose(*chosen, *(_of_agent(override, base) for override in overrides)).agent)


def _of_agent(override: str, base: Mapping[str, Any]) -> str:
    """`memory.k=11` as `agent.memory.k=11`, and with a plus what only the factory names."""
    bare = override.lstrip("+")
    place = bare.partition("=")[0]
    added = place not in base and "." not in place and place in parameters_of(base)
    return f"{'++' if added else override[: len(override) - len(bare)]}agent.{bare}"


def value_of(settings: Mapping[str, Any], name: str) -> Any:
    """What an agent is built with: what its settings say, else the default of its factory."""
    return settings[name] if name in settings else parameters_of(settings)[name].default


def parameters_of(settings: Mapping[str, Any]) -> Mapping[str, inspect.Parameter]:
    """What the factory of an agent takes; for one built on PPO, what PPO's takes as well."""
    own = inspect.signature(get_method(settings["_target_"])).parameters
    return {**inspect.signature(make_ppo).parameters, **own} if "ppo" in own else own


def _leaves(path: str, options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each value with its dotted path: an override gives one value, never a mapping."""
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _leaves(f"{path}.{key}", value)
        else:
            yield f"{path}.{key}", value


def plain(config: DictConfig) -> dict[str, Any]:
    """Dicts, lists and values instead of a configuration, interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


@cache
def _compose(*overrides: str) -> DictConfig:
    prepare()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("train", list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(explain(error)) from error
    OmegaConf.set_readonly(composed, True)  # as others are given the same
    return composed
