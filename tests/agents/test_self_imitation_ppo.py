"""Self-imitation: its loss by hand, what it keeps, and that it learns from it."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from engram_rl.agents.self_imitation_ppo import imitation_loss
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.rollout import step


def played(settings="", steps=70):
    envs = build_environments(OmegaConf.create(environment_config("newgoal_searched", {"num_envs": 4})))
    config = agent_config(f"self_imitation_ppo num_steps=32 minibatch_size=64 {settings}")
    made, reports = build_agent(OmegaConf.create(config), envs, 0), []
    observation, _ = envs.reset(seed=0)
    for _ in range(steps):
        transition = step(envs, observation, made.act(observation))
        made.observe(transition)
        reports += [report] if (report := made.learn()) else []
        observation = transition.reset_observation
    return made, reports


def test_only_what_went_better_than_expected_is_imitated():
    log_prob = torch.tensor([-1.0, -2.0], requires_grad=True)
    value = torch.tensor([0.5, 0.5], requires_grad=True)
    loss = imitation_loss(log_prob, value, torch.tensor([1.5, 0.2]), value_coefficient=0.1)
    assert loss.item() == pytest.approx((1.0 * 1.0 + 0.1 * 0.5 * 1.0) / 2)
    loss.backward()
    assert log_prob.grad.tolist() == [-0.5, 0]
    assert value.grad.tolist() == pytest.approx([-0.05, 0])


def test_it_keeps_finished_episodes_alone_and_the_newest_of_them():
    made, reports = played()
    assert 0 < len(made._replay) < 4 * 70
    assert "train/imitation_loss" in reports[-1]
    small, _ = played("capacity=10")
    assert len(small._replay) == 10


def test_the_returns_are_those_of_the_episodes():
    made, _ = played("discount=0.5")
    gained = made.state_dict()["imitation"]["replay"]["rows"]["gained"]
    assert set(np.unique(np.log2(gained[gained > 0]) % 1)) == {0.0}


@pytest.mark.parametrize("settings", ["cut_at_episode_ends=false", "+scale_rewards=true"])
def test_values_of_something_else_than_the_return_are_refused(settings):
    with pytest.raises(ValueError, match="which must be of the same"):
        played(settings, steps=1)


def test_what_is_held_of_an_episode_is_not_joined_to_what_follows_a_gap():
    made, _ = played(steps=5)
    assert made._returns.state_dict()["count"].any()
    made.frozen = True
    assert not made._returns.state_dict()["count"].any()
