"""Many CartPoles in one array, which reset within the step that ends an episode."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode


class SameStepCartPole(CartPoleVectorEnv):
    """E poles with the physics of `CartPole-v1`; autoreset is SAME_STEP, where Gymnasium's own is NEXT_STEP.

    Observation `[E, 4]`: position, velocity, angle, angular velocity. Actions 0 (left) and 1 (right). Reward 1 a step;
    an episode terminates when the pole or the cart leaves its bounds and is truncated after 500 steps. Where one ends,
    the observation is the next episode's first and `info["final_obs"]` its last (rows marked by `_final_obs`). All
    poles draw from one generator, so a seed gives other episodes than single environments.
    """

    metadata: dict[str, Any] = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of every pole. `[E]`."""
        state = self._moved(np.where(action == 1, self.force_mag, -self.force_mag))
        self.state = state  # type: ignore[assignment]
        self.steps += 1
        observation = state.T.astype(np.float32)
        terminated = (np.abs(state[0]) > self.x_threshold) | (np.abs(state[2]) > self.theta_threshold_radians)
        truncated = self.steps >= self.max_episode_steps
        done = terminated | truncated
        reward = np.ones(self.num_envs, dtype=np.float32)
        if not done.any():
            return observation, reward, terminated, truncated, {}
        info = {"final_obs": observation, "_final_obs": done}
        return self._restarted(done), reward, terminated, truncated, info

    def _moved(self, force: np.ndarray) -> np.ndarray:
        """Euler's method on the equations of Florian (2007, coneural.org/florian/papers/05_cart_pole.pdf).

        `[E]` to the next state, `[4, E]`.
        """
        assert self.state is not None, "Call reset before step."
        velocity, angle, spin = self.state[1:]
        cos, sin = np.cos(angle), np.sin(angle)
        push = (force + self.polemass_length * spin * spin * sin) / self.total_mass
        torque = self.gravity * sin - cos * push
        spin_up = torque / (self.length * (4 / 3 - self.masspole * cos * cos / self.total_mass))
        speed_up = push - self.polemass_length * spin_up * cos / self.total_mass
        return self.state + self.tau * np.stack([velocity, speed_up, spin, spin_up])

    def _restarted(self, done: np.ndarray) -> np.ndarray:
        """Begin new episodes where they ended; observations of all. `[E, 4]`."""
        assert self.state is not None
        self.state[:, done] = self.np_random.uniform(self.low, self.high, (4, int(done.sum())))
        self.steps[done] = 0
        return self.state.T.astype(np.float32)
