"""Shortest paths on many boards at once."""

from __future__ import annotations

import numpy as np

UNREACHABLE = np.iinfo(np.int32).max


def distance_fields(walls: np.ndarray, goal: np.ndarray, width: int) -> np.ndarray:
    """Steps from every cell to the goal, on many boards at once: a breadth-first wave from each goal.

    Args:
        walls: Which cells are blocked, a border of walls included. `[B, C]` of bool
        goal: The free cell to reach. `[B]`
        width: Cells along a row of the boards.

    Returns:
        Steps, or `UNREACHABLE` where no path leads to the goal. `[B, C]` of int32
    """
    steps = np.full(walls.shape, UNREACHABLE, dtype=np.int32)
    wave = np.zeros(walls.shape, dtype=np.bool_)
    wave[np.arange(len(goal)), goal] = True
    open_cells = ~walls
    distance = 0
    while wave.any():
        steps[wave] = distance
        open_cells &= ~wave
        wave = _neighbours(wave, width) & open_cells
        distance += 1
    return steps


def _neighbours(cells: np.ndarray, width: int) -> np.ndarray:
    """Which cells touch one of these; wrapping around the edge is harmless, as the border is wall. `[B, C]`."""
    beside = np.zeros_like(cells)
    beside[:, 1:] |= cells[:, :-1]
    beside[:, :-1] |= cells[:, 1:]
    beside[:, width:] |= cells[:, :-width]
    beside[:, :-width] |= cells[:, width:]
    return beside
