"""Rows to be written: checked before anything changes, and split where one depends on another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.checks import LARGEST_VALUE, limited, real
from engram_rl.memory.keys.identity import NOBODY
from engram_rl.memory.keys.space import Keys


@dataclass(frozen=True)
class Batch:
    """Rows to be written.

    Attributes:
        keys: Of B rows.
        values: `[B, V]`
        priority: `[B]`
        identity: `[B]` int64, `NOBODY` where there is none.
    """

    keys: Keys
    values: Tensor
    priority: Tensor
    identity: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(self.keys[rows], self.values[rows], self.priority[rows], self.identity[rows])

    @property
    def named(self) -> Tensor:
        """Which rows have an identity.  `[B]` bool."""
        return torch.from_numpy(self.identity != NOBODY)

    def distinct(self) -> int:
        """How many rows there are before the first whose identity an earlier row has."""
        if (self.identity == NOBODY).all():
            return len(self)
        first = np.unique(self.identity, return_index=True)[1]
        if len(first) == len(self):
            return len(self)
        repeats = np.setdiff1d(np.flatnonzero(self.identity != NOBODY), first, assume_unique=True)
        return int(repeats[0]) if len(repeats) else len(self)


def checked_batch(keys: Keys, values: Tensor, priority: Tensor | None, identity: Tensor | None, like: Tensor) -> Batch:
    """The rows on the device and in the precision of `like`, the values stored so far `[N, V]`.

    Raises:
        ValueError: Shapes or numbers are not those of entries.
    """
    rows, width = len(keys), like.shape[1]
    if real("values", values).shape != (rows, width):
        raise ValueError(f"values have shape {tuple(values.shape)}; expected [{rows}, {width}]")
    if not limited(values.to(like), LARGEST_VALUE):
        raise ValueError(
            f"a value is NaN, infinite or above {LARGEST_VALUE:g} in size; values must be finite and smaller"
        )
    priority = torch.zeros(rows) if priority is None else real("priority", priority)
    if priority.shape != (rows,):
        raise ValueError(f"priority has shape {tuple(priority.shape)}; expected [{rows}]")
    if not (sound := (priority >= 0) & torch.isfinite(priority)).all():
        raise ValueError(f"priority holds {float(priority[~sound][0])}; it must be finite and at least 0")
    names = np.full(rows, NOBODY) if identity is None else checked_identity(identity)
    if len(names) != rows:
        raise ValueError(f"identity has {len(names)} rows; expected {rows}")
    return Batch(keys, values.to(like), priority.to(like), names)


def checked_identity(identity: Tensor) -> np.ndarray:
    """Identities as an array.  `[B]` int64."""
    if real("identity", identity).dtype != torch.int64 or identity.dim() != 1:
        raise ValueError(f"identity is {identity.dtype} {tuple(identity.shape)}; expected int64 [batch]")
    names = identity.cpu().numpy()
    if (names == NOBODY).any():
        raise ValueError(f"identity {NOBODY} stands for none; use any other number")
    return names


def checked_slots(exclude: Tensor | None, rows: int, device: torch.device) -> Tensor | None:
    """Slots to leave out, `[B]` or `[B, E]` -> `[B, E]` int64."""
    if exclude is None:
        return None
    slots = real("exclude", exclude).to(device)
    slots = slots.unsqueeze(1) if slots.dim() == 1 else slots
    if slots.dim() != 2 or len(slots) != rows or slots.dtype != torch.int64:
        raise ValueError(
            f"exclude is {exclude.dtype} {tuple(exclude.shape)}; expected int64 [{rows}] or [{rows}, E] slots"
        )
    return slots
