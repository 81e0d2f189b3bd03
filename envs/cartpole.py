"""Gymnasium's vectorised CartPole, with the reset within the step that ends an episode."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode


class SameStepCartPole(CartPoleVectorEnv):
    """E poles in one array, the physics of `CartPole-v1`; autoreset is SAME_STEP, where Gymnasium's is NEXT_STEP.

    Observation `[E, 4]`: position, velocity, angle, angular velocity. Actions 0 (left) and 1 (right). Reward 1 a step;
    an episode terminates when the pole or the cart leaves its bounds and is truncated after 500 steps. Where one ends,
    the observation is the next episode's first and `info["final_obs"]` its last (rows marked by `_final_obs`). All
    poles draw from one generator, so a seed gives other episodes than single environments.
    """

    metadata: dict[str, Any] = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of every pole. `[E]`."""
        observation, reward, terminated, truncated, info = super().step(action)
        done = self.prev_done  # [E] of bool
        if not done.any():
            return observation, reward, terminated, truncated, info
        assert self.state is not None
        self.state[:, done] = self.np_random.uniform(self.low, self.high, (4, int(done.sum())))
        self.steps[done] = 0
        self.prev_done = np.zeros_like(done)  # nothing is left for the next step to reset
        info = {**info, "final_obs": observation, "_final_obs": done}
        return self.state.T.astype(np.float32), reward, terminated, truncated, info
