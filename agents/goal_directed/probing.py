"""Probing unknown actions: those whose effect an agent does not know, and so has reason to try."""

from __future__ import annotations

import numpy as np

from engram_rl.memory import TransitionMemory

PATIENCE = 3
"""In how many states an action is tried of its own accord before it counts as one that does nothing."""


def known_effects(memory: TransitionMemory, ids: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Which actions are remembered, by action alone, to change states (ids) `[N]` of owners `[N]`. `[N, A]` of bool."""
    actions = np.tile(np.arange(memory.num_actions), len(ids))
    states = np.repeat(memory.states.vectors[ids], memory.num_actions, 0)
    moved, _ = memory.movements.recall(np.repeat(owners, memory.num_actions), actions, states)
    return np.asarray(moved.any(1).reshape(len(ids), memory.num_actions))


def worth_trying(memory: TransitionMemory, ids: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Actions not tried in states (ids) `[N]`, without known effect, and not in vain everywhere. `[N, A]` of bool."""
    untried = ~memory.known(ids) & ~_in_vain(memory)[owners]
    row, action = np.nonzero(untried)
    if len(row):
        moved, _ = memory.movements.recall(owners[row], action, memory.states.vectors[ids[row]])
        untried[row, action] = ~moved.any(1)
    return untried


def reconsider(memory: TransitionMemory, owners: np.ndarray) -> None:
    """Let actions of owners `[N]` that did nothing so far count as untried: it may be that they were only blocked."""
    movements = memory.movements
    stored = movements.stored.reshape(memory.num_owners, memory.num_actions)  # [O, A], a view
    stored[owners] = np.where(_in_vain(memory)[owners], 0, stored[owners])


def _in_vain(memory: TransitionMemory) -> np.ndarray:
    """Which actions were tried in enough states and changed none. `[O, A]` of bool."""
    movements = memory.movements
    in_vain = (movements.stored >= PATIENCE) & ~movements.displacements.any((1, 2))  # [O A]
    return np.asarray(in_vain.reshape(memory.num_owners, memory.num_actions))
