"""What an agent does not know about its own actions, and so has reason to try."""

from __future__ import annotations

import numpy as np

from memory import TransitionMemory

PATIENCE = 3
"""In how many states an action is tried of its own accord before it counts as one that does nothing."""


def known_effects(memory: TransitionMemory, ids: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Which actions are remembered, by action alone, to change states (ids) `[N]` of owners `[N]`. `[N, A]` of bool."""
    actions = np.tile(np.arange(memory.num_actions), len(ids))
    states = np.repeat(memory.states.vectors[ids], memory.num_actions, 0)
    moved, _ = memory.movements.recall(np.repeat(owners, memory.num_actions), actions, states)
    return np.asarray(moved.any(1).reshape(len(ids), -1))


def worth_trying(memory: TransitionMemory, ids: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Actions not tried in states (ids) `[N]`, without known effect, and not in vain everywhere. `[N, A]` of bool."""
    movements, num_owners = memory.movements, memory.num_owners
    in_vain = (movements.stored >= PATIENCE) & ~movements.displacements.any((1, 2))  # [O A]
    hopeless = in_vain.reshape(num_owners, -1)[owners]  # [N, A]
    return ~memory.known(ids) & ~known_effects(memory, ids, owners) & ~hopeless
