"""Pictures of the environments, drawn with numpy alone."""

from __future__ import annotations

import numpy as np

CELL = 24  # pixels along a side

FLOOR = np.array([246, 246, 242], np.float64)
WALL = np.array([52, 58, 70], np.float64)
LINE = np.array([222, 222, 216], np.float64)
GOAL = np.array([38, 160, 92], np.float64)
START = np.array([120, 120, 130], np.float64)
AGENT = np.array([37, 99, 205], np.float64)
TRAIL_OLD = np.array([253, 230, 190], np.float64)
TRAIL_NEW = np.array([245, 158, 66], np.float64)


def draw_grid(walls: np.ndarray, visited_at: np.ndarray, cells: dict[str, tuple[int, int]]) -> np.ndarray:
    """A board from above: dark walls, green goal, blue agent, grey ring at the start, orange trail (deep where fresh).

    Args:
        walls: Which cells are blocked. `[H, W]` of bool
        visited_at: The step at which each cell was last visited, or -1. `[H, W]`
        cells: (row, column) of "start", "goal" and "cell", the agent's.

    Returns:
        The picture. `[H * 24, W * 24, 3]` of uint8
    """
    picture = np.repeat(np.repeat(_ground(walls, visited_at), CELL, axis=0), CELL, axis=1)  # [H * 24, W * 24, 3]
    picture[::CELL, :] = picture[:, ::CELL] = LINE
    _stamp(picture, cells["goal"], _SQUARE, GOAL)
    _stamp(picture, cells["start"], _RING, START)
    _stamp(picture, cells["cell"], _DISC, AGENT)
    return picture.astype(np.uint8)


def _ground(walls: np.ndarray, visited_at: np.ndarray) -> np.ndarray:
    """The colour of each cell. `[H, W, 3]`."""
    freshness = visited_at[..., None] / max(int(visited_at.max()), 1)  # [H, W, 1]
    trail = TRAIL_OLD + (TRAIL_NEW - TRAIL_OLD) * freshness
    ground = np.where(visited_at[..., None] >= 0, trail, FLOOR)
    return np.where(walls[..., None], WALL, ground)


def _stamp(picture: np.ndarray, cell: tuple[int, int], shape: np.ndarray, colour: np.ndarray) -> None:
    """Blend a shape into one cell of a picture. `shape [24, 24]`, from 0 (clear) to 1 (opaque)."""
    top, left = cell[0] * CELL, cell[1] * CELL
    patch = picture[top : top + CELL, left : left + CELL]
    patch += (colour - patch) * shape[..., None]


def _distance_from_middle() -> np.ndarray:
    """Each pixel's distance from the middle of its cell. `[24, 24]`."""
    offset = np.arange(CELL) - (CELL - 1) / 2
    return np.hypot(offset[:, None], offset[None, :])


def _inside(distance: np.ndarray, radius: float) -> np.ndarray:
    """1 inside the radius, 0 outside, one soft pixel between them."""
    return np.clip(radius - distance + 0.5, 0.0, 1.0)


_MIDDLE = _distance_from_middle()
_DISC = _inside(_MIDDLE, 7.5)
_RING = _inside(_MIDDLE, 9.5) - _inside(_MIDDLE, 7.5)
_SQUARE = np.pad(np.ones((CELL - 6, CELL - 6)), 3)
