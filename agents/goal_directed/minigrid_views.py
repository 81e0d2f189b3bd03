"""What MiniGrid's symbols say about where the agent is and where it should go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, DIR_TO_VEC, OBJECT_TO_IDX

from engram_rl.agents.agent import Observation
from engram_rl.agents.goal_directed.views import WholeGoals, finite_bounds
from engram_rl.memory.checks import brief

HIGHEST = np.array([max(OBJECT_TO_IDX.values()), max(COLOR_TO_IDX.values()), 3], np.uint8)
"""Symbols of a cell: object, colour, and state or heading."""

IMAGE = spaces.Box | spaces.MultiDiscrete
"""Spaces of images of symbols: as MiniGrid says, and as `engram_rl.envs.minigrid_symbols.Symbols` does."""


class SymbolGrid(WholeGoals):
    """Position, heading and goal from MiniGrid's full symbolic image (`minigrid.wrappers.FullyObsWrapper`).

    A state is (x, y, heading); the goal is a position, whatever the heading: an incomplete state.

    Args:
        space: Of one observation, a Dict with an `image` `[W, H, 3]` of object, colour and state.

    Raises:
        ValueError: There is no such image.
    """

    dim = 3
    shows_goal = True
    movement_context: Sequence[int] = (2,)

    def __init__(self, space: spaces.Space) -> None:
        image = space.spaces.get("image") if isinstance(space, spaces.Dict) else None
        if not isinstance(image, IMAGE) or image.shape[2:] != (3,):
            raise ValueError(
                f"Expected MiniGrid's full symbolic image (wrap in FullyObsWrapper); it shows {brief(space)}."
            )
        width, height, _ = image.shape
        self.bounds = (np.zeros(3, np.float32), np.array([width - 1, height - 1, 3], np.float32))

    def states(self, observation: Observation) -> np.ndarray:
        """Where the agent is and where it looks. `[E, 3]`."""
        image = _symbols(observation)
        _require_agent(image)
        place = _find(image, OBJECT_TO_IDX["agent"])  # [E, 2]
        heading = image[np.arange(len(image)), place[:, 0], place[:, 1], 2]
        return np.concatenate([place, heading[:, None]], 1).astype(np.float32)

    def goals(self, observation: Observation) -> np.ndarray:
        """Where the goal is; where the agent stands on it and hides it, there. `[E, 3]`."""
        image = _image(observation)
        shown = (image[..., 0] == OBJECT_TO_IDX["goal"]).any((1, 2))
        place = np.where(shown[:, None], _find(image, OBJECT_TO_IDX["goal"]), _find(image, OBJECT_TO_IDX["agent"]))
        return np.concatenate([place, np.full((len(place), 1), np.nan)], 1).astype(np.float32)


class PartialGrid:
    """Place and heading beside MiniGrid's partial view, in which the goal and empty cells may be in sight.

    A state is (x, y, heading), by dead reckoning (`engram_rl.envs.dead_reckoning`), as partial views repeat; what is
    in sight is put where it is from there.

    Args:
        space: Of one observation, a Dict with an `image` `[V, V, 3]` and a `place` `[3]`.

    Raises:
        ValueError: There are no such parts.
    """

    dim = 3
    shows_goal = False
    movement_context: Sequence[int] = (2,)
    open: Sequence[int] = (2,)
    fillings = np.arange(4, dtype=np.float32)[:, None]

    def __init__(self, space: spaces.Space) -> None:
        parts = space.spaces if isinstance(space, spaces.Dict) else {}
        image, place = parts.get("image"), parts.get("place")
        if not isinstance(image, IMAGE) or not isinstance(place, spaces.Box) or place.shape != (3,):
            raise ValueError(
                f"Expected MiniGrid's partial image and a place (wrap in envs.dead_reckoning.DeadReckoning): "
                f"{brief(space)}."
            )
        self.bounds = finite_bounds(place.low, place.high)

    def states(self, observation: Observation) -> np.ndarray:
        """Where the agent is and where it looks. `[E, 3]`."""
        assert isinstance(observation, dict)
        return np.asarray(observation["place"], np.float32)

    def goals(self, observation: Observation) -> np.ndarray:
        """Where the goal is in sight, with an open heading; all NaN where it is not. `[E, 3]`."""
        env, cells, symbols = self._in_sight(observation)
        goals = np.full((len(self.states(observation)), 3), np.nan, np.float32)
        is_goal = symbols == OBJECT_TO_IDX["goal"]
        goals[env[is_goal], :2] = cells[is_goal, :2]
        return goals

    def empty_places(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        """Cells in sight that are not the goal, walls among them. `[N]`, `[N, 3]`."""
        env, cells, symbols = self._in_sight(observation)
        empty = symbols != OBJECT_TO_IDX["goal"]
        return env[empty], cells[empty]

    def _in_sight(self, observation: Observation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cells in sight: of which environment, where, and what they hold. `[N]`, `[N, 3]`, `[N]`."""
        symbols, states = _symbols(observation)[..., 0], self.states(observation)
        _, _, size = symbols.shape
        ahead = np.array(DIR_TO_VEC)[states[:, 2].astype(np.int64)]  # [E, 2]
        right = np.stack([-ahead[:, 1], ahead[:, 0]], 1)
        env, across, down = np.nonzero(symbols != OBJECT_TO_IDX["unseen"])
        cells = states[env]
        cells[:, :2] += (size - 1 - down)[:, None] * ahead[env] + (across - size // 2)[:, None] * right[env]
        cells[:, 2] = 0
        return env, cells, symbols[env, across, down]


def _image(observation: Observation) -> np.ndarray:
    """`[E, W, H, 3]`."""
    assert isinstance(observation, dict)
    return observation["image"]


def _symbols(observation: Observation) -> np.ndarray:
    """The image, if its numbers are symbols. `[E, W, H, 3]`."""
    image = _image(observation)
    colours = (image > HIGHEST).any((1, 2, 3))
    if colours.any():
        env = int(colours.argmax())
        raise ValueError(
            f"The image of environment {env} holds {image[env].max()}, which is no symbol of MiniGrid's (they end at "
            f"{', '.join(map(str, HIGHEST))}): it is a picture. Leave out RGBImgObsWrapper and RGBImgPartialObsWrapper "
            f"(env.wrappers); this view reads symbols."
        )
    return image


def _require_agent(image: np.ndarray) -> None:
    """Raise unless each image shows one agent. `[E, W, H, 3]`."""
    agents = (image[..., 0] == OBJECT_TO_IDX["agent"]).sum((1, 2))
    if (agents != 1).any():
        env = int((agents != 1).argmax())
        raise ValueError(
            f"The image of environment {env} shows {agents[env]} agents where there should be one: partial views show "
            f"none. Wrap it in minigrid.wrappers.FullyObsWrapper (env.wrappers), or use "
            f"agent=fast_slow_partial with engram_rl.envs.dead_reckoning.DeadReckoning."
        )


def _find(image: np.ndarray, symbol: int) -> np.ndarray:
    """The first cell that shows an object. `[E, W, H, 3]` -> `[E, 2]`."""
    cell = (image[..., 0] == symbol).reshape(len(image), -1).argmax(1)
    return np.stack(np.unravel_index(cell, image.shape[1:3]), 1)
