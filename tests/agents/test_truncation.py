"""An episode that is truncated has not ended: its returns go on, in every agent; where nothing is known, as it went."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces

from benchmarks.configuration import agent_config
from engram_rl.agents.agent import Transition
from engram_rl.agents.episodic_control.returns import MonteCarloReturns, NStepReturns, as_it_went
from tests.agents.test_masks import AGENTS, E, made

HERE, NO, YES = np.ones((E, 2), np.float32), np.zeros(E, bool), np.ones(E, bool)


def step(reward, ended=False, cut=False, action=0):
    flags = (YES if ended else NO, YES if cut else NO)
    return Transition(HERE, np.full(E, action), np.full(E, float(reward)), *flags, HERE, HERE)


@pytest.mark.parametrize("discount", [0.5, 0.9, 1.0])
def test_what_goes_on_is_the_mean_reward_for_ever_or_for_as_long_again(discount):
    expected = -2.0 * 4 if discount == 1 else sum(-2.0 * discount**k for k in range(2000))
    assert as_it_went(np.array([-8.0]), np.array([4]), discount) == pytest.approx(expected)


@pytest.mark.parametrize("returns", [MonteCarloReturns(0.9, 2), NStepReturns(8, 0.9, 2)])
def test_what_goes_on_counts_the_running_episode_and_the_step_that_ends_it(returns):
    no, zero = np.zeros(2, bool), np.zeros(2)
    more = (zero,) if isinstance(returns, NStepReturns) else ()
    for reward in ([-1.0, 0.0], [-3.0, 0.0]):
        returns.push(np.zeros((2, 1)), np.zeros(2, int), np.array(reward), no, *more, zero)
    assert returns.going_on(np.array([-2.0, 3.0])) == pytest.approx([-2 / 0.1, 1 / 0.1])


@pytest.mark.parametrize("name", ["mfec", "episodic", "nec"])
def test_a_first_episode_that_is_cut_promises_nothing_that_it_did_not_give(name):
    agent = made(AGENTS[name], spaces.Discrete(2))
    for t in range(5):
        agent.act(HERE)
        agent.observe(step(-1, cut=t == 4))
    stored = agent.memories[0].values[agent.memories[0].slots]
    assert stored.numpy() == pytest.approx(-100, rel=1e-2)


def test_a_promise_that_an_episode_did_not_redeem_is_not_carried_over_its_cut_by_who_doubts_promises():
    for name, expected in (("episodic", 0.0), ("mfec", 5.0)):
        agent = made(AGENTS[name], spaces.Discrete(2))
        agent.act(HERE)
        agent.observe(step(5, ended=True))
        assert agent._final_values(step(0, cut=True)) == pytest.approx(expected)
        assert agent._final_values(step(1, cut=True)) == pytest.approx(5.0)


@pytest.mark.parametrize("bootstrap", [True, False])
def test_what_is_imitated_of_a_cut_episode_goes_on_with_the_critics_value(bootstrap):
    agent = made(f"{AGENTS['self_imitation']} +bootstrap={bootstrap}", spaces.Discrete(2))
    agent.act(HERE)
    value = agent._final_values(step(-1, cut=True))
    agent.observe(step(-1, cut=True))
    gained = agent._replay.state_dict()["rows"]["gained"]
    assert abs(value).min() > 1e-4
    assert gained == pytest.approx(-1 + 0.99 * value * bootstrap, abs=1e-5)


def returns_remembered(agent):
    memory = agent._memory_input.memory
    return memory.values[memory.slots][:, 1].tolist()


@pytest.mark.parametrize(("bootstrap", "expected"), [(True, -1 / (1 - 0.97)), (False, -1.0)])
def test_what_is_remembered_of_a_first_episode_that_is_cut_is_that_it_goes_on_as_it_went(bootstrap, expected):
    agent = made(f"{AGENTS['retrieval_view']} +retrieval.bootstrap={bootstrap}", spaces.Discrete(2))
    agent.act(HERE)
    agent.observe(step(-1, cut=True))
    assert returns_remembered(agent) == pytest.approx([expected] * len(returns_remembered(agent)), rel=1e-4)


def test_what_is_remembered_of_a_cut_episode_goes_on_with_the_best_that_is_remembered_of_its_last_situation():
    agent, there = made(AGENTS["retrieval_view"], spaces.Discrete(2)), np.zeros((E, 2), np.float32)
    for action, reward in ((0, -3.0), (1, -5.0)):
        agent.act(HERE)
        agent._memory_input.observe(step(reward, ended=True, action=action))
    cut = Transition(there, np.zeros(E, int), np.full(E, -1.0), NO, YES, HERE, HERE)
    assert agent._memory_input._follows(cut) == pytest.approx([-3] * E, rel=1e-3)
    second_only = np.tile([False, True], (E, 1))
    assert agent._memory_input._follows(dataclasses.replace(cut, next_mask=second_only)) == pytest.approx(
        [-5] * E, rel=1e-3
    )


@pytest.mark.parametrize("name", [name for name in AGENTS if AGENTS[name]])
def test_a_state_that_does_not_fit_changes_nothing(name):
    agent, other = made(AGENTS[name], spaces.Discrete(2)), made(AGENTS[name], spaces.Discrete(2))
    for t in range(12):
        other.act(HERE)
        other.observe(step(1, ended=t == 7))
    before, state = repr(agent.state_dict()), other.state_dict()
    incomplete = {place: part for place, part in state.items() if place not in ("steps", "size", "due")}
    for broken in (incomplete, state | {"scale_rule": 1}):
        if broken is incomplete or "scale_rule" in state:
            with pytest.raises((KeyError, ValueError)):
                agent.load_state_dict(broken)
        assert repr(agent.state_dict()) == before


@pytest.mark.parametrize("name", ["ppo", "ppo_gru", "retrieval_ppo", "retrieval_ppo_view", "self_imitation_ppo"])
def test_unless_asked_returns_end_with_their_episode_or_a_cost_for_each_step_would_teach_nothing(name):
    assert agent_config(name)["cut_at_episode_ends"] is True
