"""What an action does wherever it is done: movements recalled by action alone, for states never visited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from engram_rl.memory.checks import whole
from engram_rl.memory.keys.identity import occurrence

_SAVED = ("displacements", "begun", "stored")


class MovementMemory:
    """The last `size` displacements `next - state` of every action, by owner: rings in arrays.

    Recall is by an incomplete key, the action without the state: of the remembered displacements the most frequent is
    taken, the latest among equals. `context` names numbers of the state that belong to the key after all, such as a
    heading where an agent moves forward: then only displacements that began with the same context count.

    Args:
        owners: Number of separate partitions, O.
        num_actions: Number of actions, A.
        dim: Numbers in a state, D.
        size: Displacements remembered per owner and action, M. Memory: `4 O A M (C + D)` bytes. Recall compares pairs.
        context: Which of the D numbers of a state a movement depends on.
        optimistic: Do not believe that an action changes nothing (it was blocked) while any other displacement of it is
            remembered.
        decimals: Places behind the point to which displacements are rounded, so that those between states of so many
            places are equal where they should be; None: they are not.
    """

    def __init__(
        self,
        owners: int,
        num_actions: int,
        dim: int,
        size: int = 32,
        context: Sequence[int] = (),
        optimistic: bool = True,
        decimals: int | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"a movement memory keeps size >= 1 displacements, got {size}")
        if any(not 0 <= number < dim for number in context):
            raise ValueError(f"context {list(context)} must name numbers of the state, 0 to {dim - 1}")
        self.context = [whole("a number of context", number, 0) for number in context]
        self.optimistic, self.decimals = optimistic, decimals
        self.displacements = np.zeros((owners * num_actions, size, dim), np.float32)  # [O A, M, D]
        self.begun = np.zeros((owners * num_actions, size, len(self.context)), np.float32)  # [O A, M, C]
        self.stored = np.zeros(owners * num_actions, np.int64)  # [O A], ever; ring position is this modulo M
        self._num_actions = num_actions

    @property
    def size(self) -> int:
        """Displacements remembered per owner and action, M."""
        return self.displacements.shape[1]

    def store(self, owners: np.ndarray, actions: np.ndarray, states: np.ndarray, next_states: np.ndarray) -> None:
        """Remember movements from `[B, D]` to `[B, D]`, in order, in place of the oldest of that owner and action."""
        rings = self._rings(owners, actions)
        nth = occurrence(rings)
        position = (self.stored[rings] + nth) % self.size
        lasts = nth >= np.bincount(rings)[rings] - self.size  # of more than M into one ring, only the last M remain
        displacements = (next_states - states)[lasts]
        if self.decimals is not None:
            displacements = np.round(displacements.astype(np.float64), self.decimals)
        self.displacements[rings[lasts], position[lasts]] = displacements
        self.begun[rings[lasts], position[lasts]] = states[lasts][:, self.context]
        np.add.at(self.stored, rings, 1)

    def recall(self, owners: np.ndarray, actions: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The displacement to expect of actions `[Q]` in states `[Q, D]`, and which share of what is recalled agrees.

        Returns:
            displacement: 0 where nothing is remembered. `[Q, D]`
            support: Between 0 (nothing remembered) and 1 (every recalled movement was this one). `[Q]`
        """
        return self.recall_by(self._keys(owners, actions, states))

    def touched(self, owners: np.ndarray, actions: np.ndarray, states: np.ndarray) -> np.ndarray:
        """The keys whose movements change by storing movements `[B]`: their own, and those of what makes room for them.

        Returns:
            `[K, 1 + C]`
        """
        rings = self._rings(owners, actions)
        position = (self.stored[rings] + occurrence(rings)) % self.size
        full = self.stored[rings] + occurrence(rings) >= self.size
        leaving = np.concatenate([rings[:, None], self.begun[rings, position]], 1)[full]
        return np.concatenate([self._keys(owners, actions, states), leaving])

    def recall_by(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `recall`, by keys `[Q, 1 + C]`: owner and action in one number, and the context."""
        distinct, inverse = _distinct(keys)  # few differ, and few are worked out
        displacement, support = self._most_frequent(distinct[:, 0].astype(np.int64), distinct[:, 1:])
        return displacement[inverse], support[inverse]

    def distribution(self, action: int, owner: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Remembered displacements of an action, most frequent first, and how often each is there. `[N, D]`, `[N]`."""
        whole("action", action, 0, self._num_actions - 1)
        whole("owner", owner, 0, len(self.stored) // self._num_actions - 1)
        ring = owner * self._num_actions + action
        remembered = self.displacements[ring, : min(self.stored[ring], self.size)]
        distinct, counts = np.unique(remembered, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return distinct[order], counts[order]

    def forget(self, owners: np.ndarray) -> None:
        """Forget the movements of owners `[N]`."""
        self.stored[self._rings(owners[:, None], np.arange(self._num_actions)).reshape(-1)] = 0

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, as tensors."""
        return {name: torch.from_numpy(getattr(self, name).copy()) for name in _SAVED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the memory that `state_dict` described; the shapes must be the same."""
        for name in _SAVED:
            getattr(self, name)[...] = np.asarray(state[name])

    def _keys(self, owners: np.ndarray, actions: np.ndarray, states: np.ndarray) -> np.ndarray:
        return np.concatenate([self._rings(owners, actions)[:, None], states[:, self.context]], 1)

    def _rings(self, owners: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return np.asarray(owners, np.int64) * self._num_actions + actions

    def _most_frequent(self, rings: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Most frequent displacement per ring `[G]` and context `[G, C]`, and its share. `[G, D]`, `[G]`."""
        moved = self.displacements[rings]  # [G, M, D]
        numbers = np.ascontiguousarray(moved.transpose(2, 0, 1))  # [D, G, M]: few numbers, compared one after another
        counts = np.arange(self.size) < np.minimum(self.stored[rings], self.size)[:, None]  # [G, M]
        counts &= (self.begun[rings] == context[:, None]).all(2)
        same = (numbers[..., None] == numbers[:, :, None]).all(0) & counts[..., None]  # [G, M, M]
        votes = np.where(counts, same.sum(1), 0)  # [G, M]
        share = votes / np.maximum(counts.sum(1, keepdims=True), 1)
        age = (self.stored[rings][:, None] - 1 - np.arange(self.size)) % self.size  # [G, M], 0 is the latest
        rank = votes * self.size - age
        if self.optimistic:
            rank -= np.where((numbers == 0).all(0), self.size * self.size, 0)
        best = np.where(counts, rank, np.iinfo(np.int64).min).argmax(1)  # [G]
        group = np.arange(len(rings))
        found = counts.any(1)
        return np.where(found[:, None], moved[group, best], 0), np.where(found, share[group, best], 0)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones of rows `[Q, n]`, and which of them each is `[Q]`; `np.unique` takes several times as long."""
    order = np.lexsort(rows.T)
    ordered = rows[order]
    first = np.ones(len(rows), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(1)
    which = np.empty(len(rows), np.int64)
    which[order] = np.cumsum(first) - 1
    return ordered[first], which
