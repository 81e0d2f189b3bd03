"""Self-imitation: its loss by hand, what it keeps, and that it learns from it."""

import inspect

import numpy as np
import pytest
import torch
from gymnasium import spaces
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from engram_rl.agents.agent import Transition
from engram_rl.agents.policy_gradient.perception import ModestRewards
from engram_rl.agents.self_imitation_ppo import imitation_loss, make_self_imitation_ppo
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.rollout import step
from tests.agents.ppo_worlds import TWO, VECTOR, E, same


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


@pytest.mark.parametrize("settings", ["prioritisation=-1", "correction=2", "batches=0", "imitation_value=-1"])
def test_what_is_out_of_range_is_refused(settings):
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


HERE, NO, YES = np.ones((E, 3), np.float32), np.zeros(E, bool), np.ones(E, bool)


def small(action_space=TWO, observation_space=VECTOR, **changes):
    settings = {"capacity": 50, "batches": 2, "imitation_value": 0.1, "num_steps": 8, "minibatch_size": 6}
    return make_self_imitation_ppo(
        observation_space, action_space, E, 0, **(settings | {"hidden": [8], "discount": 0.9} | changes)
    )


def one_step(agent, reward=0.0, ended=False, cut=False, mask=None):
    agent.act(HERE, mask=mask)
    action = agent.policy.head.taken(agent.acted["action"])
    flags = (YES if ended else NO, YES if cut else NO)
    agent.observe(Transition(HERE, action, np.full(E, float(reward)), *flags, HERE, HERE))


def rows_of(agent):
    return agent._replay.state_dict()["rows"]


def test_what_is_not_given_is_as_documented():
    values = {name: one.default for name, one in inspect.signature(make_self_imitation_ppo).parameters.items()}
    assert {name: values[name] for name in ("prioritisation", "correction", "bootstrap")} == {
        "prioritisation": 0.6,
        "correction": 0.1,
        "bootstrap": True,
    }


@pytest.mark.parametrize(("scale_rewards", "size"), [("modest", 1e4), ("modest", 1.0), (False, 1.0)])
@pytest.mark.parametrize("bootstrap", [True, False])
def test_returns_are_of_rewards_as_they_are_and_values_of_rewards_as_they_are_learned(scale_rewards, size, bootstrap):
    agent = small(scale_rewards=scale_rewards, bootstrap=bootstrap, prioritisation=0.0)
    if scale_rewards:
        scale = {"returns": np.zeros(E), "square": size**2, "count": 10**9}
        agent.reward_scale.load_state_dict(scale)
    cut = Transition(HERE, np.zeros(E, int), np.zeros(E), NO, YES, HERE, HERE)
    one_step(agent, reward=-size)
    value = agent._final_values(cut)
    one_step(agent, reward=3 * size, cut=True)
    last = 3 * size + 0.9 * value * size * bootstrap
    gained = rows_of(agent)["gained"].reshape(E, 2)
    assert abs(value).min() > 1e-3
    assert gained == pytest.approx(np.stack([-size + 0.9 * last, last], axis=1), rel=1e-5)
    agent.descent = lambda loss: None
    for _ in range(10):
        agent._imitate()
    held = rows_of(agent)
    starts = torch.zeros(1, 2 * E, dtype=torch.bool)
    with torch.no_grad():
        judged = agent.policy(torch.from_numpy(held["seen"]), {}, starts, {}).value.numpy()
    better = np.maximum(held["gained"] / size - judged, 0)
    assert agent._replay.state_dict()["priority"] == pytest.approx(better, rel=1e-4)


def test_scales_may_be_given_and_are_modest_unless_they_are():
    assert isinstance(small().reward_scale, ModestRewards)
    assert small(scale_rewards=False).reward_scale is None


def test_before_an_episode_has_ended_nothing_is_imitated():
    agent, told = small(), []
    for t in range(16):
        one_step(agent, ended=t == 10)
        told += [report] if (report := agent.learn()) else []
    assert ["train/imitation_loss" in report for report in told] == [False, True]


def test_it_imitates_as_often_as_is_asked():
    agent, losses = small(batches=3), []
    real = agent._imitate
    agent._imitate = lambda: losses.append(real()) or losses[-1]
    for t in range(8):
        one_step(agent, reward=1.0, ended=t % 4 == 3)
    told = agent.learn()
    assert len(losses) == 3 and all(losses)
    assert told["train/imitation_loss"] == pytest.approx(np.mean(losses))


def test_what_was_allowed_is_kept_beside_what_was_done():
    agent, masks = small(), [np.array([[True, False]] * E), None, np.array([[False, True]] * E)]
    for t, mask in enumerate(masks):
        one_step(agent, ended=t == 2, mask=mask)
    kept = rows_of(agent)["mask"].reshape(E, 3, 2)
    assert kept.tolist() == [[[True, False], [True, True], [False, True]]] * E
    again = small()
    again.load_state_dict(agent.state_dict())
    assert same(rows_of(again), rows_of(agent))
    assert "mask" not in played_out(small(spaces.Box(-1, 1, (2,), np.float32)))


def played_out(agent, steps=5):
    """The rows of episodes of that many steps."""
    for t in range(steps):
        one_step(agent, reward=t, ended=t == steps - 1)
    one_step(agent)
    return rows_of(agent)


ACTIONS = {
    "choices": TWO,
    "parts": spaces.MultiDiscrete([2, 3, 4]),
    "numbers": spaces.Box(-1, 1, (2,), np.float32),
}


@pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("steps", [0, 5])
def test_a_state_without_masks_is_one_in_which_all_was_allowed(space, steps):
    agent, other = small(space), small(space)
    if steps:
        played_out(agent, steps)
    state = agent.state_dict()
    for held in (state["imitation"]["replay"]["rows"], state["imitation"]["returns"]["observation"]):
        if held:
            held.pop("mask", None)
    other.load_state_dict(state)
    again = other.state_dict()["imitation"]
    if steps and not isinstance(space, spaces.Box):
        choices = spaces.flatdim(space)
        assert again["replay"]["rows"]["mask"].shape == (E * steps, choices)
        assert again["returns"]["observation"]["mask"].shape[::2] == (E, choices)
        assert again["replay"]["rows"]["mask"].all() and again["returns"]["observation"]["mask"].all()
    for one in (agent, other):
        one_step(one, ended=True)
    assert same(rows_of(agent)["gained"], rows_of(other)["gained"])


@pytest.mark.parametrize("missing", ["replay", "returns"])
def test_a_state_that_is_broken_changes_nothing(missing):
    agent, other = small(), small()
    played_out(other)
    before, state = agent.state_dict(), other.state_dict()
    state["imitation"] = {name: part for name, part in state["imitation"].items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        agent.load_state_dict(state)
    assert same(agent.state_dict(), before)


def test_a_recurrent_policy_imitates_episodes_that_are_held_from_their_first_step_on():
    agent = small(recurrent=8)
    assert "whole" not in played_out(agent) and rows_of(agent)["starts"].tolist() == [True, *[False] * 4] * E
    agent.frozen = True
    agent.frozen = False
    one_step(agent, ended=True)  # of an episode whose first step is held no more
    assert len(rows_of(agent)["gained"]) == 5 * E
    for t in range(3):
        one_step(agent, ended=t == 2)
    assert rows_of(agent)["starts"].tolist() == [True, *[False] * 4] * E + [True, False, False] * E


def test_a_recurrent_policy_judges_what_it_imitates_from_the_first_step_of_each_episode():
    agent, drawn, losses = small(recurrent=8), [], []
    for steps in (5, 2):
        played_out(agent, steps)
        agent.begin_episodes()
    real = agent._replay.sample_episodes
    agent._replay.sample_episodes = lambda *asked: drawn.append(real(*asked)) or drawn[-1]
    agent.descent = losses.append
    told = agent._imitate()
    rows = {name: np.array(part) for name, part in drawn[0].items() if name != "extras"}
    total, first = 0.0, np.flatnonzero(rows["starts"])
    for begin, end in zip(first, [*first[1:], len(rows["starts"])], strict=True):
        state = agent.policy.initial_state(1)
        for t in range(begin, end):
            seen, start = torch.from_numpy(rows["seen"][t : t + 1]), torch.tensor([[t == begin]])
            judged = agent.policy(seen, state, start, {})
            state, taken = judged.state, torch.from_numpy(rows["action"][t : t + 1])
            better = max(0.0, rows["gained"][t] - judged.value.item())
            log_prob = judged.distribution.log_prob(taken).item()
            total += -log_prob * better + 0.1 * 0.5 * better**2
    assert told == losses[0].item() == pytest.approx(total / len(rows["starts"]), rel=1e-4)


def test_where_no_episode_is_whole_a_recurrent_policy_imitates_nothing():
    agent, descents = small(recurrent=8, capacity=2), []
    played_out(agent)
    agent.descent = descents.append
    assert len(rows_of(agent)["gained"]) == 2 and agent._imitate() == 0.0 and not descents


def test_a_state_that_outlives_episodes_is_refused():
    with pytest.raises(ValueError, match=r"set agent\.carry_state=false"):
        small(recurrent=8, carry_state=True)
