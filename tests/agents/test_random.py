"""The random agent: any action of any space, evenly, within masks, and the same again from a saved state."""

import inspect

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from engram_rl.agents.agent import Agent
from engram_rl.agents.random import RandomAgent

PARTS = spaces.MultiDiscrete([2, 3, 4], start=[5, -3, 1])
SPACES = {
    "choices": (spaces.Discrete(3, start=5), [3], [5]),
    "one part": (spaces.MultiDiscrete([3], start=[-2]), [3], [-2]),
    "parts": (PARTS, [2, 3, 4], [5, -3, 1]),
    "a table of parts": (spaces.MultiDiscrete([[2, 3], [4, 5]]), [2, 3, 4, 5], [0, 0, 0, 0]),
}
OBSERVATION = np.zeros((1, 1))


def masks(sizes, envs, seed):
    """Random ones of all parts, each with something allowed. `[envs, sum of sizes]`."""
    draw = np.random.default_rng(seed)
    parts = [draw.random((envs, size)) < 0.5 for size in sizes]
    for part in parts:
        part[np.arange(envs), draw.integers(0, part.shape[1], envs)] = True
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize(("space", "sizes", "starts"), SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("envs", [1, 2, 5])
def test_it_draws_every_action_that_is_allowed_and_no_other(space, sizes, starts, envs):
    vector = batch_space(space, envs)
    agent, mask, seen = RandomAgent(vector, seed=0), masks(sizes, envs, seed=envs), set()
    for _ in range(150):
        action = agent.act(OBSERVATION, mask=mask)
        assert action.dtype == vector.dtype and vector.contains(action)
        seen |= {(env, part, code) for env in range(envs) for part, code in enumerate(action[env].ravel().tolist())}
    begins = np.cumsum([0, *sizes])
    assert seen == {
        (env, part, start + code)
        for env in range(envs)
        for part, (size, start) in enumerate(zip(sizes, starts, strict=True))
        for code in range(size)
        if mask[env, begins[part] + code]
    }


@pytest.mark.parametrize("masked", [False, True])
def test_some_environments_draw_within_masks_of_their_own(masked):
    agent, rows = RandomAgent(batch_space(PARTS, 4), seed=0), np.array([3, 1])
    mask = np.zeros((2, 9), bool)
    mask[0, [0, 2, 5]] = mask[1, [1, 4, 8]] = True
    action = agent.act(OBSERVATION, mask=mask if masked else None, rows=rows)
    assert action.shape == (2, 3)
    if masked:
        assert action.tolist() == [[5, -3, 1], [6, -1, 4]]


def test_a_mask_of_what_are_no_choices_is_refused():
    agent = RandomAgent(batch_space(spaces.Box(-1, 1, (2,)), 2), seed=0)
    assert agent.act(OBSERVATION).shape == (2, 2)
    with pytest.raises(ValueError, match="A mask is for Discrete and MultiDiscrete actions"):
        agent.act(OBSERVATION, mask=np.ones((2, 2), bool))


def test_it_goes_on_from_a_saved_state():
    agent, other = (RandomAgent(batch_space(PARTS, 4), seed=seed) for seed in (0, 1))
    agent.act(OBSERVATION)
    other.load_state_dict(agent.state_dict())
    for mask in (None, masks([2, 3, 4], 4, 0)):
        assert np.array_equal(agent.act(OBSERVATION, mask=mask), other.act(OBSERVATION, mask=mask))
    assert agent.learn() == {}


def test_it_is_asked_as_any_agent_is():
    asked, offered = (inspect.signature(one.act).parameters for one in (Agent, RandomAgent))
    assert all(offered[name].default == parameter.default for name, parameter in asked.items())
