"""How wrong stored values prove, most of all how much too high: errors by the age of their entries."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from engram_rl.memory.sharded import AnyMemory

STEPS = {"young": (0, 1_000), "middle": (1_000, 10_000), "old": (10_000, math.inf)}
"""Environment steps since an entry was written, by which errors are told apart."""

EPISODES = {"young": (0, 10), "middle": (10, 100), "old": (100, math.inf)}
"""The same in episodes, where those are what a memory counts."""


def errors_by_age(
    errors: Tensor | np.ndarray, age: Tensor | np.ndarray, groups: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Mean error of each age group that occurs, under its TensorBoard name. `[B]`, `[B]`."""
    of = {name: (age >= youngest) & (age < limit) for name, (youngest, limit) in groups.items()}
    return {f"memory/value_error_{name}": float(errors[rows].mean()) for name, rows in of.items() if rows.any()}


def met_again(memory: AnyMemory, values: Tensor, identity: Tensor, column: int | None) -> dict[str, float]:
    """Of what is about to be written: which share is known, and how wrong what is stored of it proves.

    Args:
        memory: Not yet written to.
        values: Their last column counts episodes. `[B, V]`
        identity: `[B]`
        column: The column of a value that errors are of; None for none.
    """
    slots = memory.find(identity)  # [B]
    known = slots.numpy() >= 0
    metrics = {"memory/match_rate": float(known.mean())}
    if column is None:
        return metrics
    change = (values.numpy() - memory.values[slots].numpy())[known]  # [n, V]; of -1 any, not known
    return metrics | errors_by_age(np.abs(change[:, column]), change[:, -1], EPISODES)
