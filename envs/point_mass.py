"""PointMass: a mass that is pushed in a plane to a goal which is not shown, and which shifts."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from engram_rl.envs.checks import at_least
from engram_rl.envs.shifting.schedules import Random
from engram_rl.envs.shifting.wrapper import Attribute, ShiftingTarget

PUSH, FRICTION = 0.02, 0.2
FASTEST = PUSH / FRICTION  # of each coordinate, in a step
REACHED = 0.15  # distance from the goal at which an episode ends
NEAREST = 0.5  # a start's least distance from the goal
PROGRESS = 10.0  # reward for coming nearer by 1
GOALS = 0.8  # goals are within this of the centre, in each coordinate


class PointMass(gymnasium.Env[np.ndarray, np.ndarray]):
    """One goal; `point_mass_shift` makes it shift, and says all the rest.

    Args:
        step_limit: Steps after which an episode is truncated.
        render_mode: "rgb_array", or None.

    Attributes:
        goal: Where it is. `(x, y)`
        position, velocity: Of the mass. `[2]`
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (gymnasium's own type)

    def __init__(self, step_limit: int = 60, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'render_mode must be None or "rgb_array", got {render_mode!r}.')
        self.step_limit = at_least(1, "step_limit", step_limit, "step")
        self.render_mode = render_mode
        most = np.array([1, 1, FASTEST, FASTEST], np.float32)
        self.observation_space = Box(-most, most)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.goal: tuple[float, float] = (0.0, 0.0)
        self.position, self.velocity = np.zeros(2), np.zeros(2)
        self._elapsed = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode at rest, somewhere that is not near the goal."""
        super().reset(seed=seed)
        self.position, self.velocity, self._elapsed = self._start(), np.zeros(2), 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Push once; what is beyond the bounds of actions counts as the bound.

        Raises:
            ValueError: The push is not two numbers, or one of them is NaN, where the mass would be no more.
        """
        push = np.asarray(action, np.float64)
        if push.shape != (2,) or np.isnan(push).any():
            raise ValueError(f"Action {action!r} is no push; give two numbers (x, y), each from -1 to 1.")
        self._elapsed += 1
        before = self._distance()
        self.position, self.velocity = pushed(self.position, self.velocity, push)
        reward, reached = PROGRESS * (before - self._distance()) - 1, self._distance() <= REACHED
        return self._observation(), reward, reached, not reached and self._elapsed >= self.step_limit, {}

    def render(self) -> Any:
        """The plane from above: the goal green, the mass blue. `[128, 128, 3]` of uint8, or None."""
        return drawn(self.position, np.array(self.goal)) if self.render_mode == "rgb_array" else None

    def _start(self) -> np.ndarray:
        """Uniform over all places that are far enough from the goal. `[2]`."""
        while True:
            place = self.np_random.uniform(-1, 1, 2)
            if np.linalg.norm(place - self.goal) >= NEAREST:
                return place

    def _distance(self) -> float:
        return float(np.linalg.norm(self.position - self.goal))

    def _observation(self) -> np.ndarray:
        return np.concatenate([self.position, self.velocity]).astype(np.float32)


def pushed(position: np.ndarray, velocity: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where masses are a step later, and how fast; a wall stops what runs into it. `[..., 2]` each."""
    velocity = (1 - FRICTION) * velocity + PUSH * np.clip(action, -1, 1)
    place = position + velocity
    return np.clip(place, -1, 1), np.where(np.abs(place) > 1, 0.0, velocity)


def towards(position: np.ndarray, velocity: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The push that brings masses as near to their goals as a step can, in each coordinate. `[..., 2]` each."""
    return np.clip((goal - position - (1 - FRICTION) * velocity) / PUSH, -1, 1)


def steps_to_goal(env: PointMass) -> int:
    """Steps that the episode which has just begun takes who knows the goal and goes straight `towards` it."""
    position, velocity, goal = env.position, env.velocity, np.array(env.goal)
    steps = 0
    while np.linalg.norm(position - goal) > REACHED:
        position, velocity = pushed(position, velocity, towards(position, velocity, goal))
        steps += 1
    return steps


def drawn(position: np.ndarray, goal: np.ndarray, side: int = 128) -> np.ndarray:
    """A picture of a mass `[2]` and a goal `[2]`. `[side, side, 3]` of uint8."""
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    image = np.full((side, side, 3), 246, np.uint8)
    image[np.hypot(x - goal[0], y - goal[1]) <= REACHED] = (38, 160, 92)
    image[np.hypot(x - position[0], y - position[1]) <= REACHED / 3] = (37, 99, 205)
    return image


def point_mass_shift(
    period: int = 20, step_limit: int = 60, layout_seed: int | None = None, render_mode: str | None = None
) -> gymnasium.Env:
    """A mass in a square that must find a goal, which stays for some episodes, then is elsewhere, unannounced.

    Observation: position (x, y), from -1 to 1, and velocity (x, y), from -0.1 to 0.1; float32. The goal is not shown.
    Actions: a push (x, y), each from -1 to 1: `velocity = 0.8 velocity + 0.02 push; position += velocity`. Walls stop.
    Reward: -1 each step, and 10 times by how much it came nearer to the goal.
    Termination: within 0.15 of the goal. Truncation: after `step_limit` steps.
    Start: at rest, in each episode at a new uniform place at least 0.5 from the goal.
    What shifts: every `period` episodes the goal is drawn anew, uniform within 0.8 of the centre in each coordinate. A
    run never ends.
    `info["oracle_steps"]`: what an episode takes who knows the goal and goes straight to it; 12.3 on average.

    Args (`gymnasium.make("engram/PointMassShift-v0", ...)`):
        period: Episodes for which the goal stays.
        step_limit: Steps of an episode at most.
        layout_seed: What the goals are drawn from; None takes the reset seed.
        render_mode: None or "rgb_array".

    Registered ids: engram/PointMassShift-v0
    """
    schedule = Random((-GOALS, -GOALS), (GOALS, GOALS), period)
    env = PointMass(step_limit, render_mode)
    return ShiftingTarget(
        env, schedule, Attribute("goal"), success_above=-np.inf, layout_seed=layout_seed, oracle=steps_to_goal
    )
