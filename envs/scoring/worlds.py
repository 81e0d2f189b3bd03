"""The worlds of the leaderboard, each with the settings that everybody plays."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import gymnasium

import engram_rl.envs  # noqa: F401  (registers engram/*)


@dataclass(frozen=True)
class World:
    """A world of the leaderboard: an environment with all its settings, and how many episodes count.

    Args:
        name: On the leaderboard.
        id: Gymnasium's.
        episodes: That count, from the first of a run.
        shifts: What shifts and when, in a few words.
        kwargs: Of the constructor.
        wrappers: What is shown differently, each as `module:Class`.
        success_above: An episode with a return above this is solved; None: one that ends with a reward in time.
        by_return: Whether a run is scored by its mean return (higher is better) rather than by its regret.
    """

    name: str
    id: str
    episodes: int
    shifts: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    success_above: float | None = None
    by_return: bool = False

    def make(self, layout_seed: int | None = None) -> gymnasium.Env:
        """The environment. Its first reset begins a run, with that reset's seed; each other reset the next episode.

        Args:
            layout_seed: Layouts are drawn from this instead of from the seed of the reset.
        """
        kwargs = dict(self.kwargs) if layout_seed is None else {**self.kwargs, "layout_seed": layout_seed}
        env = gymnasium.make(self.id, disable_env_checker=True, **kwargs)
        for wrapper in self.wrappers:
            module, _, name = wrapper.partition(":")
            env = getattr(importlib.import_module(module), name)(env)
        return env


_EMPTY = {"what": "goal", "schedule": "periodic", "sites": 4, "schedule_options": {"period": 20}, "layout_seed": 0}

WORLDS: dict[str, World] = {
    world.name: world
    for world in (
        World("ShiftWall", "engram/ShiftWall-v0", 100, "the wall, once, at episode 50", {"n": 10}),
        World(
            "ShiftWall20",
            "engram/ShiftWall-v0",
            100,
            "the wall, once, at episode 50, on a grid twice as wide",
            {"n": 20},
        ),
        World("HiddenGoal", "engram/HiddenGoal-v0", 200, "the goal, every 20 episodes", {"n": 10, "period": 20}),
        World(
            "RecurringGoal",
            "engram/RecurringGoal-v0",
            200,
            "the goal, among four sites, after 15 to 25 episodes",
            {"n": 10, "sites": 4, "period": 20, "jitter": 5},
        ),
        World("DriftGoal", "engram/DriftGoal-v0", 200, "the goal, a step at a time", {"n": 10, "q": 0.25}),
        World(
            "EmptyShift",
            "engram/EmptyShift-v0",
            100,
            "MiniGrid's goal, among four places, every 20 episodes; the whole grid is shown",
            _EMPTY,
            wrappers=("minigrid.wrappers:FullyObsWrapper",),
        ),
        World(
            "EmptyShiftPartial",
            "engram/EmptyShift-v0",
            100,
            "MiniGrid's goal, among four places, every 20 episodes; a part of the grid is shown, and the agent's place",
            _EMPTY,
            wrappers=("engram_rl.envs.dead_reckoning:DeadReckoning",),
        ),
        World(
            "CartPoleShift",
            "engram/CartPoleShift-v0",
            200,
            "CartPole's left and right are swapped, every 50 episodes",
            {"physics": "force_mag", "values": (10.0, -10.0), "period": 50},
            success_above=474.99,
            by_return=True,
        ),
    )
}
"""By name."""


def world_named(name: str) -> World:
    """A world of the leaderboard.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in WORLDS:
        near = get_close_matches(str(name), WORLDS, n=2, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(WORLDS)}."
        raise ValueError(f"The leaderboard has no world {name!r}. {hint}")
    return WORLDS[name]
