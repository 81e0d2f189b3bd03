"""Ways to show a place of the corridor: each a space, and a function of the place and the steps so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium import Space, spaces

PLACES = 7
LAST, MIDDLE = PLACES - 1, PLACES // 2

LARGEST = float(np.finfo(np.float32).max)

Show = Callable[[int, int], Any]
Way = tuple[Space, Show]


def vector(dtype: Any = np.float32, low: float = 0.0, high: float = LAST, offset: float = 0.0, by: float = 1.0) -> Way:
    """Two numbers: the place, from `offset` on in steps of `by`, and one that never changes."""
    space = spaces.Box(low, high, (2,), dtype)
    return space, lambda place, _: np.array([offset + by * place, offset], dtype)


def picture(shape: tuple[int, ...], dtype: Any = np.uint8, high: float = 255, channels: str = "last") -> Way:
    """A bright bar where the agent is; other pixels are dark."""
    side = shape[0] if channels == "first" or len(shape) == 2 else shape[-2]
    width = {"last": shape[-2] if len(shape) > 2 else shape[-1], "first": shape[-1]}[channels]
    del side
    space = spaces.Box(0, high, shape, dtype)

    def show(place: int, _: int) -> np.ndarray:
        image = np.zeros(shape, dtype)
        bar = slice(place * width // PLACES, (place + 1) * width // PLACES)
        image[(..., bar) if channels == "first" or len(shape) == 2 else (..., bar, slice(None))] = high
        return image

    return space, show


def brightness() -> Way:
    """A picture of one colour, whose brightness is the place."""
    space = spaces.Box(0, 255, (16, 16, 3), np.uint8)
    return space, lambda place, _: np.full((16, 16, 3), 10 + 40 * place, np.uint8)


def symbols() -> Way:
    """A small grid of codes, as MiniGrid's."""
    space = spaces.Box(0, 10, (PLACES, 3, 3), np.uint8)

    def show(place: int, _: int) -> np.ndarray:
        grid = np.ones((PLACES, 3, 3), np.uint8)
        grid[place, 1] = (10, 0, 3)
        return grid

    return space, show


def parts(*names: str) -> Way:
    """A Dict: the place in the first part, nothing of interest in the others."""
    first, *others = names
    spaces_of: dict[str, Space] = {first: spaces.Box(0, LAST, (1,), np.float32)}
    spaces_of |= {name: spaces.Box(-1, 1, (2,), np.float32) for name in others}
    space = spaces.Dict(spaces_of)

    def show(place: int, _: int) -> dict[str, Any]:
        return {first: np.array([place], np.float32)} | {name: np.zeros(2, np.float32) for name in others}

    return space, show


def with_part(name: str, space: Space, value: Any) -> Way:
    """The place beside a part of another kind."""
    whole = spaces.Dict({"where": spaces.Box(0, LAST, (1,), np.float32), name: space})
    return whole, lambda place, _: {"where": np.array([place], np.float32), name: value}


def tuple_of(*others: Space) -> Way:
    """A Tuple: the place, and parts that never change."""
    for other in others:
        other.seed(0)  # so that they are the same in every world
    rest = [(other, other.sample()) for other in others]
    space = spaces.Tuple([spaces.Discrete(PLACES), *others])
    return space, lambda place, _: (place, *(value for _, value in rest))


def only(space: Space, show: Callable[[int], Any]) -> Way:
    """Any space, with a function of the place."""
    return space, lambda place, _: show(place)


def graph() -> spaces.Graph:
    """Nodes of two numbers, no edges."""
    return spaces.Graph(spaces.Box(-1, 1, (2,), np.float32), None)


def sometimes(way: Way, wrong: Callable[[Any], Any], first: bool) -> Way:
    """Shows what is no observation: at once, or after 40 steps."""
    space, show = way
    return space, lambda place, steps: wrong(show(place, steps)) if first or steps > 40 else show(place, steps)


def _with(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda right: np.array([right[0], value], right.dtype)


DISCRETE = partial(only, spaces.Discrete(PLACES))

OBSERVATIONS: dict[str, Callable[[], Way]] = {
    "vector": vector,
    "float64": partial(vector, np.float64),
    "float16": partial(vector, np.float16),
    "int64": partial(vector, np.int64),
    "int8": partial(vector, np.int8, -128, 127, -3),
    "uint8_row": partial(vector, np.uint8, 0, 255, 10, 40),
    "uint16_row": partial(vector, np.uint16, 0, 65535, 100, 9000),
    "bool": partial(only, spaces.Box(0, 1, (PLACES,), np.bool_), lambda place: np.arange(PLACES) == place),
    "unbounded": partial(vector, np.float32, -np.inf, np.inf),
    "largest_bounds": partial(vector, np.float32, -LARGEST, LARGEST),
    "half_bounded": partial(vector, np.float32, 0, np.inf),
    "constant_part": lambda: only(
        spaces.Box(np.array([0.0, 5.0]), np.array([LAST, 5.0]), dtype=np.float64), lambda place: np.array([place, 5.0])
    ),
    "tiny_bounds": partial(vector, np.float32, 0, 1e-3, 0, 1e-4),
    "far_from_zero": partial(vector, np.float32, 1000, 1006, 1000),
    "wide_bounds": partial(vector, np.float64, 0, 1e6, 0, 1e5),
    "negative_bounds": partial(vector, np.float32, -LAST, 0, -LAST),
    "no_axis": lambda: only(spaces.Box(0, LAST, (), np.float32), lambda place: np.float32(place)),
    "small_picture": partial(picture, (16, 16, 3)),
    "brightness": brightness,
    "symbols": symbols,
    "picture": partial(picture, (42, 42, 3)),
    "channels_first": partial(picture, (3, 42, 42), channels="first"),
    "float_picture": partial(picture, (42, 42, 3), np.float32, 1.0),
    "grey_picture": partial(picture, (42, 42)),
    "stack_of_pictures": partial(picture, (4, 42, 42, 1)),
    "discrete": partial(DISCRETE, lambda place: place),
    "discrete_start": partial(only, spaces.Discrete(PLACES, start=-3), lambda place: place - 3),
    "discrete_array": partial(DISCRETE, lambda place: np.array([place])),
    "multi_discrete": partial(only, spaces.MultiDiscrete([PLACES, 3]), lambda place: np.array([place, 2])),
    "multi_discrete_start": partial(
        only, spaces.MultiDiscrete([PLACES, 3], start=[1, -1]), lambda place: np.array([place + 1, 1])
    ),
    "multi_binary": partial(
        only, spaces.MultiBinary(PLACES), lambda place: (np.arange(PLACES) == place).astype(np.int8)
    ),
    "named_keys": partial(parts, "keys", "items", "values"),
    "named_with_dot": partial(parts, "arm.pos", "arm", ""),
    "named_like_ours": partial(parts, "observation", "memory", "image", "forward"),
    "tuple": partial(tuple_of, spaces.Box(-1, 1, (2,), np.float32), spaces.MultiBinary(2)),
    "dict_of_tuple": lambda: with_part("bag", spaces.Tuple([spaces.Discrete(3)] * 2), (1, 2)),
    "dict_of_dict": lambda: with_part("in", spaces.Dict({"a": spaces.Discrete(2, start=4)}), {"a": 5}),
    "with_text": lambda: with_part("mission", spaces.Text(20, charset="a delgimot h"), "go to the middle"),
    "with_picture": lambda: with_part(
        "image", spaces.Box(0, 255, (42, 42, 3), np.uint8), np.zeros((42, 42, 3), np.uint8)
    ),
    "list": lambda: only(spaces.Box(0, LAST, (2,), np.float32), lambda place: [place, 0.5]),
    "with_sequence": lambda: with_part("heard", spaces.Sequence(spaces.Discrete(3)), (1, 2)),
    "with_graph": lambda: with_part("map", graph(), graph().sample()),
    "sequence": lambda: only(spaces.Sequence(spaces.Discrete(PLACES)), lambda place: (place,)),
    "graph": lambda: only(graph(), lambda _: graph().sample()),
    "text": lambda: only(spaces.Text(9), str),
    "one_of": lambda: only(spaces.OneOf([spaces.Discrete(PLACES), spaces.Discrete(2)]), lambda place: (0, place)),
    "nan_at_reset": lambda: sometimes(vector(), _with(np.nan), True),
    "nan_later": lambda: sometimes(vector(), _with(np.nan), False),
    "infinite": lambda: sometimes(vector(np.float32, -np.inf, np.inf), _with(np.inf), False),
    "huge": lambda: sometimes(vector(np.float32, -np.inf, np.inf), _with(1e30), False),
    "outside_box": lambda: sometimes(vector(), _with(99.0), True),
    "outside_codes": lambda: sometimes(DISCRETE(lambda place: place), lambda _: -1, False),
    "fraction_of_bytes": lambda: sometimes(vector(np.uint8, 0, 255), lambda right: right + 0.6, False),
    "over_bytes": lambda: sometimes(vector(np.uint8, 0, 255), lambda right: right.astype(int) + 300, False),
    "other_shape": lambda: sometimes(vector(), lambda right: right[:1], False),
    "part_missing": lambda: sometimes(parts("a", "b"), lambda right: {"a": right["a"]}, False),
    "nothing": lambda: sometimes(vector(), lambda _: None, False),
}
