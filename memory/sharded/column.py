"""A column of entries that lie in shards, read as the tensor of one memory is."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


class Column:
    """What entries have of something; indexed by slots it fetches their rows, and no others.

        memory.values[slots]    # [..., V]

    Args:
        fetch: Gives rows of slots, zeros where a slot is -1.  `[n]` -> `[n, W]`
    """

    def __init__(self, fetch: Callable[[Tensor], Tensor]) -> None:
        self._fetch = fetch

    def __getitem__(self, slots: Tensor) -> Tensor:
        rows = self._fetch(slots.reshape(-1))
        return rows.reshape(*slots.shape, rows.shape[1])
