"""Agents that can act for some of their environments: each environment's returns are its own, whoever steps when."""

import numpy as np
import pytest
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.random import RandomAgent
from tests.agents.test_masks import AGENTS, E, made


def seen(row, count):
    return np.array([row + 1, count], np.float32)


@pytest.mark.parametrize("name", ["nec", "mfec", "episodic"])
def test_what_is_stored_are_the_returns_of_each_environment_alone(name):
    agent = made(f"{AGENTS[name]} exploration=1.0 discount=0.9", spaces.Discrete(2))
    drawn, counts, length = np.random.default_rng(2), np.zeros(E, int), 5
    expected, shown = {}, np.stack([seen(row, 0) for row in range(E)])
    taken = np.zeros(E, int)
    waiting, episodes = np.arange(E), np.zeros(E, int)
    while episodes.min() < 1:
        taken[waiting] = agent.act(shown[waiting], rows=waiting)
        for row in waiting:
            if episodes[row] == 0:
                expected[(*seen(row, counts[row]).tolist(), taken[row])] = row * 0.9 ** (length - 1 - counts[row])
        rows = np.sort(drawn.choice(E, size=drawn.integers(1, E + 1), replace=False))
        counts[rows] += 1
        over = counts == length
        following = np.stack([seen(row, counts[row]) for row in range(E)])
        counts[over] = 0
        reset = np.stack([seen(row, counts[row]) for row in range(E)])
        reward = np.where(over, np.arange(E), 0.0)
        whole = Transition(shown, taken.copy(), reward, over, over & False, following, reset, rows=rows)
        cut = whole.of_rows()
        assert cut.steps == whole.steps == len(rows) == len(cut.reward) == len(cut.done)
        agent.observe(cut)
        agent.learn()
        episodes[rows] += over[rows]
        shown, waiting = reset, rows
    for (row, count, action), value in expected.items():
        found = agent.act(np.repeat([[row, count]], E, axis=0).astype(np.float32), explore=False)
        assert found.shape == (E,)
        memory = agent.memories[action]
        assert np.isclose(memory.values[memory.slots].numpy(), value, atol=1e-5).any(), (row, count, action)


def test_the_random_agent_draws_for_some_within_their_masks():
    agent = RandomAgent(spaces.MultiDiscrete([3] * 4), seed=0)
    only = np.eye(3, dtype=bool)[[1, 2]]
    for _ in range(10):
        assert agent.act(np.zeros((2, 1)), rows=np.array([0, 3]), mask=only).tolist() == [1, 2]
        assert agent.act(np.zeros((2, 1)), rows=np.array([0, 3])).shape == (2,)
