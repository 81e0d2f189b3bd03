"""Infos are their environments' own: what is read here is read with care, and nothing else can break a step."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Space, logger, spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from engram_rl.training.errors import UsageError, say_once

MASK = "action_mask"

STEPPED = "engram/stepped"
"""Under which the infos of environments that answer as they are ready say which have: `[E]` of bool."""

LOST = "engram/lost"
"""Under which infos say which environments were begun anew because their process died: `[E]` of bool."""

RESERVED = {f"{sign}{name}" for name in ("episode", "final_obs", "final_info", STEPPED, LOST) for sign in ("", "_")}
"""What a vector step says of its environments and of episodes that ended; an environment's own words of these names are
not passed on."""


class AnyInfo:
    """Puts the infos of single environments side by side, whatever their kinds: mixed ones become arrays of objects."""

    num_envs: int

    def _add_info(self, vector_infos: dict[str, Any], env_info: dict[str, Any], env_num: int) -> dict[str, Any]:
        try:
            return super()._add_info(vector_infos, env_info, env_num)  # type: ignore[misc]
        except Exception:  # of whatever the values make numpy raise
            for name, value in env_info.items():
                self._add_one(vector_infos, name, value, env_num)
            return vector_infos

    def _add_one(self, infos: dict[str, Any], name: Any, value: Any, number: int) -> None:
        try:
            super()._add_info(infos, {name: value}, number)  # type: ignore[misc]
        except Exception:
            have, before = infos.get(f"_{name}"), infos.get(name)
            if not isinstance(have, np.ndarray) or have.dtype != bool or have.shape != (self.num_envs,):
                have = np.zeros(self.num_envs, bool)  # nobody spoke, or an environment itself says something there
            mixed = np.full(self.num_envs, None, dtype=object)
            if isinstance(before, np.ndarray):
                for row in np.flatnonzero(have):
                    mixed[row] = before[row]
            mixed[number] = value
            have[number] = True
            infos[name], infos[f"_{name}"] = mixed, have


class SyncEnvironments(AnyInfo, SyncVectorEnv):
    """Environments of one process, with any infos."""


class AsyncEnvironments(AnyInfo, AsyncVectorEnv):
    """Environments of a process each, with any infos; an error in one is raised here and not printed there as well."""

    def _raise_if_errors(self, successes: Any) -> None:
        level, logger.min_level = logger.min_level, sys.maxsize
        try:
            super()._raise_if_errors(successes)
        finally:
            logger.min_level = level


def own(info: Any) -> dict[str, Any]:
    """What an environment says beside a step, whatever kind of mapping holds it; `{}` where that is none.

    An `action_mask` of None says nothing: beside the mask of another environment it would become one of False.
    """
    if not isinstance(info, Mapping):
        return {}
    return {name: one for name, one in info.items() if name not in RESERVED and not (name == MASK and one is None)}


def numbers(info: dict[str, Any], name: str) -> list[float]:
    """The finite numbers that environments say under a name, without those that say none or something else."""
    values, have = info.get(name), info.get(f"_{name}")
    rows: Any = np.asarray(values, dtype=object).ravel() if values is not None else []
    if isinstance(have, np.ndarray) and have.shape == np.shape(rows):
        rows = np.asarray(rows)[have]
    plain = [value for value in rows if isinstance(value, int | float | np.integer | np.floating | np.bool_)]
    return [float(value) for value in plain if math.isfinite(value)]


def action_masks(info: dict[str, Any], space: Space, num_envs: int, *, acting: bool = True) -> np.ndarray | None:
    """Which actions are allowed, from `action_mask` as Gymnasium's Taxi gives it.

    Args:
        info: Of a vector reset or step, or the final info of episodes that ended.
        space: Of one environment's actions; only Discrete ones are masked.
        num_envs: E.
        acting: Whether an action is about to be chosen; otherwise a row that allows none allows all, as at an end.

    Returns:
        `[E, A]` of bool, all True for environments that say nothing; None where no environment does.

    Raises:
        UsageError: An environment that is to act allows nothing.
    """
    if MASK not in info:
        return None
    if not isinstance(space, spaces.Discrete):
        say_once(f"An action_mask is not read: the actions are {space}, and only those of a Discrete are masked.")
        return None
    allowed, said = np.ones((num_envs, int(space.n)), dtype=bool), False
    given, have = info[MASK], info.get(f"_{MASK}")
    if isinstance(given, np.ndarray) and given.dtype.kind in "biu" and given.shape == allowed.shape and have is None:
        allowed, said = given.astype(bool), True
    elif (isinstance(given, list | tuple) or (isinstance(given, np.ndarray) and given.ndim)) and len(given) == num_envs:
        for row in range(num_envs) if have is None else np.flatnonzero(have):
            one = _mask(given[row], int(space.n))
            if one is not None:
                allowed[row], said = one, True
    if not said:
        return None
    none = ~allowed.any(axis=1)
    if acting and none.any():
        raise UsageError(
            f"The action_mask of environment {int(none.argmax())} allows no action. Allow at least one, or end the "
            f"episode."
        )
    allowed[none] = True
    return allowed


def _mask(given: Any, count: int) -> np.ndarray | None:
    """One environment's mask; None, and said once, where it is none."""
    if given is None:
        return None
    try:
        found = np.asarray(given)
    except ValueError:
        found = np.array(None)
    if found.shape == (count,) and found.dtype.kind in "biuf" and not np.isnan(found).any():
        return found.astype(bool)
    what = f"of shape {found.shape} and {found.dtype}" if found.ndim else type(given).__name__
    what += ", partly NaN" if found.dtype.kind == "f" and np.isnan(found).any() else ""
    say_once(f"An action_mask is not read: it is {what}, not {count} truth values.")
    return None
