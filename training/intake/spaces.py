"""Observation spaces as agents are shown them: arrays of a fixed size, or Dicts of such, of any depth.

A Tuple is shown as a Dict whose parts are called "0", "1", ...; text is left out and said to be; what has no fixed size
is refused by name before anything is trained.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from gymnasium import Space, spaces

from engram_rl.training.errors import UsageError, say_once

NUMERIC = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def parts_of(space: Space) -> dict[str, Space] | None:
    """The parts of a Dict or Tuple by name; None for other spaces."""
    if isinstance(space, spaces.Dict):
        return dict(space.spaces)
    if isinstance(space, spaces.Tuple):
        return {str(number): part for number, part in enumerate(space.spaces)}
    return None


def presented(space: Space, environment: str) -> Space:
    """The space as agents are shown it; the space itself where nothing changes.

    Args:
        space: Of one environment.
        environment: Its id, for errors.

    Raises:
        UsageError: It has a part that is neither numbers nor text, or nothing but text.
    """
    try:
        shown = _presented(space, "", environment)
    except _UnsizedError as refused:
        raise UsageError(_refusal(space, refused.place, refused.space, environment)) from None
    if shown is None or not _size(shown):
        raise UsageError(
            f"The observations of {environment} hold no numbers, but {space}. Turn them into numbers in a wrapper: "
            f"{_OWN_WRAPPER}"
        )
    return shown


def _presented(space: Space, place: str, environment: str) -> Space | None:
    if isinstance(space, NUMERIC):
        return _in_plain_numbers(space)
    parts = parts_of(space)
    if parts is None:
        if not _is_text(space):
            raise _UnsizedError(place, space)
        if place:
            say_once(f"{environment}: the part {place!r} of its observations is text; agents are not shown it.")
        return None
    shown = {name: _presented(part, f"{place}.{name}" if place else name, environment) for name, part in parts.items()}
    kept = OrderedDict((name, part) for name, part in shown.items() if part is not None)
    if isinstance(space, spaces.Dict) and all(kept.get(name) is part for name, part in space.spaces.items()):
        return space if kept else None
    return spaces.Dict(kept) if kept else None


def _in_plain_numbers(space: Space) -> Space:
    """The space; a Box of foreign byte order, or wider than 64 bits, as one of numbers that torch has as well."""
    dtype = space.dtype
    if not isinstance(space, spaces.Box) or dtype is None or (dtype.isnative and dtype.itemsize <= 8):
        return space
    plain = np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")
    return spaces.Box(space.low.astype(plain), space.high.astype(plain), dtype=plain.type)


def _size(space: Space) -> int:
    """How many numbers an observation has."""
    if isinstance(space, spaces.Dict):
        return sum(_size(part) for part in space.spaces.values())
    return int(np.prod(space.shape or ()))


def _is_text(space: Space) -> bool:
    """Text, or a space of words such as MiniGrid's missions."""
    return isinstance(space, spaces.Text) or (space.dtype is not None and space.dtype.kind in "US")


_OWN_WRAPPER = (
    "env.wrappers=[{_target_: gymnasium.wrappers.TransformObservation, _partial_: true, func: {_target_: "
    "hydra.utils.get_method, path: my_module.to_numbers}, observation_space: {_target_: gymnasium.spaces.Box, low: -1, "
    "high: 1, shape: [8]}}] where to_numbers is a function of yours."
)


class _UnsizedError(Exception):
    """A part, by its place, and its space: neither numbers nor text."""

    def __init__(self, place: str, space: Space):
        super().__init__(place)
        self.place, self.space = place, space


def _refusal(whole: Space, place: str, space: Space, environment: str) -> str:
    kind, where = type(space).__name__, f"The part {place!r} of the observations" if place else "The observations"
    said = f"{where} of {environment}: {space}. A {kind} has no fixed size, which agents and memories need."
    kept = [name for name, part in (parts_of(whole) or {}).items() if _sized(part)]
    if not kept:
        return f"{said} Turn it into numbers in a wrapper: {_OWN_WRAPPER}"
    keys = ", ".join(name if name.isidentifier() or name.isdigit() else repr(name) for name in kept)
    return (
        f"{said} Keep the other parts with env.wrappers=[{{_target_: gymnasium.wrappers.FilterObservation, _partial_: "
        f"true, filter_keys: [{keys}]}}], or turn it into numbers: {_OWN_WRAPPER}"
    )


def _sized(space: Space) -> bool:
    try:
        return _presented(space, "", "") is not None
    except _UnsizedError:
        return False
