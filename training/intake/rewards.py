"""Rewards: one finite number for each environment and step; and what an environment itself paid, below its wrappers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from engram_rl.training.errors import UsageError

LARGEST = 1e12
"""In size; of a sum over a million steps even the square is a number in the precision of networks, float32."""

NUMBERS = (float, int, np.floating, np.integer, np.bool_)

_REMEDY = "Give one number a step, or turn it into one in a wrapper (env.wrappers)."


def number(reward: Any, who: str) -> float:
    """One environment's reward as a number.

    Args:
        reward: A number, or an array that holds just one.
        who: Whose it is, for the error.

    Raises:
        UsageError: It is anything else.
    """
    if isinstance(reward, NUMBERS) and (type(reward) is not int or abs(reward) <= LARGEST):
        return reward  # type: ignore[return-value]
    if hasattr(reward, "__array__"):
        array = np.asarray(reward)
        if array.size == 1 and array.dtype.kind in "biuf":
            return float(array.item())
    if isinstance(reward, int):
        raise UsageError(f"The reward of {who} is a whole number beyond {LARGEST:.1e}, which agents take at most.")
    if isinstance(reward, Real | Decimal):
        return float(reward)
    from engram_rl.memory.checks import shown  # brings torch, which a process of environments does without

    raise UsageError(f"The reward of {who} is {shown(reward)}. {_REMEDY}")


def numbers(rewards: Any, num_envs: int, environment: str) -> np.ndarray:
    """The rewards of all environments, copied. `[E]` of float64.

    Raises:
        UsageError: They are not one finite number each.
    """
    found = np.asarray(rewards)
    if found.dtype.kind not in "biuf" or found.shape not in ((num_envs,), (num_envs, 1)):
        raise UsageError(f"The rewards of {environment} are {rewards!r}, not {num_envs} numbers. {_REMEDY}")
    found = found.reshape(num_envs).astype(np.float64)
    wrong = ~(np.abs(found) <= LARGEST)
    if wrong.any():
        row = int(wrong.argmax())
        raise UsageError(
            f"The reward of environment {row} is {found[row]} ({environment}); agents need finite numbers of at most "
            f"{LARGEST:.1e}. Mend the environment, or clip in a wrapper (gymnasium.wrappers.ClipReward)."
        )
    return found


PAID = "engram/paid"
"""Under which infos say what an environment itself paid, where wrappers may have made something else of it."""


class Paid(gym.Wrapper, RecordConstructorArgs):
    """Sums what an environment pays, below wrappers that change it, leave out steps or take several at once.

    Attributes:
        paid: Since it was last set to 0; NaN where that was no number.
    """

    def __init__(self, env: gym.Env):
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.paid = 0.0

    def step(self, action: Any) -> Any:
        """Step, and count."""
        result = self.env.step(action)
        if isinstance(result, tuple) and len(result) == 5:
            try:
                self.paid += number(result[1], "an environment")
            except UsageError:  # several numbers, say, of which a wrapper may make one
                self.paid = math.nan
        return result


def below(env: gym.Env) -> Paid | None:
    """The count below an environment's wrappers; None where there is none. Wrappers may have made it anew."""
    layer: Any = env
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, Paid):
            return layer
        layer = layer.env
    return None


def paid(reward: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
    """What environments themselves paid in a vector step; the rewards where no wrapper may have changed them. `[E]`.

    Args:
        reward: Of the step. `[E]`
        info: Of the step.
    """
    result = reward
    for said in (info, info.get("final_info")):
        if isinstance(said, Mapping) and PAID in said:
            have = said[f"_{PAID}"]
            result = np.where(have, said[PAID], result)
    return result
