"""Observations against their space: kind, shape and codes of single ones, and values of batches, with one error.

A single observation is read before it is put into a batch of the space's dtype, where 0.6 would become 0 and 300 would
become 44; a batch is compared with its bounds as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import Space, spaces

from engram_rl.training.errors import UsageError, say_once
from engram_rl.training.intake.spaces import parts_of

REMEDY = "Mend the environment or its observation_space, or convert in a wrapper (env.wrappers)."
TINY = 1e-3
"""Bounds that are nearer to each other than this are as if they were so far apart, for what is near them."""
MOST = 1e12
"""Numbers beyond this drown all others, in a distance as in a network, and memories refuse keys of them."""
FAR = 1.0
"""How far outside its bounds, in widths of these, a number of a first observation means that the space is wrong."""


def reader(space: Space, shown: Space, who: str, place: str = "", batch: tuple[int, ...] = ()) -> Callable[[Any], Any]:
    """A function from an observation to what agents are shown of it, in the dtypes of its space.

    Args:
        space: Of one environment, as it says itself: a Dict or Tuple may hold parts that no agent is shown.
        shown: What `engram_rl.training.intake.spaces.presented` makes of it.
        who: Whose observations, for errors: "environment 3 (CartPole-v1)".
        place: The part's name, with dots.
        batch: Leading sizes of what is read; `()` for a single observation.

    The function raises UsageError where kind or shape differ, where a value would not survive the dtype, and where
    parts are missing or extra.
    """
    parts = parts_of(space)
    if parts is not None:
        assert isinstance(shown, spaces.Dict)
        readers = {
            name: reader(parts[name], one, who, f"{place}.{name}" if place else name, batch)
            for name, one in shown.spaces.items()
        }
        return _Parts(space, len(parts), readers, who, place)
    if isinstance(space, spaces.Discrete) and not batch:
        return _Code(space, who, place)
    return _Numbers(shown, who, place, batch)


class _Parts:
    """Reads what is shown of a Dict or Tuple, which has `count` parts."""

    def __init__(self, space: Space, count: int, readers: dict[str, Callable[[Any], Any]], who: str, place: str):
        self._space, self._count, self._who, self._place = space, count, who, place
        self._named = isinstance(space, spaces.Dict)
        self._names = set(space.spaces) if isinstance(space, spaces.Dict) else set()
        self._readers = [(name, name if self._named else int(name), read) for name, read in readers.items()]

    def __call__(self, value: Any) -> Any:
        if self._named:
            self._check_names(value)
        elif not isinstance(value, tuple | list) or len(value) != self._count:
            raise UsageError(_mismatch(self._who, self._place, value, self._space, "is no tuple of as many parts"))
        return {name: read(value[key]) for name, key, read in self._readers}

    def _check_names(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise UsageError(_mismatch(self._who, self._place, value, self._space, "has no parts by name"))
        if value.keys() != self._names:
            missing, extra = sorted(self._names - value.keys()), sorted(map(str, value.keys() - self._names))
            why = " and ".join(
                f"{said} {', '.join(map(repr, names))}"
                for said, names in (("lacks", missing), ("adds", extra))
                if names
            )
            raise UsageError(_mismatch(self._who, self._place, value, self._space, why))


class _Code:
    """Reads a Discrete."""

    def __init__(self, space: spaces.Discrete, who: str, place: str):
        self._space, self._who, self._place = space, who, place
        self._first, self._last = int(space.start), int(space.start + space.n - 1)

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, int | np.integer):
            array = _array(value)
            if (
                array is None
                or array.size != 1
                or array.dtype.kind not in "biuf"
                or not float(array.item()).is_integer()
            ):
                raise UsageError(_mismatch(self._who, self._place, value, self._space, "is no code of it"))
            value = int(array.item())
        if not self._first <= value <= self._last:
            raise UsageError(_mismatch(self._who, self._place, value, self._space, "is no code of it"))
        return value


class _Numbers:
    """Reads an array."""

    def __init__(self, space: Space, who: str, place: str, batch: tuple[int, ...]):
        assert space.dtype is not None and space.shape is not None
        self._space, self._who, self._place = space, who, place
        self._dtype, self._shape = space.dtype, (*batch, *space.shape)

    def __call__(self, value: Any) -> Any:
        if type(value) is np.ndarray and value.dtype == self._dtype and value.shape == self._shape:
            return value
        array = _array(value)
        if array is None or array.dtype.kind not in "biuf":
            raise UsageError(_mismatch(self._who, self._place, value, self._space, "is no array of numbers"))
        if array.shape != self._shape:
            raise UsageError(_mismatch(self._who, self._place, value, self._space, f"has shape {array.shape}"))
        with np.errstate(all="ignore"):
            cast = array.astype(self._dtype)
        if self._dtype.kind != "f" and not np.array_equal(cast, array):
            at = tuple(int(i) for i in np.argwhere(np.asarray(cast != array))[0])
            raise UsageError(
                _mismatch(self._who, self._place, array[at].item(), self._space, f"at {list(at)} is none of its values")
            )
        return cast


def _array(value: Any) -> np.ndarray | None:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _mismatch(who: str, place: str, value: Any, space: Space, why: str) -> str:
    given = repr(value)
    given = given if len(given) <= 120 else f"{given[:117]}..."
    what = f"observation {place!r}" if place else "observation"
    return f"The {what} of {who} is not of its space: {given} {why}; the space is {space}. {REMEDY}"


class Bounds:
    """Compares batches of observations with what their space allows, as arrays.

    Codes outside a Discrete, MultiDiscrete or MultiBinary, NaN, infinities and enormous numbers are errors, and so are
    numbers far outside a Box in a first observation, before anything is learned. Those a little outside, or later, as
    rounding and simulators make them, are told once and end no training.

    Args:
        space: Of one environment, as agents are shown it.
        environment: Its id.
        what: "observation", or "final observation".
        codes: Whether a Discrete is compared too; single ones, as `reader` reads them, are codes already.
    """

    def __init__(self, space: Space, environment: str, what: str = "observation", *, codes: bool = True):
        self._parts: dict[str, Bounds] | None = None
        if isinstance(space, spaces.Dict):
            self._parts = {
                name: Bounds(part, environment, _named(what, name), codes=codes) for name, part in space.spaces.items()
            }
            return
        self._space, self._environment, self._what = space, environment, what
        self._limits = _limits(space) if codes or not isinstance(space, spaces.Discrete) else None
        self._told = False

    def check(self, batch: Any, rows: np.ndarray | None = None, *, first: bool = False) -> None:
        """Raise UsageError, naming environment, value and place, if a row holds what it must not.

        Args:
            batch: `[B, ...]`
            rows: Which environments these are; None for all in their order. `[B]`
            first: Whether nothing was observed before.
        """
        if self._parts is not None:
            for name, part in self._parts.items():
                part.check(batch[name], rows, first=first)
        elif self._limits is not None:
            low, high = self._limits
            if not ((batch >= low).all() and (batch <= high).all()):
                self._outside(np.asarray(batch), low, high, rows, first)

    def _outside(self, batch: np.ndarray, low: Any, high: Any, rows: np.ndarray | None, first: bool) -> None:
        low, high = np.broadcast_to(low, batch.shape), np.broadcast_to(high, batch.shape)
        numbers = isinstance(self._space, spaces.Box)
        with np.errstate(all="ignore"):
            slack = (FAR if first else np.inf) * np.maximum(high.astype(np.float64) - low, TINY) if numbers else 0.0
            inside = (batch >= low) & (batch <= high)
            near = (batch >= low - slack) & (batch <= high + slack)
            wrong = ~near | (numbers & ~(np.abs(batch.astype(np.float64)) <= MOST))
        bad = bool(wrong.any())
        if not bad and self._told:
            return
        at = tuple(int(i) for i in np.argwhere(wrong if bad else ~inside)[0])
        environment = at[0] if rows is None else int(rows[at[0]])
        said = (
            f"The {self._what} of environment {environment} holds {batch[at]!s} at {list(at[1:])} "
            f"({self._environment}); of its space {self._space} agents take {low[at]:g} to {high[at]:g}."
        )
        if bad:
            raise UsageError(f"{said} {REMEDY}")
        self._told = True
        say_once(f"{said} Numbers outside its bounds are passed on as they are.")


def _named(what: str, name: str) -> str:
    if what.endswith("'"):
        return f"{what[:-1]}.{name}'"
    return f"{what} {name!r}"


def _limits(space: Space) -> tuple[Any, Any] | None:
    """The lowest and highest values; None where the dtype has no others."""
    if isinstance(space, spaces.Discrete):
        return space.start, space.start + space.n - 1
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    assert isinstance(space, spaces.Box) and space.dtype is not None
    if space.dtype.kind == "b":
        return None
    if space.dtype.kind in "iu":
        whole = np.iinfo(space.dtype)
        if (space.low == whole.min).all() and (space.high == whole.max).all():
            return None
        return _one(space.low), _one(space.high)
    most = min(MOST, float(np.finfo(space.dtype).max))
    return _one(np.maximum(space.low, -most)), _one(np.minimum(space.high, most))


def _one(values: np.ndarray) -> Any:
    """A single number where all are the same, which compares faster."""
    return values.min() if values.size and values.min() == values.max() else values


def copied(observation: Any) -> Any:
    """A copy, so that nothing kept changes when an environment writes into its own array again."""
    if isinstance(observation, dict):
        return {name: copied(part) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(copied(part) for part in observation)
    return observation.copy() if isinstance(observation, np.ndarray) else observation
