"""Shortest paths on many boards at once."""

from __future__ import annotations

import numpy as np

UNREACHABLE = np.iinfo(np.int32).max


def distance_fields(walls: np.ndarray, goal: np.ndarray, width: int, until: np.ndarray | None = None) -> np.ndarray:
    """Steps from every cell to the goal, on many boards at once: a breadth-first wave from each goal.

    Args:
        walls: Which cells are blocked, a border of walls included. `[B, C]` of bool
        goal: The free cell to reach. `[B]`
        width: Cells along a row of the boards.
        until: A reachable cell of each board: stop as soon as all of these have their distance. `[B]`

    Returns:
        Steps, or `UNREACHABLE` where no path leads to the goal, or none that was followed. `[B, C]` of int32
    """
    boards = np.arange(len(goal))
    steps = np.full(walls.shape, UNREACHABLE, dtype=np.int32)
    wave = np.zeros(walls.shape, dtype=np.bool_)
    wave[boards, goal] = True
    open_cells = ~walls
    distance = 0
    while wave.any() and (until is None or (steps[boards, until] == UNREACHABLE).any()):
        steps[wave] = distance
        open_cells &= ~wave
        wave = _beside(wave.T, width).T & open_cells
        distance += 1
    return steps


def path_lengths(walls: np.ndarray, start: np.ndarray, goal: np.ndarray, width: int) -> np.ndarray:
    """Steps from start to goal on many boards at once, where nothing else is asked: eight boards to a byte.

    Args:
        walls: Which cells are blocked, a border of walls included. `[B, C]` of bool
        start: `[B]`
        goal: `[B]`
        width: Cells along a row of the boards.

    Returns:
        Steps, or `UNREACHABLE`. `[B]` of int32
    """
    boards = np.arange(len(goal))
    byte, bit = boards >> 3, (128 >> (boards & 7)).astype(np.uint8)
    at_goal = np.zeros(walls.shape, dtype=np.bool_)
    at_goal[boards, goal] = True
    wave = np.packbits(at_goal.T, axis=1)  # [C, B / 8]
    open_cells = np.packbits(~walls.T, axis=1)  # [C, B / 8]
    steps = np.full(len(goal), UNREACHABLE, dtype=np.int32)
    distance = 0
    while wave.any():
        steps[(wave[start, byte] & bit) != 0] = distance
        if (steps < UNREACHABLE).all():
            break
        open_cells &= ~wave
        wave = _beside(wave, width) & open_cells
        distance += 1
    return steps


def _beside(cells: np.ndarray, width: int) -> np.ndarray:
    """Which cells touch one of these; wrapping around the edge is harmless, as the border is wall. `[C, ...]`."""
    beside = np.zeros_like(cells)
    beside[1:] |= cells[:-1]
    beside[:-1] |= cells[1:]
    beside[width:] |= cells[:-width]
    beside[:-width] |= cells[width:]
    return beside
