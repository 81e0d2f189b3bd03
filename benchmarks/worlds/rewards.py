"""Ways to pay: each a function of whether the goal was reached by this step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def two(arrived: float, otherwise: float) -> Callable[[bool], float]:
    """One number at the goal, another for every other step."""
    return lambda there: arrived if there else otherwise


def as_(form: Callable[[float], Any]) -> Callable[[bool], Any]:
    """The usual reward, in another form."""
    return lambda there: form(1.0 if there else -0.1)


REWARDS: dict[str, Callable[[bool], Any]] = {
    "mixed": two(1.0, -0.1),
    "sparse": two(1.0, 0.0),
    "cost": two(0.0, -1.0),
    "all_negative": two(-1.0, -2.0),
    "million": two(1e6, -1e5),
    "millionth": two(1e-6, -1e-7),
    "whole": two(10, -1),
    "truth": lambda there: there,
    "array_of_one": as_(lambda number: np.array([number])),
    "no_axis": as_(np.array),
    "float16": as_(np.float16),
    "list": as_(lambda number: [number]),
    "vector": as_(lambda number: np.array([number, number])),
    "nothing": lambda there: 1.0 if there else None,
    "not_a_number": two(1.0, float("nan")),
    "infinite": two(float("inf"), -0.1),
    "text": as_(str),
}
