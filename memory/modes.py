"""A memory computes as it was built, whatever mode its caller computes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import torch
from torch import Tensor, nn

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=nn.Module)

DEVICES = ("cpu", "cuda")


def in_own_mode(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """The method, which computes in its tensors' own precision, and whose tensors may be changed anywhere later.

    What stores and ranks keys counts on the rounding of their dtype: under autocast or TF32 products would be rounded
    to 8 or 11 bits, in what is stored for good. What is made in inference mode could never be written outside it.
    """

    @wraps(method)
    def called(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if _is_plain():
            return method(self, *args, **kwargs)
        with _own_mode():
            return method(self, *args, **kwargs)

    return called


def unrounded(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """The method of a module, which computes in the precision of its parameters, whatever autocast would round.

    What autocast has rounded already is taken as it is: a covariance, say, that is rounded any further is none.
    """

    @wraps(method)
    def called(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        own = next(self.parameters())
        if not torch.is_autocast_enabled(own.device.type):
            return method(self, *args, **kwargs)

        def taken(part: Any) -> Any:
            return part.to(own.dtype) if isinstance(part, Tensor) and part.is_floating_point() else part

        with torch.autocast(own.device.type, enabled=False):
            return method(self, *map(taken, args), **{name: taken(part) for name, part in kwargs.items()})

    return called


class OwnMode:
    """What holds tensors: its copies, and what is unpickled of it, may be changed anywhere, wherever they were made."""

    @in_own_mode
    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        vars(twin).update(deepcopy(vars(self), memo))
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if torch.is_inference_mode_enabled():
            shared = {id(part): part for part in state.values() if isinstance(part, OwnMode | nn.Module)}
            vars(self).update(vars(deepcopy(self, shared)))


def _is_plain() -> bool:
    return not (  # every call passes here, so spelt out
        torch.is_autocast_enabled("cpu")
        or torch.is_autocast_enabled("cuda")
        or torch.is_inference_mode_enabled()
        or torch.get_float32_matmul_precision() != "highest"
    )


@contextmanager
def _own_mode() -> Iterator[None]:
    with ExitStack() as modes:
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))
            modes.enter_context(torch.no_grad())
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if (precision := torch.get_float32_matmul_precision()) != "highest":
            torch.set_float32_matmul_precision("highest")
            modes.callback(torch.set_float32_matmul_precision, precision)
        yield
