"""The oracle of PointMassShift: it knows where the goal is and goes straight to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from engram_rl.envs.point_mass import FASTEST, towards


class PointMassOracle:
    """Brings each mass as near to its goal as every single step can.

    Args:
        environments: Of `engram/PointMassShift-v0`, vectorised.
    """

    privileged = "everything"

    def __init__(self, environments: Any) -> None:
        self._environments = environments

    def act(self, observation: np.ndarray, *, explore: bool = True) -> np.ndarray:
        """The push towards the goal. `[E, 4]` to `[E, 2]`."""
        goals = np.array(self._environments.unwrapped.get_attr("target"))  # [E, 2]
        position, velocity = np.split(observation.astype(np.float64), 2, axis=1)
        return towards(position, velocity.clip(-FASTEST, FASTEST), goals).astype(np.float32)
