"""PPO learns from every kind of observation and action, and what it is asked to do."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.policy_gradient.perception import ModestRewards, RewardScale
from tests.agents.ppo_worlds import VECTOR, E, T, World, batch, make_agent, play

SPACES = {
    "image": spaces.Box(0, 255, (40, 40, 3), np.uint8),
    "grid": spaces.Box(0, 10, (7, 7, 3), np.uint8),
    "dict": spaces.Dict({"image": spaces.Box(0, 10, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)}),
    "dict with image": spaces.Dict({"image": spaces.Box(0, 255, (40, 40, 1), np.uint8), "speed": VECTOR}),
}


@pytest.mark.parametrize(
    ("space", "changes", "kind"),
    [
        (VECTOR, {}, ModestRewards),
        (VECTOR, {"recurrent": 4}, RewardScale),
        (SPACES["image"], {}, RewardScale),
        (SPACES["dict with image"], {}, RewardScale),
        (SPACES["grid"], {}, ModestRewards),
        (SPACES["image"], {"scale_rewards": "modest"}, ModestRewards),
        (SPACES["image"], {"scale_rewards": False}, type(None)),
        (VECTOR, {"scale_rewards": True}, RewardScale),
    ],
)
def test_rewards_are_scaled_where_actor_and_critic_share_what_they_see_through(space, changes, kind):
    agent = make_agent(space, **{"scale_rewards": None, **changes})
    assert type(agent.reward_scale) is kind


def test_a_scale_of_rewards_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="scale_rewards is 'yes'; it must be true, false or modest"):
        make_agent(scale_rewards="yes")


@pytest.mark.parametrize("recurrent", [0, 4])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_it_learns_from_every_kind_of_observation(space, recurrent):
    agent = make_agent(space, num_envs=2, num_steps=4, recurrent=recurrent)
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    play(agent, World(space, rows=2), 4)
    assert all(not torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
    assert agent.act(batch(space, 0, 2), explore=False).shape == (2,)


@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([2, 3]), spaces.Box(-2, 2, (2,), np.float32), spaces.Discrete(3, start=5)], ids=str
)
def test_it_learns_with_every_kind_of_action(space):
    agent = make_agent(action_space=space)
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    transitions, _ = play(agent, World(), T)
    assert all(not torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
    assert all(space.contains(one if one.shape else one[()]) for t in transitions for one in t.action)


def bandit_share(agent, steps, signal):
    """The share of right actions in the last quarter of a task in which the right action is `signal(t)`."""
    right = []
    for t in range(steps):
        shown, wanted = signal(t)
        action = agent.act(shown)
        right.append((action == wanted).mean())
        done = np.full(E, t % 2 == 1)
        nothing = np.zeros((E, 3), np.float32)
        agent.observe(Transition(shown, action, (action == wanted) * 1.0, done, np.zeros(E, bool), nothing, nothing))
        agent.learn()
    return float(np.mean(right[-steps // 4 :]))


def test_it_learns_to_do_what_an_observation_asks_for():
    rng = np.random.default_rng(0)

    def signal(_):
        wanted = rng.integers(0, 2, E)
        return np.stack([wanted, 1 - wanted, np.zeros(E)], axis=1).astype(np.float32), wanted

    agent = make_agent(num_steps=32, minibatch_size=32, epochs=4, discount=0.0)
    assert bandit_share(agent, 600, signal) > 0.9


@pytest.mark.parametrize(("recurrent", "least", "most"), [(8, 0.85, 1.0), (0, 0.4, 0.85)])
def test_only_a_recurrent_policy_does_what_was_asked_for_a_step_ago(recurrent, least, most):
    """Episodes of two steps: the first shows what the second wants."""
    rng = np.random.default_rng(0)
    asked = np.zeros(E, int)

    def signal(t):
        nonlocal asked
        if t % 2 == 0:
            asked = rng.integers(0, 2, E)
            return np.stack([asked, 1 - asked, np.zeros(E)], axis=1).astype(np.float32), asked
        return np.zeros((E, 3), np.float32), asked

    agent = make_agent(recurrent=recurrent, num_steps=16, minibatch_size=48, epochs=5, discount=0.0)
    assert least <= bandit_share(agent, 400, signal) <= most
