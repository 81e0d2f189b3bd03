"""CartPole whose physics shift: the same poles and carts, under another rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium

from engram_rl.envs.shifting.schedules import Periodic
from engram_rl.envs.shifting.wrapper import ShiftingTarget

PHYSICS = ("force_mag", "gravity", "length")


class CartPolePhysics:
    """Moves a constant of CartPole's: "force_mag" (a negative one swaps left and right), "gravity" or "length"."""

    def __init__(self, name: str) -> None:
        if name not in PHYSICS:
            raise ValueError(f"name must be one of {', '.join(PHYSICS)}, got {name!r}.")
        self.name = name

    def __call__(self, env: Any, value: float) -> None:
        """Set the constant, and what CartPole derives from it."""
        setattr(env, self.name, value)
        env.polemass_length = env.masspole * env.length


def cartpole_shift(
    physics: str = "force_mag",
    values: Sequence[float] = (10.0, -10.0),
    period: int = 50,
    layout_seed: int | None = None,
    render_mode: str | None = None,
) -> gymnasium.Env:
    """CartPole-v1 whose physics shift between episodes, unannounced; by default left and right are swapped.

    Observation, actions, reward, termination, truncation: CartPole-v1's own.
    What shifts: every `period` episodes the constant takes the next of `values`, and round again.

    Args:
        physics: "force_mag", "gravity" or "length".
        values: What it is, in turn.
        period: Episodes between shifts.
        layout_seed: Accepted as everywhere in the suite; this schedule leaves nothing to chance.
        render_mode: CartPole's: None, "human" or "rgb_array".

    Registered ids: engram/CartPoleShift-v0
    """
    env = gymnasium.make("CartPole-v1", render_mode=render_mode, disable_env_checker=True)
    schedule = Periodic(values, period)
    return ShiftingTarget(env, schedule, CartPolePhysics(physics), success_above=474.99, layout_seed=layout_seed)
