"""Ends of episodes: `terminated` and `truncated` are one truth value each, and nothing else passes for one."""

from __future__ import annotations

from typing import Any

import numpy as np

from engram_rl.training.errors import UsageError

_REMEDY = "Give True or False, or turn it into that in a wrapper (env.wrappers)."


def truth(value: Any, what: str, who: str) -> bool:
    """Whether an environment says that its episode is over.

    Python calls a dict, a list of False and the word "False" true, and so an episode of one step would be learned from.

    Args:
        value: A truth value, a number but NaN, or an array that holds just one of these.
        what: `terminated` or `truncated`.
        who: Whose it is, for the error.

    Raises:
        UsageError: It is anything else.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float) or hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in "biuf" and not np.isnan(array).any():
            return bool(array.item())
    from engram_rl.memory.checks import shown  # brings torch, which a process of environments does without

    raise UsageError(f"{what} of {who} is {shown(value)}, not one truth value. {_REMEDY}")


def truths(values: Any, num_envs: int, what: str, environment: str) -> np.ndarray:
    """The same of environments that are a vector of their own. `[E]` of bool.

    Raises:
        UsageError: They are not one truth value each.
    """
    found = np.asarray(values)
    if found.dtype.kind not in "biuf" or found.shape not in ((num_envs,), (num_envs, 1)) or np.isnan(found).any():
        raise UsageError(f"{what} of {environment} is {values!r}, not {num_envs} truth values. {_REMEDY}")
    return found.reshape(num_envs).astype(bool)
