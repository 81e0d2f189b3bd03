"""How every step was come to: trajectories that share what they have in common, as a tree of actions."""

from __future__ import annotations

from typing import Any

import numpy as np

from engram_rl.memory.checks import require_ram, whole

ROOT = 0
"""The node of an episode that has just begun."""

NONE = -1


class Trajectories:
    """A tree in which a node is what was done so far in an episode: its parent, then one action.

    A step adds one node for each environment. When the tree is full, what leads to no node that is still wanted goes;
    if that is less than half of it, the tree grows. A parent comes before its children.

    Args:
        capacity: Nodes at which it is tidied first, N. Memory: 8 bytes each.
    """

    def __init__(self, capacity: int = 2**16) -> None:
        whole("capacity", capacity, 2)
        require_ram(f"capacity={capacity} nodes of trajectories", 8 * capacity, "lower the capacity")
        self._parent = np.full(capacity, NONE, np.int32)  # [N]
        self._action = np.full(capacity, NONE, np.int32)  # [N]
        self._size = 1  # the root

    def __len__(self) -> int:
        """Nodes, the root among them."""
        return self._size

    def room_for(self, count: int) -> bool:
        """Whether so many nodes can be added before it is tidied."""
        return self._size + count <= len(self._parent)

    def add(self, parents: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """New nodes: after `parents` `[B]`, actions `[B]`. `[B]`."""
        nodes = np.arange(self._size, self._size + len(parents))
        self._parent[nodes], self._action[nodes] = parents, actions
        self._size += len(parents)
        return nodes

    def actions_to(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All actions from the root to nodes `[B]`, padded with -1; and how many. `[B, L]`, `[B]`."""
        here, backwards = np.asarray(nodes), []
        while (here != ROOT).any():
            backwards.append(np.where(here == ROOT, NONE, self._action[here]))
            here = np.where(here == ROOT, ROOT, self._parent[here])
        reverse = np.stack(backwards, 1) if backwards else np.zeros((len(here), 0), np.int32)  # [B, L], last first
        lengths = (reverse != NONE).sum(1)
        at = lengths[:, None] - 1 - np.arange(reverse.shape[1])
        return np.where(at >= 0, np.take_along_axis(reverse, np.maximum(at, 0), 1), NONE), lengths

    def tidy(self, wanted: np.ndarray) -> np.ndarray:
        """Keep nodes `[M]` and what leads to them. Returns what every node is called now, -1 for gone. `[N]`."""
        kept = np.zeros(self._size, bool)
        kept[ROOT] = True
        ahead = np.unique(wanted)
        while len(ahead := ahead[~kept[ahead]]):
            kept[ahead] = True
            ahead = np.unique(self._parent[ahead])
        names = np.where(kept, np.cumsum(kept) - 1, NONE)
        old = np.flatnonzero(kept)
        parents, actions = self._parent[old], self._action[old]
        self._size = len(old)
        while 2 * self._size > len(self._parent):
            self._grow()
        self._parent[: self._size], self._action[: self._size] = names[parents], actions
        self._parent[ROOT] = NONE
        return names

    def state_dict(self) -> dict[str, Any]:
        """The nodes, and how many there may be."""
        held = slice(self._size)
        return {
            "parent": self._parent[held].copy(),
            "action": self._action[held].copy(),
            "capacity": len(self._parent),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._size = len(state["parent"])
        self._parent = np.full(state["capacity"], NONE, np.int32)
        self._action = self._parent.copy()
        self._parent[: self._size], self._action[: self._size] = state["parent"], state["action"]

    def _grow(self) -> None:
        more = np.full(len(self._parent), NONE, np.int32)
        require_ram(f"{2 * len(more)} nodes of trajectories", 16 * len(more), "lower agent.capacity")
        self._parent = np.concatenate([self._parent, more])
        self._action = np.concatenate([self._action, more])
