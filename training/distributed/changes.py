"""What has changed in a nested state since it was last sent: of a tensor that grew, or changed here and there, rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Leaves = dict[tuple[Any, ...], Any]
"""What a nested state of dicts and lists holds, by its place in it; an empty dict or list stands where one is."""

MOST = 0.5
"""Share of the rows of a tensor up to which only those that changed are sent."""


@dataclass(frozen=True)
class Rows:
    """Rows of a tensor that have changed, and how many it has now.

    Attributes:
        count: N.
        at: Which. `[n]`
        rows: What they are now. `[n, ...]`
    """

    count: int
    at: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Gone:
    """There is nothing any more at a place."""


def leaves(state: Any, place: tuple[Any, ...] = ()) -> Leaves:
    """Copies of all tensors, in the main memory, and of arrays, and the other values, by their place."""
    if isinstance(state, Tensor):
        return {place: state.detach().to("cpu", copy=True)}
    if not isinstance(state, dict | list):
        return {place: state.copy() if isinstance(state, np.ndarray) else state}
    found: Leaves = {place: type(state)()}
    for name, part in state.items() if isinstance(state, dict) else enumerate(state):
        found |= leaves(part, (*place, name))
    return found


def nested(found: Leaves) -> Any:
    """The state of which these are the leaves."""
    made = {place: type(one)() if isinstance(one, dict | list) else one for place, one in found.items()}
    for place, one in made.items():
        if not place:
            continue
        holder = made[place[:-1]]
        if isinstance(holder, list):
            holder.append(one)
        else:
            holder[place[-1]] = one
    return made[()]


def changes(before: Leaves, now: Leaves) -> Leaves:
    """What turns the leaves before into those of now: new leaves, `Rows` of one, `Gone`; nothing where none changed."""
    changed: Leaves = {place: Gone() for place in before.keys() - now.keys()}
    for place, value in now.items():
        if place not in before:
            changed[place] = value
        elif not _same(before[place], value):
            changed[place] = _rows(before[place], value)
    return changed


def applied(before: Leaves, changed: Leaves) -> Leaves:
    """The leaves after the changes; those before stay as they are."""
    after = {place: value for place, value in before.items() if not isinstance(changed.get(place), Gone)}
    for place, change in changed.items():
        if isinstance(change, Rows):
            after[place] = _with_rows(before[place], change)
        elif not isinstance(change, Gone):
            after[place] = change
    return after


def _same(before: Any, now: Any) -> bool:
    if type(before) is not type(now):
        return False
    if isinstance(now, Tensor):
        return before.dtype == now.dtype and before.shape == now.shape and not _differing(before, now).any()
    return bool(before.shape == now.shape and (before == now).all()) if hasattr(now, "shape") else before == now


def _rows(before: Any, now: Any) -> Any:
    """The rows of a tensor that differ, if they are few enough; else all of what is now."""
    grown = isinstance(now, Tensor) and isinstance(before, Tensor) and now.dim() and now.dtype == before.dtype
    if not grown or now.shape[1:] != before.shape[1:] or len(now) < len(before):
        return now
    old = _differing(before, now[: len(before)]).flatten(1).any(1) if before.numel() else torch.zeros(len(before)) > 0
    at = torch.cat([old, torch.ones(len(now) - len(before), dtype=torch.bool)]).nonzero().squeeze(1)
    return Rows(len(now), at, now[at]) if len(at) <= MOST * len(now) else now


def _differing(before: Tensor, now: Tensor) -> Tensor:
    """Where they differ; one that is no number is like another.  `[N, ...]` -> `[N, ..., 1]` of bool."""
    same = (before == now) | ((before != before) & (now != now))
    return ~same.unsqueeze(-1)


def _with_rows(before: Tensor, change: Rows) -> Tensor:
    after = before.new_empty(change.count, *before.shape[1:])
    after[: len(before)] = before
    after[change.at] = change.rows
    return after
