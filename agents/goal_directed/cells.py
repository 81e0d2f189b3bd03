"""What counts as one place to an archive: cells of MiniGrid's views, of pictures, and of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, IDX_TO_OBJECT, OBJECT_TO_IDX
from torch.nn import functional

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.observations import to_tensors
from engram_rl.agents.common.scaling import is_picture, picture_divisor, picture_shape
from engram_rl.agents.goal_directed.minigrid_views import IMAGE, PartialGrid, SymbolGrid
from engram_rl.memory.checks import brief, number, whole

PORTABLE = [OBJECT_TO_IDX[name] for name in ("key", "ball", "box")]
DOOR = OBJECT_TO_IDX["door"]

_DIGITS = 2**22
"""Digests are below this: sums of a few stay whole numbers in float32."""


class Cells(Protocol):
    """Observations to cells: what is the same cell is the same place.

    Attributes:
        dim: Numbers in a cell, D.
    """

    dim: int

    def __call__(self, observation: Observation) -> np.ndarray:
        """The cell of each environment. `[E, ...]` to `[E, D]` of float32."""


class MiniGridCells:
    """Place, heading, what is carried and how the doors stand, read from MiniGrid's symbols.

    From a partial view with a place (`engram_rl.envs.dead_reckoning`) doors are those in sight, and what is carried is
    seen in the agent's own square. From the full image (`minigrid.wrappers.FullyObsWrapper`) doors are all of them, and
    what is carried is what is missing: the portable objects that lie about are counted. Where these lie does not count.

    Args:
        space: Of one observation, a Dict with an `image` of symbols, and a `place` where that is a partial view.

    Raises:
        ValueError: There are no such parts.
    """

    dim = 5

    def __init__(self, space: spaces.Space) -> None:
        self._partial = isinstance(space, spaces.Dict) and "place" in space.spaces
        self._view = PartialGrid(space) if self._partial else SymbolGrid(space)
        draws = np.random.default_rng(0)
        shape = space["image"].shape[:2]  # type: ignore[index]
        self._closed = draws.integers(1, _DIGITS, (*shape, 3))  # [W, H, state]
        self._closed[..., 0] = 0  # an open door may be hidden by who stands in it
        self._lying = draws.integers(1, _DIGITS, (len(IDX_TO_OBJECT), len(COLOR_TO_IDX)))

    def __call__(self, observation: Observation) -> np.ndarray:
        """(x, y, heading, carried, doors). `[E, 5]`."""
        assert isinstance(observation, dict)
        places = self._view.states(observation)  # [E, 3]
        image = observation["image"].astype(np.int64)  # [E, W, H, 3]
        carried = self._carried(image)
        width, height = np.indices(image.shape[1:3])
        states = self._closed[width, height, np.minimum(image[..., 2], 2)]  # [E, W, H]
        doors = np.where(image[..., 0] == DOOR, states, 0).sum((1, 2)) % _DIGITS
        return np.concatenate([places, carried[:, None], doors[:, None]], 1).astype(np.float32)

    def _carried(self, image: np.ndarray) -> np.ndarray:
        """What is carried as a number, 0 for nothing; or what is not, as the objects that lie about. `[E]`."""
        if self._partial:
            own = image[:, image.shape[1] // 2, -1]  # [E, 3]
            return np.where(np.isin(own[:, 0], PORTABLE), own[:, 0] * len(COLOR_TO_IDX) + own[:, 1], 0)
        lying = self._lying[image[..., 0], np.minimum(image[..., 1], len(COLOR_TO_IDX) - 1)]
        return np.where(np.isin(image[..., 0], PORTABLE), lying, 0).sum((1, 2)) % _DIGITS


class PictureCells:
    """Pictures, scaled down to a few pixels of a few shades of grey (Ecoffet et al. 2021, methods: 11 x 8, 8 shades).

    Channels, and the frames of a stack, are averaged.

    Args:
        space: Of one observation, a picture.
        width: Pixels across.
        height: Pixels down.
        shades: Of grey.

    Raises:
        ValueError: It is no picture, or a number is below 1.
    """

    def __init__(self, space: spaces.Space, width: int = 11, height: int = 8, shades: int = 8) -> None:
        if not isinstance(space, spaces.Box) or not is_picture(space):
            raise ValueError(
                f"Cells of pictures need a picture, an image of at least 36 pixels a side; this environment shows "
                f"{brief(space)}. Leave agent.cells out for cells of numbers."
            )
        self._size = whole("height", height), whole("width", width)
        self._shades, self._brightest = whole("shades", shades), picture_divisor(space)
        self._channels, self._rows, self._columns, self._channels_last = picture_shape(space)
        self.dim = height * width

    def __call__(self, observation: Observation) -> np.ndarray:
        """Shades, row by row. `[E, height * width]`."""
        pixels = torch.as_tensor(observation).float()  # [E, ..., H, W] or [E, ..., H, W, C]
        if self._channels_last:
            pixels = pixels.movedim(-1, -3)
        grey = pixels.reshape(len(pixels), -1, self._rows, self._columns).mean(1, keepdim=True)  # [E, 1, H, W]
        small = functional.interpolate(grey, self._size, mode="area").flatten(1) / self._brightest
        return (small * self._shades).floor().clamp(max=self._shades - 1).numpy()


class RoundedCells:
    """Numbers in steps: whatever is shown as one row of numbers, as networks take it, each to its nearest step.

    Args:
        space: Of one observation.
        step: Numbers closer together than this may be the same.

    Raises:
        ValueError: The space holds something else than numbers, or the step is not positive.
    """

    def __init__(self, space: spaces.Space, step: float = 0.25) -> None:
        self._rows, self._step = Flatten(space), number("step", step, above=0)
        self.dim = self._rows.size

    def __call__(self, observation: Observation) -> np.ndarray:
        """Steps from 0. `[E, D]`."""
        rows = self._rows(to_tensors(observation)).numpy()
        return np.round(rows / self._step).astype(np.float32)


def make_cells(space: spaces.Space, given: Callable[[spaces.Space], Cells] | None = None) -> Cells:
    """Those that were asked for; else MiniGrid's where a place is shown, those of pictures, or numbers in steps.

    Raises:
        TypeError: What was asked for makes no cells.
    """
    if given is not None:
        if not callable(given):
            raise TypeError(f"agent.cells is {given!r}; it must make cells of a space, such as RoundedCells")
        return given(space)
    if _shows_symbols_and_place(space):
        return MiniGridCells(space)
    return PictureCells(space) if is_picture(space) else RoundedCells(space)


def _shows_symbols_and_place(space: spaces.Space) -> bool:
    """Whether it is MiniGrid's, rather than of others who call a part of theirs `image` or `place`."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {}
    image, place = parts.get("image"), parts.get("place")
    if not isinstance(image, IMAGE) or not isinstance(place, spaces.Box) or is_picture(image):
        return False
    return image.dtype == np.uint8 and image.shape[2:] == (3,) and place.shape == (3,)
