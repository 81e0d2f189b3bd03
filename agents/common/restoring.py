"""Restoring a state whole or not at all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar

import torch


class _Saved(Protocol):
    def state_dict(self) -> dict[str, Any]:
        """What it is."""


S = TypeVar("S", bound=_Saved)


def all_or_nothing(load: Callable[[S, dict[str, Any]], None]) -> Callable[[S, dict[str, Any]], None]:
    """A `load_state_dict` that puts back what was there before if it fails, and raises what it raised."""

    @wraps(load)
    def guarded(self: S, state: dict[str, Any]) -> None:
        before = copy.deepcopy(self.state_dict())
        try:
            load(self, state)
        except Exception:
            load(self, before)
            raise

    return guarded


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimiser what another has gathered; its rate and other settings stay those that it was made with."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]
    optimiser.load_state_dict(copy.deepcopy(state))
    for group, settings in zip(optimiser.param_groups, own, strict=True):
        group.update(settings)
