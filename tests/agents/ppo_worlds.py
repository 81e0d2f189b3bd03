"""Small PPO agents, and a world of random observations and rewards for them."""

import numpy as np
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.common.observations import map_observation
from engram_rl.agents.common.schedules import Linear
from engram_rl.agents.ppo import make_ppo

VECTOR, TWO = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2)
E, T = 3, 8


def make_agent(observation_space=VECTOR, action_space=TWO, num_envs=E, seed=0, **changes):
    settings = {
        "hidden": [8], "picture_features": 16, "recurrent": 0, "carry_state": False, "show_previous": False,
        "num_steps": T, "epochs": 2, "minibatch_size": 6, "discount": 0.9, "gae_lambda": 0.8,
        "cut_at_episode_ends": True,
        "optimiser": lambda parameters: torch.optim.Adam(parameters, eps=1e-5),
        "learning_rate": Linear(0.01, 0.01, 1), "clip": Linear(0.2, 0.2, 1), "value_clip": None,
        "value_coefficient": 0.5, "entropy_coefficient": 0.01, "normalise_advantage": True, "max_gradient_norm": 0.5,
        "target_kl": None, "normalise_observations": False, "scale_rewards": False, "device": "cpu",
    }  # fmt: skip
    return make_ppo(observation_space, action_space, num_envs, seed, **(settings | changes))


def batch(space, seed, rows=E):
    space.seed(seed)
    return map_observation(lambda *parts: np.stack(parts), *[space.sample() for _ in range(rows)])


class World:
    """Random observations and rewards; episodes end by a coin, one way or the other."""

    def __init__(self, space=VECTOR, rows=E, seed=0, ends=0.2):
        self.space, self.rows, self.ends = space, rows, ends
        self.rng = np.random.default_rng(seed)
        self.shown = self.next()

    def next(self):
        return batch(self.space, int(self.rng.integers(1 << 30)), self.rows)

    def step(self, action):
        terminated = self.rng.random(self.rows) < self.ends / 2
        truncated = ~terminated & (self.rng.random(self.rows) < self.ends / 2)
        reset = self.next()
        final = self.next()
        done = terminated | truncated

        def choose(there, here):
            rows = done.reshape(-1, *[1] * (here.ndim - 1))
            return np.where(rows, there, here)

        following = map_observation(choose, final, reset)
        transition = Transition(
            self.shown, action, self.rng.normal(size=self.rows), terminated, truncated, following, reset
        )
        self.shown = reset
        return transition


def play(agent, world, steps, learn=True):
    transitions, metrics = [], {}
    for _ in range(steps):
        transition = world.step(agent.act(world.shown))
        agent.observe(transition)
        transitions.append(transition)
        metrics = (agent.learn() if learn else {}) or metrics
    return transitions, metrics


def flat_state(value):
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in flat_state(part)]
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in flat_state(part)]
    return [value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value, dtype=object)]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(flat_state(a), flat_state(b), strict=True))
