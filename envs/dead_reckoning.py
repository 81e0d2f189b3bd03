"""Where an agent with MiniGrid's partial view is, by counting its own turns and steps from where it began."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from minigrid.core.actions import Actions
from minigrid.core.constants import DIR_TO_VEC, OBJECT_TO_IDX

FREE = [OBJECT_TO_IDX[name] for name in ("empty", "floor", "goal", "lava")]
DOOR, OPEN = OBJECT_TO_IDX["door"], 0


class DeadReckoning(gym.Wrapper[Any, Any, Any, Any]):
    """Adds `place`, (x, y, heading), to MiniGrid's partial observation.

    It knows where each episode begins. From then on it counts turns, and a step forward whenever the view showed that
    the cell ahead could be entered; nothing else is read from the environment.

    Args:
        env: A MiniGrid environment with its own partial view (`image` `[view, view, 3]`, the agent at the middle of the
            last row, looking along the second axis towards 0).

    Raises:
        ValueError: The environment shows something else.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space = env.observation_space
        image = space.spaces.get("image") if isinstance(space, spaces.Dict) else None
        shape = (image.shape if image is not None else None) or (0, 1)
        if not isinstance(space, spaces.Dict) or shape != (shape[0], shape[0], 3):
            raise ValueError(f"Dead reckoning needs MiniGrid's partial view, a square image; this shows {space}.")
        grid: Any = env.unwrapped
        highest = np.array([grid.width - 1, grid.height - 1, 3], np.float32)
        place = spaces.Box(np.zeros(3, np.float32), highest)
        self.observation_space = spaces.Dict({**space.spaces, "place": place})
        self._place = np.zeros(3, np.int64)
        self._is_free_ahead = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, at a place that is given."""
        observation, info = self.env.reset(seed=seed, options=options)
        grid: Any = self.env.unwrapped
        self._place = np.array([*grid.agent_pos, grid.agent_dir])
        return self._with_place(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step and count it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if action == Actions.forward and self._is_free_ahead:
            self._place[:2] += DIR_TO_VEC[self._place[2]]
        turned = {Actions.left: -1, Actions.right: 1}.get(Actions(int(action)), 0)
        self._place[2] = (self._place[2] + turned) % 4
        return self._with_place(observation), reward, terminated, truncated, info

    def _with_place(self, observation: dict[str, Any]) -> dict[str, Any]:
        size = len(observation["image"])
        symbol, _, state = observation["image"][size // 2, size - 2]
        self._is_free_ahead = bool(symbol in FREE or (symbol == DOOR and state == OPEN))
        return {**observation, "place": self._place.astype(np.float32)}
