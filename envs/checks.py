"""What an option of an environment or a schedule must be; how large it may be, its owner says."""

from __future__ import annotations

from typing import Any

import numpy as np


def integer(name: str, value: Any) -> int:
    """The value as an int; TypeError if it is no whole number."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}.")
    return int(value)


def at_least(least: int, name: str, value: Any, unit: str) -> int:
    """The value as an int; TypeError if it is no whole number, ValueError if it is too small."""
    if integer(name, value) < least:
        limit = f"{least} {unit}".strip()
        raise ValueError(f"{name} must be at least {limit}, got {value}.")
    return int(value)


def number(name: str, value: Any) -> float:
    """The value; TypeError if it is no number."""
    if not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    return value  # type: ignore[return-value]


def no_nan(name: str, value: Any) -> float:
    """The value, which may be infinite; TypeError if it is no number, ValueError if it is NaN."""
    if np.isnan(number(name, value)):
        raise ValueError(f"{name} is NaN, with which every comparison fails: give a number, or an infinite one.")
    return value


def truth(name: str, value: Any) -> bool:
    """The value as a bool; TypeError if it is none, as the word "no" is."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)
