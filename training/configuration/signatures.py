"""Values of a configuration against the annotations of what they are given to."""

from __future__ import annotations

import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, open_dict

from engram_rl.training.errors import UsageError

KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a word"),
    types.NoneType: ((types.NoneType,), "null"),
}
"""Which values each annotation takes, and what it is called."""

OWN: dict[str, Any] = {"_target_": str, "_partial_": bool}
"""What Hydra takes where a node names a class or function."""


def require_types(config: DictConfig, place: str) -> None:
    """Check every value against the annotation of the parameter it is given to, in all nodes with a `_target_`.

    Only plain annotations are checked: numbers, words, true or false, null, lists of these, and choices between them.

    Args:
        config: A node; those without a `_target_` are searched for nodes that have one.
        place: Where it stands in the configuration, for the error.

    Raises:
        UsageError: A value that its annotation rules out.
    """
    target: Any = config.get("_target_")
    if target == "":
        raise UsageError(f"{place}._target_ is ''; it must name a class or a function.")
    hints = OWN | (_hints(target) if isinstance(target, str) else {})
    for name, value in config.items():
        key = str(name)
        if key in hints and not _takes(hints[key], value):
            wanted = " or ".join(dict.fromkeys(_called(hints[key])))
            raise UsageError(f"{place}.{key} is {value!r}, but {target or 'Hydra'} takes {wanted} there.")
        if isinstance(value, DictConfig):
            require_types(value, f"{place}.{key}")


def in_whole_numbers(config: DictConfig) -> DictConfig:
    """The same with 1e5 as 100000 wherever a parameter takes whole numbers, in all nodes with a `_target_`."""
    target: Any = config.get("_target_")
    hints = _hints(target) if isinstance(target, str) and target else {}
    changed = config.copy()
    with open_dict(changed):
        for name, value in config.items():
            if isinstance(value, DictConfig):
                changed[name] = in_whole_numbers(value)
            elif str(name) in hints:
                changed[name] = _whole(hints[str(name)], value)
    return changed


def _whole(hint: Any, value: Any) -> Any:
    if isinstance(value, ListConfig) and typing.get_origin(hint) is Sequence:
        return [_whole(typing.get_args(hint)[0], one) for one in value]
    kinds = (hint, *typing.get_args(hint))  # no set: those of what makes a core hold a list
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        return int(value)
    return value


def _hints(target: str) -> dict[str, Any]:
    """Annotations of the parameters of a class or function, those that can be resolved."""
    try:
        made: Any = get_object(target)
        parameters = inspect.signature(made).parameters
    except (ImportError, ValueError, TypeError):
        return {}
    called = getattr(made, "__init__", made) if isinstance(made, type) else made
    hints: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if parameter.annotation is parameter.empty:
            continue
        with contextlib.suppress(NameError, TypeError, AttributeError):
            one = types.SimpleNamespace(__annotations__={name: parameter.annotation})
            hint = typing.get_type_hints(one, getattr(called, "__globals__", {}))[name]
            hints[name] = typing.Optional[hint] if parameter.default is None else hint  # noqa: UP045  (not of a constant)
    return hints


def _takes(hint: Any, value: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        plain = value is None or isinstance(value, str | int | float)  # a node may become an object of any class
        return any(_takes(one, value) for one in arguments if not plain or one in KINDS or typing.get_origin(one))
    if origin is Literal:
        return value in arguments
    if origin is Sequence:
        return isinstance(value, ListConfig) and all(_takes(arguments[0], one) for one in value)
    if origin is Mapping:
        return isinstance(value, DictConfig)
    if origin is Callable:
        return isinstance(value, DictConfig) and "_target_" in value
    if hint not in KINDS:
        return True
    return isinstance(value, KINDS[hint][0]) and (hint is bool or not isinstance(value, bool))


def _called(hint: Any) -> Iterator[str]:
    """What a hint takes, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for one in arguments:
            yield from _called(one)
    elif origin is Literal:
        yield f"one of {', '.join(map(str, arguments))}"
    elif origin is Sequence:
        yield f"a list, each of it {' or '.join(_called(arguments[0]))}"
    elif origin is Mapping:
        yield "names with values"
    elif origin is Callable:
        yield "what makes it, {_target_: ..., _partial_: true}"
    else:
        yield KINDS[hint][1] if hint in KINDS else str(getattr(hint, "__name__", hint))
