"""Many poles at once move as single ones do, and no step after an episode's end is made up."""

import gymnasium as gym
import numpy as np
import pytest

from engram_rl.training.environments import make_environments
from engram_rl.training.rollout import step


@pytest.fixture
def poles():
    environments = make_environments("CartPole-v1", 3, vectorization="vector_entry_point")
    environments.reset(seed=0)
    return environments


def single(state):
    one = gym.make("CartPole-v1").unwrapped
    one.reset()
    one.state = tuple(state)
    return one


def play(poles, steps, action):
    observation = poles.reset(seed=0)[0]
    for t in range(steps):
        transition = step(poles, observation, action(t))
        yield transition
        observation = transition.reset_observation


def test_each_step_is_that_of_a_single_pole(poles):
    rng = np.random.default_rng(0)
    ended = 0
    for transition in play(poles, 200, lambda t: rng.integers(0, 2, 3)):
        for e in range(3):
            following, reward, terminated, _, _ = single(transition.observation[e]).step(int(transition.action[e]))
            assert transition.next_observation[e] == pytest.approx(following, abs=1e-5)
            assert transition.reward[e] == reward == 1
            if np.abs(following[2]) < 0.2:  # single precision may differ at the very edge
                assert transition.terminated[e] == terminated
        ended += transition.done.sum()
    assert ended > 10


def test_a_new_episode_begins_within_the_step_that_ends_the_last(poles):
    lengths = []
    for transition in play(poles, 60, lambda t: np.zeros(3, dtype=np.int64)):
        begun = np.abs(transition.reset_observation).max(axis=1) < 0.05
        assert (begun == transition.done).all()
        assert (transition.reward == 1).all()
        if transition.done.any():
            assert (np.abs(transition.next_observation[transition.done][:, 2]) > 0.2).all()
            lengths += transition.info["episode"]["l"][transition.done].tolist()
    assert len(lengths) > 12 and set(lengths) <= {8, 9, 10, 11}


def test_an_episode_is_cut_after_500_steps(poles):
    balanced = poles.unwrapped
    for t in range(1, 1001):
        balanced.state[:] = 0
        *_, terminated, truncated, _ = poles.step(np.array([t % 2] * 3))
        assert not terminated.any()
        assert truncated.all() == (t % 500 == 0)
