"""Oracles: policies that read the hidden state and solve an environment in the fewest steps; nobody beats them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from engram_rl.envs.core import Core
from engram_rl.envs.grid import Geometry, GridCore
from engram_rl.envs.masked_key import MaskedKeyCore
from engram_rl.envs.memory_plan import COLLECT, MemoryPlanCore
from engram_rl.envs.oracles.policy import Policy
from engram_rl.envs.paths import distance_fields
from engram_rl.envs.suite import SuiteVectorEnv
from engram_rl.envs.tmaze import DOWN, RIGHT, UP, TMazeCore


class Oracle(Policy):
    """A policy that knows everything, of one kind of environment."""

    privileged = "everything"
    plays: ClassVar[type[Core]]

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        super().__init__(env, seed)
        self.core: Any = env.core


class OracleWalker(Oracle):
    """Walks a shortest path to the goal."""

    plays = GridCore

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        super().__init__(env, seed)
        self.steps_to_goal = np.zeros(self.core.walls.shape, dtype=np.int32)  # [E, C]

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """The first action of a shortest path. `[E]`."""
        fresh = np.flatnonzero(self.core.elapsed == 0)
        width = self.core.geometry.width
        self.steps_to_goal[fresh] = distance_fields(self.core.walls[fresh], self.core.goal[fresh], width)
        reached = self.core.cell[:, None] + self.core.geometry.moves  # [E, A]
        return self.best(np.take_along_axis(self.steps_to_goal, reached, axis=1))


class OracleErrands(Oracle):
    """Walks straight to the symbol wanted and collects it."""

    plays = MemoryPlanCore

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """The first action of a shortest errand. `[E]`."""
        geometry: Geometry = self.core.geometry
        left = geometry.manhattan(self.core.cell[:, None] + geometry.moves, self.core.goal[:, None])  # [E, 4]
        return np.where(self.core.cell == self.core.goal, COLLECT, self.best(left))


class OracleTurn(Oracle):
    """Goes to the junction and turns to the right side, without looking at the cue."""

    plays = TMazeCore

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """Onward, or into the right arm. `[E]`."""
        return np.where(self.core.place < self.core.junction, RIGHT, np.where(self.core.cue > 0, UP, DOWN))


class MemorylessTurn(OracleTurn):
    """Goes to the junction and turns at random: what is left of the T-maze's score without memory."""

    privileged = "geometry"

    def __init__(self, env: SuiteVectorEnv, seed: int) -> None:
        super().__init__(env, seed)
        if not isinstance(env.core, TMazeCore):
            raise TypeError(f"This policy plays the T-maze; {type(env.core).__name__} is none.")

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """Onward, or into either arm. `[E]`."""
        turn = self.random.choice([UP, DOWN], size=self.num_envs)
        return np.where(self.core.place < self.core.junction, RIGHT, turn)


class OracleAnswer(Oracle):
    """Knows every answer."""

    plays = MaskedKeyCore

    def act(self, observation: Any, *, explore: bool = True) -> np.ndarray:
        """The right action. `[E]`."""
        return np.take_along_axis(self.core.answers, self.core.thing()[:, None], axis=1)[:, 0]


def oracle(env: SuiteVectorEnv, seed: int) -> Oracle:
    """The oracle policy for this environment.

    Raises:
        TypeError: There is none, as it is not one of the suite.
    """
    for kind in (OracleWalker, OracleErrands, OracleTurn, OracleAnswer):
        if isinstance(env.core, kind.plays):
            return kind(env, seed)
    raise TypeError(f"No oracle plays {type(env.core).__name__}: it is none of the suite.")
