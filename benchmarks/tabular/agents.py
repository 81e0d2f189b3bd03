"""The tabular agents by name, with their settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from gymnasium import spaces
from hydra.utils import get_object

from benchmarks.configuration import agent_config
from benchmarks.tabular.agent import Tabular
from benchmarks.tabular.dyna import Dyna
from benchmarks.tabular.places import Places
from benchmarks.tabular.q_lambda import QLambda
from benchmarks.tabular.r_max import RMax
from engram_rl.training.errors import UsageError, did_you_mean

AGENTS: dict[str, Callable[..., Tabular]] = {
    "q_lambda": QLambda,
    "dyna_q_plus": Dyna,
    "prioritised_sweeping": partial(Dyna, order="priority"),
    "r_max": RMax,
}
GRID = "_grid"
"""Behind a name: on MiniGrid's symbols, as `fast_slow_grid` reads them, instead of columns."""

NAMES = tuple(name + kind for name in AGENTS for kind in ("", GRID))


def settings(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All settings of an agent, those that are given and the rest by default.

    Raises:
        UsageError: It has no such setting.
    """
    known = _defaults(name)
    for key in given:
        if key not in known:
            raise UsageError(f"{name} has no setting {key!r}. {did_you_mean(key, known)}")
    return known | given


def make_tabular(
    name: str, observation_space: spaces.Space, action_space: spaces.Space, num_envs: int, seed: int, **given: Any
) -> Tabular:
    """Build one of `NAMES` for the spaces of an environment, on the view of the fast/slow agent.

    Raises:
        UsageError: The environment has no places with bounds, or its actions are not Discrete.
    """
    if not isinstance(action_space, spaces.Discrete):
        raise UsageError(f"{name} chooses one of some actions, but this environment has {action_space}.")
    view = agent_config("fast_slow_grid" if name.endswith(GRID) else "fast_slow")["view"]
    arguments = {key: value for key, value in view.items() if not key.startswith("_")}
    try:
        places = Places(get_object(view["_target_"])(observation_space, **arguments))
    except ValueError as error:
        raise UsageError(f"{name} cannot read this environment: {error}") from error
    return AGENTS[name.removesuffix(GRID)](places, int(action_space.n), num_envs, seed, **given)


def _defaults(name: str) -> dict[str, Any]:
    parameters = inspect.signature(AGENTS[name.removesuffix(GRID)]).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "order"}
