"""Ways to say left and right: each a space, and a function of the action and the place to -1 or 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium import Space, spaces

Move = Callable[[Any, int], int]
Way = tuple[Space, Move]


def codes(start: int = 0, count: int = 2) -> Way:
    """The lower half of the codes is left."""
    return spaces.Discrete(count, start=start), lambda action, _: 1 if int(action) - start >= count // 2 else -1


def first_of(space: Space) -> Way:
    """The first of several choices: 0 is left."""
    return space, lambda action, _: 1 if int(np.ravel(action)[0]) else -1


def numbers(low: float, high: float, middle: float, dtype: Any = np.float32) -> Way:
    """A number: above the middle is right; what is outside its bounds is an error."""
    space = spaces.Box(low, high, (1,), dtype)

    def move(action: Any, _: int) -> int:
        if not space.contains(np.asarray(action, dtype)):
            raise ValueError(f"the action {action} is not of {space}")
        return 1 if np.ravel(action)[0] > middle else -1

    return space, move


class Masked:
    """Six codes, of which three are allowed: others where the place is odd than where it is even.

    0 and 2 are left, 1 and 3 right, 4 and 5 stay.
    """

    allowed = ((0, 1, 4), (2, 3, 5))

    def mask(self, place: int) -> np.ndarray:
        """Which codes are allowed there. `[6]`."""
        return np.isin(np.arange(6), self.allowed[place % 2]).astype(np.int8)

    def __call__(self, action: Any, place: int) -> int:
        """The step, or an error for what is forbidden."""
        if int(action) not in self.allowed[place % 2]:
            raise ValueError(f"the action {action} is forbidden at {place}")
        return (-1, 1, -1, 1, 0, 0)[int(action)]


ACTIONS: dict[str, Callable[[], Way]] = {
    "two": codes,
    "start_at_one": partial(codes, 1),
    "start_below_zero": partial(codes, -1),
    "forty": partial(codes, 0, 40),
    "masked": lambda: (spaces.Discrete(6), Masked()),
    "multi_discrete": lambda: first_of(spaces.MultiDiscrete([2, 3])),
    "multi_binary": lambda: first_of(spaces.MultiBinary(2)),
    "box": partial(numbers, -1, 1, 0),
    "box_far": partial(numbers, 10, 20, 15),
    "box_tiny": partial(numbers, -1e-4, 1e-4, 0),
    "box_float64": partial(numbers, -3, -1, -2, np.float64),
    "box_unbounded": partial(numbers, -np.inf, np.inf, 0),
    "box_half_bounded": partial(numbers, 0, np.inf, 1),
    "box_whole": partial(numbers, 0, 10, 4, np.int64),
    "dict": lambda: (spaces.Dict({"go": spaces.Discrete(2)}), lambda action, _: 2 * int(action["go"]) - 1),
    "tuple": lambda: (spaces.Tuple([spaces.Discrete(2)]), lambda action, _: 2 * int(action[0]) - 1),
    "sequence": lambda: (spaces.Sequence(spaces.Discrete(2)), lambda action, _: 1 if len(action) % 2 else -1),
    "text": lambda: (spaces.Text(3), lambda action, _: 1 if action == "r" else -1),
}
