"""A small grid for Go-Explore: the same from every reset on, unless actions may slip."""

import numpy as np
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.go_explore import make_go_explore
from engram_rl.agents.goal_directed.cells import RoundedCells
from engram_rl.memory import TransitionMemory

MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
SPACE, FOUR = spaces.Box(0, 20, (2,), np.float32), spaces.Discrete(4)


class Grid:
    """Places (x, y) from (0, 0) on, a wall with a gap, and a reward in the far corner, which ends the episode."""

    def __init__(self, num_envs=2, size=6, limit=40, slip=0.0, seed=0):
        self.size, self.limit, self.slip = size, limit, slip
        self.rng = np.random.default_rng(seed)
        self.place, self.steps = np.zeros((num_envs, 2), np.int64), np.zeros(num_envs, np.int64)

    @property
    def shown(self):
        return self.place.astype(np.float32)

    def step(self, action):
        observation, slips = self.shown, self.rng.random(len(action)) < self.slip
        done = np.where(slips, self.rng.integers(4, size=len(action)), action)
        there = np.clip(self.place + MOVES[done], 0, self.size - 1)
        wall = (there[:, 0] == self.size // 2) & (there[:, 1] != 0)
        self.place = np.where(wall[:, None], self.place, there)
        self.steps += 1
        terminated = (self.place == self.size - 1).all(1)
        truncated = ~terminated & (self.steps >= self.limit)
        following, ended = self.shown, terminated | truncated
        self.place, self.steps = np.where(ended[:, None], 0, self.place), np.where(ended, 0, self.steps)
        return Transition(
            observation, action, terminated.astype(np.float64), terminated, truncated, following, self.shown
        )


def make_agent(num_envs=2, seed=0, capacity=300, **changes):
    settings = {"repeat": 0.3, "hidden": [16], "learning_rate": 1e-2, "batch_size": 32, "learn_every": 2}
    return make_go_explore(
        SPACE,
        FOUR,
        num_envs,
        seed,
        memory=lambda *sizes: TransitionMemory(*sizes, capacity=capacity),
        cells=lambda space: RoundedCells(space, 1.0),
        **(settings | changes),
    )


def run(agent, world, steps):
    """The actions, and the metrics of the last step."""
    taken, told = [], {}
    for _ in range(steps):
        taken.append(agent.act(world.shown))
        agent.observe(world.step(taken[-1]))
        told |= agent.learn()
    return np.array(taken), told
