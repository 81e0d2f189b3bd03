"""Rewards: one finite number for each environment and step."""

from __future__ import annotations

from typing import Any

import numpy as np

from engram_rl.training.errors import UsageError

LARGEST = float(np.finfo(np.float32).max)
"""Networks compute in this precision."""

_REMEDY = "Give one number a step, or turn it into one in a wrapper (env.wrappers)."


def number(reward: Any, who: str) -> float:
    """One environment's reward as a number.

    Args:
        reward: A number, or an array that holds just one.
        who: Whose it is, for the error.

    Raises:
        UsageError: It is anything else.
    """
    if isinstance(reward, float | int | np.floating | np.integer | np.bool_):
        return reward  # type: ignore[return-value]
    if type(reward).__module__ != "builtins" and hasattr(reward, "__array__"):
        array = np.asarray(reward)
        if array.size == 1 and array.dtype.kind in "biuf":
            return float(array.item())
    raise UsageError(f"The reward of {who} is {reward!r}. {_REMEDY}")


def numbers(rewards: Any, num_envs: int, environment: str) -> np.ndarray:
    """The rewards of all environments. `[E]` of float64.

    Raises:
        UsageError: They are not one finite number each.
    """
    found = np.asarray(rewards)
    if found.dtype.kind not in "biuf" or found.shape not in ((num_envs,), (num_envs, 1)):
        raise UsageError(f"The rewards of {environment} are {rewards!r}, not {num_envs} numbers. {_REMEDY}")
    found = found.reshape(num_envs).astype(np.float64, copy=False)
    if not (np.abs(found) <= LARGEST).all():
        row = int(np.flatnonzero(~(np.abs(found) <= LARGEST))[0])
        raise UsageError(
            f"The reward of environment {row} is {found[row]} ({environment}); agents need finite numbers of at most "
            f"{LARGEST:.1e}. Mend the environment, or clip in a wrapper (gymnasium.wrappers.ClipReward)."
        )
    return found
