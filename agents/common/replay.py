"""A ring of past experience, sampled uniformly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from engram_rl.agents.common.observations import batch_size, map_observation, put_rows, rows_of
from engram_rl.memory.checks import require_ram


class Replay:
    """Keeps the newest `capacity` rows of named arrays and draws uniform minibatches from them.

    Args:
        capacity: Rows, at least 1. Buffers take their shapes and dtypes from the first rows added.
        generator: Draws the minibatches; its state belongs to `state_dict`.
    """

    def __init__(self, capacity: int, generator: torch.Generator):
        if capacity < 1:
            raise ValueError(f"A replay of capacity {capacity} holds nothing; it must be at least 1.")
        self._capacity = capacity
        self._generator = generator
        self._buffers: dict[str, Any] = {}
        self._next = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, rows: dict[str, Any]) -> None:
        """Append rows, `{name: [B, ...]}`; the oldest make room."""
        if not self._buffers:
            self._buffers = map_observation(self._room_for, rows)
        count = batch_size(next(iter(rows.values())))
        at = (self._next + np.arange(count)) % self._capacity
        newest = slice(-self._capacity, None)
        put_rows(self._buffers, at[newest], rows_of(rows, newest))
        self._next = (self._next + count) % self._capacity
        self._size = min(self._size + count, self._capacity)

    def sample(self, count: int) -> dict[str, Any]:
        """Draw `count` rows with replacement, `{name: [count, ...]}`."""
        return self._rows(self._positions(count))

    def sample_episodes(self, count: int, opens: str) -> dict[str, Any]:
        """Draw whole episodes, one after the other, until they have `count` rows, `{name: [count or more, ...]}`.

        An episode is drawn as often as it is long. One whose first rows have made room is none.

        Args:
            count: Rows.
            opens: The part that says whether a row opens an episode; rows of an episode were added in order.

        Returns:
            Rows, none where no episode is whole.
        """
        order = (self._next + np.arange(self._size)) % self._size
        first = np.flatnonzero(self._buffers[opens][order])  # [P]
        if not len(first):
            return rows_of(self._buffers, first)
        last = np.append(first[1:], self._size)  # [P]
        at = first[0] + torch.randint(self._size - int(first[0]), (count,), generator=self._generator).numpy()
        drawn = np.searchsorted(first, at, side="right") - 1  # [count]
        drawn = drawn[: 1 + int(np.searchsorted(np.cumsum(last[drawn] - first[drawn]), count))]
        rows = np.concatenate([np.arange(first[one], last[one]) for one in drawn])
        return rows_of(self._buffers, order[rows])

    def state_dict(self) -> dict[str, Any]:
        """The rows held, in place, and the generator's state."""
        rows = map_observation(lambda buffer: buffer[: self._size].copy(), self._buffers)
        return {"rows": rows, "next": self._next, "size": self._size, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore rows and generator."""
        if state["size"] > self._capacity:
            raise ValueError(f"The state holds {state['size']} rows, this replay at most {self._capacity}.")
        self._size = state["size"]
        self._next = (state["next"] if self._size == self._capacity else self._size) % self._capacity
        self._generator.set_state(state["generator"])
        self._buffers = map_observation(self._room_for, state["rows"]) if state["rows"] else {}
        if state["rows"]:
            put_rows(self._buffers, slice(self._size), rows_of(state["rows"], self._order_of(state)))

    def _order_of(self, state: dict[str, Any]) -> np.ndarray:
        """Which row of a state comes where: each in its place, but the oldest first where there is room behind them."""
        held = np.arange(state["size"])
        return held if len(held) == self._capacity else (state["next"] + held) % state["size"]

    def _positions(self, count: int) -> np.ndarray:
        """Of rows that are held, uniformly drawn. `[count]`."""
        if not self._size:
            raise ValueError("Nothing to sample: the replay is empty.")
        return torch.randint(self._size, (count,), generator=self._generator).numpy()

    def _rows(self, at: np.ndarray) -> dict[str, Any]:
        """Copies of the rows there. `[count]` to `{name: [count, ...]}`."""
        return rows_of(self._buffers, at)

    def _room_for(self, rows: np.ndarray) -> np.ndarray:
        what = f"a replay of capacity {self._capacity} of rows of {rows[:1].nbytes} bytes"
        require_ram(what, self._capacity * rows[:1].nbytes, "lower replay_capacity")
        return np.empty((self._capacity, *rows.shape[1:]), dtype=rows.dtype)
