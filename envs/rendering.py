"""Images of the environments, drawn with numpy alone."""

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
        The image. `[H * 24, W * 24, 3]` of uint8
    """
    image = _enlarged(_ground(walls, visited_at))
    _stamp(image, cells["goal"], _SQUARE, GOAL)
    _stamp(image, cells["start"], _RING, START)
    _stamp(image, cells["cell"], _DISC, AGENT)
    return image.astype(np.uint8)


def draw_symbols(symbols: np.ndarray, agent: tuple[int, int], goal: tuple[int, int]) -> np.ndarray:
    """A board of symbols, each a colour of its own; the agent is blue, the symbol wanted has a green frame.

    Args:
        symbols: Which symbol is on each cell, -1 for walls. `[H, W]`
        agent: Row and column of the agent.
        goal: Row and column of the symbol wanted.

    Returns:
        The image. `[H * 24, W * 24, 3]` of uint8
    """
    hues = np.vstack([_hues(int(symbols.max()) + 1), WALL])  # [S + 1, 3]: the last is the wall's, index -1
    image = _enlarged(hues[symbols])
    _stamp(image, goal, _FRAME, GOAL)
    _stamp(image, agent, _DISC, AGENT)
    return image.astype(np.uint8)


def draw_items(colours: np.ndarray, current: tuple[int, int], given: tuple[bool, ...]) -> np.ndarray:
    """Things in their places, the current one framed; below, a lamp for each modality: green given, dark withheld.

    Args:
        colours: The first three parts of each thing's colour, from -1 to 1. `[n, n, 3]`
        current: Row and column of the thing that is shown.
        given: Whether place, colour and noise are given.

    Returns:
        The image. `[(n + 3) * 24, (n + 2) * 24, 3]` of uint8
    """
    n = len(colours)
    board = np.tile(WALL, (n + 3, n + 2, 1))
    board[1:-2, 1:-1] = 140.0 + 110.0 * colours
    image = _enlarged(board)
    _stamp(image, (current[0] + 1, current[1] + 1), _FRAME, AGENT)
    for lamp, lit in enumerate(given):
        _stamp(image, (n + 1, lamp + 1), _DISC, GOAL if lit else LINE * 0.1)
    return image.astype(np.uint8)


def _hues(count: int) -> np.ndarray:
    """Light colours that differ. `[count, 3]`."""
    hue = np.arange(count)[:, None] / max(count, 1) + np.array([0.0, 1 / 3, 2 / 3])  # [count, 3]
    lightness = np.where(np.arange(count) % 2, 150.0, 195.0)[:, None]
    return lightness + 55.0 * np.cos(2.0 * np.pi * hue)


def _enlarged(board: np.ndarray) -> np.ndarray:
    """Each cell as a square with thin lines between. `[H, W, 3]` -> `[H * 24, W * 24, 3]`."""
    image = np.repeat(np.repeat(board, CELL, axis=0), CELL, axis=1)
    image[::CELL, :] = image[:, ::CELL] = LINE
    return image


def _ground(walls: np.ndarray, visited_at: np.ndarray) -> np.ndarray:
    """The colour of each cell. `[H, W, 3]`."""
    freshness = visited_at[..., None] / max(int(visited_at.max()), 1)  # [H, W, 1]
    trail = TRAIL_OLD + (TRAIL_NEW - TRAIL_OLD) * freshness
    ground = np.where(visited_at[..., None] >= 0, trail, FLOOR)
    return np.where(walls[..., None], WALL, ground)


def _stamp(image: np.ndarray, cell: tuple[int, int], shape: np.ndarray, colour: np.ndarray) -> None:
    """Blend a shape into one cell of an image. `shape [24, 24]`, from 0 (clear) to 1 (opaque)."""
    top, left = cell[0] * CELL, cell[1] * CELL
    patch = image[top : top + CELL, left : left + CELL]
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
_FRAME = np.pad(np.ones((CELL - 2, CELL - 2)), 1) - np.pad(np.ones((CELL - 8, CELL - 8)), 4)
