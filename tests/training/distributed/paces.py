"""Environments that do what their action says, for workers that are threads."""

import sys
import threading

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ON, STUCK, LEAVE, WAIT = range(4)
GATE = threading.Event()
"""Who waits goes on when it is set."""


class Paces(gym.Env):
    """Shows how many steps it took, and a number of its seed; ends after `length` steps, either way."""

    metadata = {"render_modes": ["ansi"], "walks": True}  # noqa: RUF012
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(4)

    def __init__(self, length=5, cut=False, closing=None, render_mode=None):
        self.length, self.cut, self.closing, self.render_mode = length, cut, closing, render_mode
        self.closed = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if options and options.get("leave"):
            sys.exit()
        self.count, self.number = 0, float(self.np_random.random())
        return self.seen(), {"begun": self.number, "options": options}

    def step(self, action):
        if action == STUCK:
            raise RuntimeError("the arm is stuck")
        if action == LEAVE:
            sys.exit()
        if action == WAIT:
            GATE.wait(20)
        self.count += 1
        over = self.count == self.length
        return self.seen(), float(action == ON), over and not self.cut, over and self.cut, {"count": self.count}

    def seen(self):
        return np.array([self.count, self.number])

    def render(self):
        return f"at {self.count}"

    def add(self, number, *, times=1):
        return self.count + times * number

    def leave(self):
        sys.exit()

    def close(self):
        self.closed += 1
        if self.closing:
            raise RuntimeError(self.closing)


class Leaving(Paces):
    """Cannot even be made."""

    def __init__(self):
        sys.exit()


class Others(Paces):
    """Acts otherwise."""

    action_space = spaces.Discrete(5)
