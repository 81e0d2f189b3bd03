"""Environments of a user's own: workers import this file from the folder that the tests put on the path."""

import os
import threading
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Talker(gym.Env):
    """Episodes of 2 to 6 steps that end either way; its infos change in kind, and it reuses its arrays."""

    observation_space = spaces.Dict(
        {
            "at": spaces.Box(-1e6, 1e6, (2,), np.float32),
            "side": spaces.Discrete(3),
            "view": spaces.Box(0, 255, (4, 4, 3), np.uint8),
        }
    )
    action_space = spaces.Discrete(3)

    def __init__(self):
        self.at = np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.length = 0, int(self.np_random.integers(2, 7))
        self.at[:] = self.np_random.normal(size=2)
        return self.seen(), {"length": self.length, "begun": True}

    def step(self, action):
        self.count += 1
        self.at += action * self.np_random.normal(size=2).astype(np.float32)
        over = self.count == self.length
        return self.seen(), float(self.at[0]), over and self.length % 2 == 0, over and self.length % 2 == 1, self.said()

    def seen(self):
        view = self.np_random.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        return {"at": self.at, "side": self.count % 3, "view": view}

    def said(self):
        kinds = [{"n": 1}, {"n": 0.5, "word": "a"}, {"deep": {"at": self.at.copy(), "n": np.int64(3)}}, {"n": None}]
        return {**kinds[self.count % 4], "count": self.count, "either": self.count if self.count % 2 else "even"}


class Waiting(gym.Env):
    """Counts its steps; waits before each, and does what its action says.

    Actions: 0 to go on, 1 to raise an exception, 2 to end the process, 3 to hang. `only` is the environment, by the
    seed of its first reset, that obeys; `wait` the seconds by that seed's last digit.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(4)

    def __init__(self, wait=(0.0,), length=5, closed=None):
        self.wait, self.length, self.closed = wait, length, closed
        self.seed = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed = seed if self.seed is None else self.seed
        self.count = 0
        self.number = float(self.np_random.random())
        return np.array([self.count, self.number]), {}

    def step(self, action):
        if action == 1:
            raise RuntimeError("the arm is stuck")
        if action == 2:
            os._exit(1)
        time.sleep(60 if action == 3 else self.wait[(self.seed or 0) % len(self.wait)])
        self.count += 1
        return (
            np.array([self.count, self.number]),
            1.0,
            self.count == self.length,
            False,
            {"lock": threading.Lock(), "n": 1},
        )

    def close(self):
        if self.closed:
            Path(self.closed).touch()


class Refusing(gym.Env):
    def __init__(self):
        raise RuntimeError("no licence")


class Stuck(gym.Wrapper):
    """Raises at its 20th step."""

    def __init__(self, env):
        super().__init__(env)
        self.left = 20

    def step(self, action):
        self.left -= 1
        if not self.left:
            raise RuntimeError("the arm is stuck")
        return super().step(action)


gym.register("Talker-v0", Talker)
gym.register("Waiting-v0", Waiting)
gym.register("Refusing-v0", Refusing)
