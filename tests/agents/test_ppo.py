"""PPO: one whole update against a slow float64 reference, what state it keeps, and what it refuses."""

import copy
import dataclasses
from functools import partial
from inspect import Parameter, signature

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import distributions, nn

from engram_rl.agents.common.schedules import Linear
from engram_rl.agents.policy_gradient.perception import ModestRewards, RewardScale
from engram_rl.agents.ppo import ADAM, PPO, make_ppo
from engram_rl.memory import DifferentiableNeuralDictionary, checks
from engram_rl.memory.cores import CORES
from engram_rl.memory.cores.gru import GRU
from tests.agents.ppo_worlds import TWO, VECTOR, E, T, World, make_agent, play, same


def test_an_update_is_the_papers_step_by_step():
    """One epoch in two minibatches, with truncated and terminated episodes, against obvious float64 code."""
    agent = make_agent(epochs=1, minibatch_size=T * E // 2)
    slow = copy.deepcopy(agent.policy).double()
    before_update = [parameter.clone() for parameter in agent.policy.parameters()]
    transitions, _ = play(agent, World(ends=0.9, seed=1), T, learn=False)
    shuffler = torch.Generator()
    shuffler.set_state(agent._generator.get_state())
    metrics = agent.learn()

    def value_of(observation):
        return slow.value(slow.critic(torch.from_numpy(observation).double())).squeeze(1)

    def log_probs_of(observation):
        head = slow.head
        hidden = slow.actor(torch.from_numpy(observation).double())
        return torch.log_softmax(nn.functional.linear(hidden, head.weight, head.bias), dim=1)

    with torch.no_grad():
        value = torch.stack([value_of(t.observation) for t in transitions])
        following = torch.stack([value_of(t.next_observation) * torch.from_numpy(~t.terminated) for t in transitions])
        advantage = torch.zeros(T, E, dtype=torch.float64)
        for e in range(E):
            for t in range(T):
                factor = 1.0
                for later in range(t, T):
                    step = transitions[later]
                    advantage[t, e] += factor * (step.reward[e] + 0.9 * following[later, e] - value[later, e])
                    factor *= 0.9 * 0.8
                    if step.done[e]:
                        break
        old = torch.stack([log_probs_of(t.observation) for t in transitions])  # [T, E, A]
    observation = np.concatenate([t.observation for t in transitions])
    action = torch.from_numpy(np.concatenate([t.action for t in transitions]))
    old = old.flatten(0, 1).gather(1, action[:, None]).squeeze(1)
    target, advantage = (value + advantage).flatten(), advantage.flatten()
    adam = torch.optim.Adam(slow.parameters(), lr=0.01, eps=1e-5)
    order = torch.randperm(T * E, generator=shuffler)
    for rows in order.split(T * E // 2):
        chosen = advantage[rows]
        chosen = (chosen - chosen.mean()) / (chosen.std() + 1e-8)
        now = distributions.Categorical(logits=log_probs_of(observation[rows.numpy()]))
        ratio = (now.log_prob(action[rows]) - old[rows]).exp()
        actor = torch.stack(
            [torch.min(r * a, r.clamp(0.8, 1.2) * a) for r, a in zip(ratio, chosen, strict=True)]
        ).mean()
        critic = (value_of(observation[rows.numpy()]) - target[rows]).square().mean()
        adam.zero_grad()
        (-actor + 0.5 * critic - 0.01 * now.entropy().mean()).backward()
        nn.utils.clip_grad_norm_(slow.parameters(), 0.5)
        adam.step()

    assert any(t.truncated.any() for t in transitions) and any(t.terminated.any() for t in transitions)
    for ours, theirs, before in zip(agent.policy.parameters(), slow.parameters(), before_update, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-5)
        assert not torch.equal(ours, before)
    assert metrics.keys() >= {
        "train/policy_loss", "train/value_loss", "train/entropy", "train/approx_kl", "train/clip_fraction",
        "train/explained_variance", "train/learning_rate",
    }  # fmt: skip


@pytest.mark.parametrize("recurrent", [0, 5])
def test_before_the_first_step_of_an_update_nothing_has_changed_since_acting(recurrent):
    agent = make_agent(recurrent=recurrent, show_previous=bool(recurrent), epochs=1, minibatch_size=10_000)
    _, metrics = play(agent, World(), T)
    assert metrics["train/approx_kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["train/clip_fraction"] == 0


def test_the_recurrent_state_of_acting_is_that_of_the_update():
    agent = make_agent(recurrent=5, show_previous=True)
    seen = []
    features = agent.policy.features

    def listen(*arguments):
        found = features(*arguments)
        seen.append(found[0].detach())
        return found

    agent.policy.features = listen
    play(agent, World(ends=0.4), T, learn=False)
    acted = torch.stack([one for one in seen if len(one) == E][:T])
    agent._evaluated()
    unrolled = next(one for one in seen if len(one) == T * E)
    torch.testing.assert_close(unrolled.unflatten(0, (T, E)), acted)


def test_a_state_begins_anew_with_each_episode_unless_it_is_carried():
    for carry in (False, True):
        agent = make_agent(recurrent=5, carry_state=carry)
        world = World(ends=0)
        play(agent, world, 3, learn=False)
        assert not agent.starts.any()
        world.ends = 2.0
        play(agent, world, 1, learn=False)
        assert agent.starts.all() == (not carry)


def test_a_cut_episode_is_worth_its_last_observation_and_an_ended_one_nothing():
    agent = make_agent()
    world = World(ends=0.8)
    transitions, _ = play(agent, world, T - 1, learn=False)
    assert any(t.truncated.any() for t in transitions) and any(t.terminated.any() for t in transitions)
    for t, transition in enumerate(transitions):
        with torch.no_grad():
            following = torch.from_numpy(transition.next_observation)
            expected = agent.policy.values(following, {}).numpy() * transition.truncated
        assert agent._rollout._final_value[t] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("changes", [{}, {"recurrent": 4, "show_previous": True}, {"normalise_observations": True}])
def test_playing_without_exploring_leaves_no_trace(changes):
    agent = make_agent(**changes)
    world = World()
    play(agent, world, T + 3)
    before = copy.deepcopy(agent.state_dict())
    first = agent.act(world.shown, explore=False)
    player = agent.player(5)
    other = World(rows=5, seed=4)
    for _ in range(4):
        player.observe(other.step(player.act(other.shown)))
    assert (agent.act(world.shown, explore=False) == first).all()
    assert same(before, agent.state_dict())


def test_a_player_remembers_its_own_episode():
    agent = make_agent(recurrent=6, show_previous=True)
    player, world = agent.player(E), World(ends=0)
    states = []
    for _ in range(3):
        player.observe(world.step(player.act(world.shown)))
        states.append(player._state["hidden"].clone())
    assert not torch.equal(states[0], states[2])
    world.ends = 2.0
    player.observe(world.step(player.act(world.shown)))
    assert player._starts.all()


def test_frozen_it_plays_on_with_its_memory_and_learns_nothing():
    agent = make_agent(recurrent=4, carry_state=True, show_previous=True, normalise_observations=True)
    world = World()
    play(agent, world, T + 2)
    agent.frozen = True
    before = copy.deepcopy(agent.state_dict())
    _, metrics = play(agent, world, 3 * T)
    after = agent.state_dict()
    assert metrics == {}
    for name in ("policy", "descent", "perception", "steps"):
        assert same(before[name], after[name]), name
    assert len(agent._rollout) == 0, "what came before the gap is not learned from"
    assert not same(before["state"], after["state"]) and not same(before["extras"], after["extras"])


def test_the_learning_rate_falls_with_the_steps():
    agent = make_agent(learning_rate=Linear(0.01, 0.0, 2 * T * E))
    world = World()
    _, first = play(agent, world, T)
    _, second = play(agent, world, T)
    assert (first["train/learning_rate"], second["train/learning_rate"]) == (pytest.approx(0.005), 0)


def test_an_update_stops_when_it_has_gone_far_enough():
    steps = []

    def counting(parameters):
        optimiser = torch.optim.SGD(parameters)
        optimiser.register_step_post_hook(lambda *_: steps.append(1))
        return optimiser

    play(make_agent(epochs=50, optimiser=counting, target_kl=1e-4, learning_rate=Linear(1.0, 1.0, 1)), World(), T)
    assert 0 < len(steps) < 50 * T * E // 6


def test_weights_begin_orthogonal():
    agent = make_agent(hidden=[16, 16], observation_space=spaces.Box(-1, 1, (16,)))
    for layer, gain in [(agent.policy.actor[0], 2**0.5), (agent.policy.critic[2], 2**0.5)]:
        torch.testing.assert_close(layer.weight @ layer.weight.T, gain**2 * torch.eye(16), atol=1e-5, rtol=0)
        assert (layer.bias == 0).all()
    assert agent.policy.head.weight.norm(dim=1).tolist() == pytest.approx([0.01, 0.01])
    assert agent.policy.value.weight.norm().item() == pytest.approx(1.0)


ERRORS = {
    "num_steps is 0": {"num_steps": 0},
    "discount is 1.5": {"discount": 1.5},
    "gae_lambda is -0.1": {"gae_lambda": -0.1},
    "minibatch_size is -4": {"minibatch_size": -4},
    "shows pictures": {"normalise_observations": True, "observation_space": spaces.Box(0, 255, (40, 40, 3), np.uint8)},
    "cannot read observations of Text": {"observation_space": spaces.Text(4)},
    "acts in Discrete": {"action_space": spaces.MultiBinary(2)},
    "carry_state.*recurrent": {"carry_state": True},
}


@pytest.mark.parametrize("message", ERRORS)
def test_what_cannot_be_is_refused_with_its_name_and_value(message):
    with pytest.raises(ValueError, match=message):
        make_agent(**ERRORS[message])


def test_only_its_own_actions_teach_it():
    agent, world = make_agent(), World()
    transition = world.step(agent.act(world.shown))
    agent.observe(transition)
    with pytest.raises(RuntimeError, match="call act, then observe"):
        agent.observe(transition)


def test_a_full_rollout_must_be_learned_from():
    agent, world = make_agent(), World()
    with pytest.raises(RuntimeError, match=r"full.*learn"):
        play(agent, world, T + 1, learn=False)


def defaults(function):
    taken = signature(function).parameters.values()
    return {one.name: one.default for one in taken if one.default is not Parameter.empty}


def test_what_is_left_out_is_as_documented():
    assert defaults(make_ppo) == {
        "hidden": (64, 64), "picture_features": 512, "recurrent": 0, "core": GRU, "core_losses": None,
        "carry_state": False, "show_previous": False, "num_steps": 128, "epochs": 4, "minibatch_size": 256,
        "discount": 0.99, "gae_lambda": 0.95, "cut_at_episode_ends": True, "optimiser": ADAM, "learning_rate": 1e-3,
        "clip": 0.2, "value_clip": None, "value_coefficient": 0.5, "entropy_coefficient": 0.0,
        "normalise_advantage": True, "max_gradient_norm": 0.5, "target_kl": None, "normalise_observations": False,
        "scale_rewards": None, "scale_rule": 2, "device": "cpu", "extras": (), "fusion": None, "logit_bias": None,
        "agent": PPO,
    }  # fmt: skip
    assert defaults(PPO.__init__) == {
        "extras": (), "reward_scale": None, "cut_at_episode_ends": True, "carry_state": False, "scale_rule": 2
    }  # fmt: skip
    agent = make_ppo(VECTOR, TWO, E, 0)
    assert agent.minibatch_size == 256 and agent.discount == 0.99 and not agent.carry_state and not agent.frozen
    adam = agent.descent._optimiser
    assert type(adam) is torch.optim.Adam and (adam.defaults["eps"], adam.defaults["fused"]) == (1e-5, True)


PICTURE = spaces.Box(0, 255, (40, 40, 3), np.uint8)
SCALES = {
    None: {"alone": ModestRewards, "shared": RewardScale},
    "modest": {"alone": ModestRewards, "shared": ModestRewards},
    True: {"alone": RewardScale, "shared": RewardScale},
    False: {"alone": type(None), "shared": type(None)},
}


@pytest.mark.parametrize("asked", SCALES)
def test_rewards_are_scaled_as_asked_and_else_by_whether_actor_and_critic_share_weights(asked):
    expected = SCALES[asked]
    asked = "".join(asked) if asked == "modest" else asked  # not the very same text, as of a file
    given = {} if asked is None else {"scale_rewards": asked}
    for name, changes in {"alone": [{}], "shared": [{"recurrent": 4}, {"observation_space": PICTURE}]}.items():
        for change in changes:
            space = change.get("observation_space", VECTOR)
            agent = make_ppo(space, TWO, E, 0, recurrent=change.get("recurrent", 0), picture_features=4, **given)
            assert type(agent.reward_scale) is expected[name]
    with pytest.raises(ValueError, match="scale_rewards is 'much'; it must be true, false or modest"):
        make_agent(scale_rewards="much")


def test_what_is_shown_of_the_step_before_is_all_the_action_or_nothing():
    with pytest.raises(ValueError, match="show_previous is 'reward'; it must be true, false or action"):
        make_agent(show_previous="reward")


class Known:
    """Has seen things, or does not say."""

    def __init__(self, **said):
        self.__dict__ |= said


LIFELONG = partial(CORES["lifelong"], memory=partial(DifferentiableNeuralDictionary, capacity=40, k=3))


@pytest.mark.parametrize(
    ("changes", "extras", "parts"),
    [
        ({}, [], ()),
        ({"recurrent": 4}, [], ()),
        ({}, [Known(), Known(remembers=False)], ()),
        ({}, [Known(), Known(remembers=True)], ("extras", "rollout", "state", "starts")),
        ({"recurrent": 4, "carry_state": True}, [], ("extras", "rollout", "state", "starts")),
        ({"recurrent": 4, "core": LIFELONG}, [], ("extras", "rollout", "state", "starts", "lifelong")),
    ],
)
def test_what_was_experienced_is_held_by_what_outlives_an_episode(changes, extras, parts):
    agent = make_agent(**changes)
    agent.extras = extras
    assert agent.memory_parts == parts


def test_running_statistics_take_in_what_is_acted_on_once_and_nothing_else():
    agent = make_agent(normalise_observations=True)
    transitions, _ = play(agent, World(ends=0.9), T)
    assert any(one.truncated.any() for one in transitions)
    every = np.concatenate([one.observation for one in transitions])
    assert agent.perceive.moments.count == T * E
    assert agent.perceive.moments.mean == pytest.approx(every.mean(axis=0), abs=1e-6)


def test_an_episode_that_ends_both_ways_has_ended():
    agent, world = make_agent(), World(ends=0)
    transition = world.step(agent.act(world.shown))
    flags = np.array([True, True, False])
    agent.observe(dataclasses.replace(transition, truncated=flags, terminated=np.array([True, False, False])))
    found = agent._rollout._final_value[0]
    assert found[1] != 0 and found.tolist() == [0, found[1], 0]


def test_a_state_that_does_not_name_its_rule_of_scaling_is_the_first_versions():
    first, second = make_agent(scale_rule=1), make_agent()
    saved = {name: part for name, part in first.state_dict().items() if name != "scale_rule"}
    first.load_state_dict(saved)
    with pytest.raises(ValueError, match=r"by rule 1, and this agent scales by rule 2.*scale_rule=1"):
        second.load_state_dict(saved)


def test_codes_take_the_room_of_the_rows_that_they_become(monkeypatch):
    monkeypatch.setattr(checks, "ram", lambda device: 1000 * 4 * 4900)
    codes = spaces.MultiDiscrete(np.full((7, 7), 100, np.uint8), dtype=np.uint8)
    make_ppo(codes, TWO, 1, 0, num_steps=1000)
    with pytest.raises(ValueError, match=r"a rollout of num_steps=1001 of 19600 bytes each would take"):
        make_ppo(codes, TWO, 1, 0, num_steps=1001)


def test_a_rollout_for_which_there_is_no_room_is_refused_at_once(monkeypatch):
    size = 100 * E * VECTOR.shape[0] * 4
    monkeypatch.setattr(checks, "ram", lambda device: size)
    make_agent(num_steps=100)
    monkeypatch.setattr(checks, "ram", lambda device: size - 1)
    with pytest.raises(ValueError, match=r"a rollout of num_steps=100 of 12 bytes each would take .*lower num_steps"):
        make_agent(num_steps=100)
