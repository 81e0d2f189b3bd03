"""When two runs are the same: a digest of all that defines one, whatever it is called and wherever a value is written.

A value that is what the factory takes by default says nothing, so a row stays valid when a default moves out of a YAML
or into one; a schedule that never changes is its number.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from hydra.utils import get_object

from benchmarks.baselines import own_name
from engram_rl.agents.ppo import make_ppo
from engram_rl.training.legacy_agents import constant

Node = Mapping[str, Any]

PROTOCOL = 1  # raise it when what is measured changes: older rows are then measured anew
ENVIRONMENT: Node = {
    "kwargs": {},
    "wrappers": [],
    "success_above": None,
    "modalities": None,
    "max_episode_steps": None,
}
"""What an environment has where its configuration does not say."""


def digest(content: Mapping[str, Any]) -> str:
    """A key of 16 letters, of names and values in any order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def control_key(name: str, environment: Node, settings: Node, seed: int, steps: int, test_episodes: int) -> str:
    """The key of a run of `benchmarks.control`, of which `name` says whose settings they are."""
    rest = {"name": own_name(name), "seed": seed, "steps": steps, "test_episodes": test_episodes or None}
    return _key(environment, settings, rest)


def adaptation_key(
    policy: str, environment: Node, settings: Node, seed: int, steps: int, test: Node, trained_in: Node | None
) -> str:
    """The key of a run of `benchmarks.adaptation`; only policies, which have no settings, are known by name."""
    rest = {"policy": policy, "seed": seed, "steps": steps, "test": test}
    return _key(environment, settings, rest | {"trained_in": trained_in and essential_environment(trained_in)})


def shift_key(
    name: str,
    kind: str,
    environment: Node,
    settings: Node,
    seed: int,
    layout_seed: int | None,
    budget: str | int,
    episodes: int,
) -> str:
    """The key of a run of `benchmarks.shift`."""
    rest = {"name": own_name(name), "kind": kind, "seed": seed, "layout_seed": layout_seed}
    return _key(environment, settings, rest | {"budget": budget, "episodes": episodes})


def _key(environment: Node, settings: Node, rest: dict[str, Any]) -> str:
    given = {name: plain(value) for name, value in rest.items() if value is not None}
    parts = {"environment": essential_environment(environment), "settings": essential(settings)}
    return digest({"protocol": PROTOCOL, **parts, **given})


def essential_environment(node: Node) -> dict[str, Any]:
    """An environment's configuration without what it has where nothing is said."""
    return {name: value for name, value in essential(node).items() if value != ENVIRONMENT.get(name, ...)}


def essential(node: Any, made: Any = None) -> Any:
    """A configuration without the values that whatever it builds takes by default.

    Args:
        node: Dicts, lists and values.
        made: The class or function that a dict is given to, if it does not name one itself (`_target_`).
    """
    if isinstance(node, list | tuple):
        return [essential(item) for item in node]
    node = constant(node)
    if not isinstance(node, Mapping):
        return plain(node)
    parameters = _parameters(node.get("_target_") or made)
    kept = {name: essential(value, _class_of(parameters, name)) for name, value in node.items()}
    return {name: value for name, value in kept.items() if name not in parameters or value != parameters[name][0]}


def plain(value: Any) -> Any:
    """The same in JSON's types; whole numbers are integers, so that 1 and 1.0 are one value."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


Parameters = dict[str, tuple[Any, Any]]
"""Of each parameter that may be left out, by name: its default, and its annotation."""


@cache
def _parameters(made: Any) -> Parameters:
    if made is None:
        return {}
    try:
        built = get_object(made) if isinstance(made, str) else made
        signature = inspect.signature(built)
    except (ImportError, TypeError, ValueError):
        return {}
    hints = _hints(built)
    passed_on = _parameters(make_ppo) if "ppo" in signature.parameters else {}
    return passed_on | {
        name: (plain(parameter.default), hints.get(name))
        for name, parameter in signature.parameters.items()
        if parameter.default is not parameter.empty
    }


def _hints(built: Any) -> dict[str, Any]:
    called = getattr(built, "__init__", built) if isinstance(built, type) else built
    try:
        return typing.get_type_hints(called)
    except (NameError, TypeError, AttributeError):
        return {}


def _class_of(parameters: Parameters, name: str) -> Any:
    """What a dict without a `_target_` becomes: the class that its parameter is annotated with."""
    hint = parameters.get(name, (None, None))[1]
    return next((one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and one not in _PLAIN), None)


_PLAIN = (bool, int, float, str, dict, list, tuple, type(None), object)
