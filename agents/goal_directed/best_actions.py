"""What was best done from each cell, over all episodes: what a policy is to imitate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from engram_rl.agents.common.observations import map_observation, put_rows, rows_of
from engram_rl.memory import TransitionMemory
from engram_rl.memory.checks import require_ram


class BestActions:
    """From every cell the action that the highest return ever followed, and an observation of it there.

    Where the world is deterministic each of these actions leads to a cell from which at least as much follows, so that
    together they are a way to reward that no single episode need have gone: the best pieces of all of them.

    Args:
        memory: Names cells.
        generator: Draws minibatches.

    Attributes:
        action: `[S]`, by the cell's id
        to_go: The return that followed it; -inf where nothing is known. `[S]`
    """

    def __init__(self, memory: TransitionMemory, generator: torch.Generator) -> None:
        capacity = memory.states.capacity
        self._memory, self._generator = memory, generator
        self.action = np.zeros(capacity, np.int64)
        self.to_go = np.full(capacity, -np.inf)
        self._cells = np.zeros((capacity, memory.states.dim), np.float32)  # [S, D] whose entries these are
        self._seen: Any = None  # [S, ...], perhaps by name
        self._ids = np.zeros(0, np.int64)  # [N] of which something is known
        self._way = np.zeros(0, np.int64)  # [W] of these, those on the ways last followed

    def __len__(self) -> int:
        return len(self._ids)

    def worth(self, cells: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """What is known to follow in cells `[B, D]`; where nothing is known, what is given `[B]`. `[B]`."""
        ids = self._memory.states.find(cells, np.zeros(len(cells), np.int64))
        known = (ids >= 0) & np.isfinite(self.to_go[ids]) & (self._cells[ids] == cells).all(1)
        return np.where(known, self.to_go[ids], otherwise)

    def take_in(self, observation: Any, cells: np.ndarray, action: np.ndarray, gained: np.ndarray) -> None:
        """Steps of episodes that have ended; those that nothing followed say nothing.

        Args:
            observation: `[N, ...]`, perhaps by name
            cells: `[N, D]`
            action: `[N]`
            gained: The returns that followed. `[N]`
        """
        ids = self._memory.states.find(cells, np.zeros(len(cells), np.int64))
        rows = np.flatnonzero((ids >= 0) & (gained != 0))
        if not len(rows):
            return
        rows = rows[np.argsort(gained[rows], kind="stable")]  # of several from one cell the best stays
        forgotten = (self._cells[ids[rows]] != cells[rows]).any(1)  # by the memory, which gave their ids to others
        self.to_go[ids[rows[forgotten]]] = -np.inf
        rows = rows[gained[rows] > self.to_go[ids[rows]]]
        ids = ids[rows]
        if self._seen is None:
            self._seen = map_observation(self._room_for, observation)
        put_rows(self._seen, ids, rows_of(observation, rows))
        self.action[ids], self.to_go[ids], self._cells[ids] = action[rows], gained[rows], cells[rows]
        self._ids = np.flatnonzero(np.isfinite(self.to_go))

    def follow(self, starts: np.ndarray) -> None:
        """Where the best actions lead from cells (ids) `[B]`, as far as they are known: the best trajectories."""
        on_the_way = np.zeros(len(self.action), bool)
        ahead = starts
        while len(ahead := ahead[self._is_known(ahead) & ~on_the_way[ahead]]):
            on_the_way[ahead] = True
            ahead = self._memory.table.next[ahead, self.action[ahead]]
            ahead = np.unique(ahead[ahead >= 0])
        self._way = np.flatnonzero(on_the_way)

    def sample(self, count: int) -> tuple[Any, np.ndarray]:
        """Observations and what to do, with replacement: half on the ways last followed, the rest anywhere.

        Returns:
            `[count, ...]`, `[count]`
        """
        on_the_way = count // 2 if len(self._way) else 0
        parts = [self._draw(self._way, on_the_way), self._draw(self._ids, count - on_the_way)]
        drawn = np.concatenate(parts)
        return rows_of(self._seen, drawn), self.action[drawn]

    def _is_known(self, ids: np.ndarray) -> np.ndarray:
        """Whether something is known of cells (ids), rather than of those that had their ids before. `[B]` of bool."""
        same = (self._cells[ids] == self._memory.states.vectors[ids]).all(1)
        return np.asarray(np.isfinite(self.to_go[ids]) & same)

    def _draw(self, ids: np.ndarray, count: int) -> np.ndarray:
        """Uniformly. `[count]`."""
        return ids[torch.randint(max(len(ids), 1), (count,), generator=self._generator).numpy()]

    def state_dict(self) -> dict[str, Any]:
        """What is known, and the generator."""
        return {
            "ids": self._ids.copy(),
            "way": self._way.copy(),
            "seen": {} if self._seen is None else {"rows": rows_of(self._seen, self._ids)},
            **{name: getattr(self, name)[self._ids] for name in ("action", "to_go")},
            "cells": self._cells[self._ids],
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._ids, self._way = state["ids"].copy(), state["way"].copy()
        self.to_go[:] = -np.inf
        self._cells[:] = 0
        for name in ("action", "to_go"):
            getattr(self, name)[self._ids] = state[name]
        self._cells[self._ids] = state["cells"]
        self._seen = None  # of another state its rows may have another shape
        if state["seen"]:
            self._seen = map_observation(self._room_for, state["seen"]["rows"])
            put_rows(self._seen, self._ids, state["seen"]["rows"])
        self._generator.set_state(state["generator"])

    def _room_for(self, rows: np.ndarray) -> np.ndarray:
        size = len(self.action) * rows[:1].nbytes
        require_ram(f"an observation for each of {len(self.action)} cells", size, "lower agent.memory.capacity")
        return np.zeros((len(self.action), *rows.shape[1:]), rows.dtype)
