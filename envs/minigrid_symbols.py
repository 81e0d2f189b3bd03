"""MiniGrid's image as what it is: symbols, of which none is larger than another."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, DIR_TO_VEC, OBJECT_TO_IDX, STATE_TO_IDX


class Symbols(gym.Wrapper[Any, Any, Any, Any]):
    """Says of MiniGrid's image, `[W, H, 3]` of bytes, that its numbers are codes: its space becomes MultiDiscrete.

    Agents see a MultiDiscrete as a one-hot code, in which a key and a ball are as far apart as any two things; as bytes
    they are 5 and 6 of 255. What is observed stays as it is.

    Args:
        env: A MiniGrid environment that shows its image, or a Dict with it as `image`: of its partial view, or of all.

    Raises:
        ValueError: The environment shows something else.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space = env.observation_space
        image = space.spaces.get("image") if isinstance(space, spaces.Dict) else space
        view, width, height = (
            env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else 0
            for name in ("agent_view_size", "width", "height")
        )
        shape = image.shape if isinstance(image, spaces.Box) and image.dtype == np.uint8 else None
        if shape is None or shape not in ((view, view, 3), (width, height, 3)):
            shows = space if image is None else image
            raise ValueError(
                f"Symbols needs MiniGrid's own image, of three codes for each cell of its view or grid; this shows a "
                f"{type(shows).__name__} of shape {shows.shape}. Put it around wrappers that change the view, such as "
                f"FullyObsWrapper."
            )
        symbols = spaces.MultiDiscrete(np.broadcast_to(_codes(), shape).copy(), dtype=np.uint8)
        self.observation_space = (
            spaces.Dict({**space.spaces, "image": symbols}) if isinstance(space, spaces.Dict) else symbols
        )


def _codes() -> tuple[int, int, int]:
    """How many kinds of things there are, colours, and states of a door or headings of an agent."""
    states = max(max(STATE_TO_IDX.values()) + 1, len(DIR_TO_VEC))
    return max(OBJECT_TO_IDX.values()) + 1, max(COLOR_TO_IDX.values()) + 1, states
