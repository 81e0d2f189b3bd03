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


def test_weights_multiply_what_each_step_loses():
    log_prob, value = torch.tensor([-1.0, -2.0]), torch.tensor([0.5, 0.5])
    gained, weight = torch.tensor([1.5, 2.5]), torch.tensor([1.0, 0.25])
    loss = imitation_loss(log_prob, value, gained, 0.1, weight)
    assert loss.item() == pytest.approx(((1 * 1 + 0.05 * 1) + 0.25 * (2 * 2 + 0.05 * 4)) / 2)


def test_what_was_imitated_has_how_much_better_it_was_than_expected_as_its_priority():
    made, _ = played("capacity=5000 batches=1 prioritisation=0")
    held = made.state_dict()["imitation"]["replay"]
    assert (held["priority"] != 1.0).sum() > 0 and (held["priority"] >= 0).all()
    made._replay._buffers["gained"][::2] = -5  # worse than expected
    drawn = []
    draw = made._replay.draw
    made._replay.draw = lambda count: drawn.append(draw(count)) or drawn[-1]
    with torch.no_grad():
        made.descent = lambda loss: None
        made._imitate()
        batch = drawn[0].rows
        seen, size = torch.from_numpy(batch["seen"]), len(drawn[0].at)
        starts = torch.zeros(1, size, dtype=torch.bool)
        value = made.policy(seen, made.policy.initial_state(size), starts, {}, None).value.numpy()
    expected = np.maximum(batch["gained"] - value, 0)
    assert made._replay._priority[drawn[0].at] == pytest.approx(expected, abs=1e-6)
    assert (expected == 0).any() and (expected > 0).any()


@pytest.mark.parametrize("settings", ["prioritisation=-1", "correction=2"])
def test_exponents_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=settings.partition("=")[0]):
        played(settings, steps=1)


def test_a_state_from_before_masks_were_kept_is_one_in_which_all_was_allowed():
    made, _ = played()
    state = made.state_dict()
    for held in (state["imitation"]["replay"]["rows"], state["imitation"]["returns"]["observation"]):
        assert held.pop("mask").any()
    del state["imitation"]["replay"]["priority"]
    made.load_state_dict(state)
    again = made.state_dict()["imitation"]
    assert again["replay"]["rows"]["mask"].all() and again["replay"]["rows"]["mask"].shape[1] == 4
    assert again["returns"]["observation"]["mask"].all() and (again["replay"]["priority"] == 1).all()
    made._imitate()
