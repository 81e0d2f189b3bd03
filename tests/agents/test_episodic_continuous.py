"""Episodic control of continuous actions: what it writes, what it does with it, and what it leaves alone."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.episodic_continuous import make_episodic_continuous
from engram_rl.memory import DifferentiableNeuralDictionary

SHOWN, PUSH = spaces.Box(-1, 1, (2,)), spaces.Box(-2, 2, (1,))


def make(num_envs=2, seed=0, capacity=200, k=3, action_space=PUSH, **options):
    memory = partial(DifferentiableNeuralDictionary, capacity=capacity, k=k, forgetting="fifo")
    return make_episodic_continuous(SHOWN, action_space, num_envs, seed, memory=memory, **options)


def step(shown, action, reward, following, ended=False, cut=False):
    def flag(value):
        return np.broadcast_to(np.asarray(value, bool), len(shown))

    rewards = np.broadcast_to(np.asarray(reward, np.float64), len(shown))
    return Transition(shown, action, rewards, flag(ended), flag(cut), following, following)


def live(agent, steps, seed=0, start=None):
    """Random walks whose reward is highest for the push that leads to the middle; what was done."""
    drawn = np.random.default_rng(seed)
    shown = drawn.uniform(-1, 1, (2, 2)).astype(np.float32) if start is None else start
    done = []
    for count in range(steps):
        action = agent.act(shown)
        following = drawn.uniform(-1, 1, (2, 2)).astype(np.float32)
        agent.observe(step(shown, action, -np.abs(shown[:, 0] + action[:, 0]), following, cut=count % 9 == 8))
        agent.learn()
        done.append(action)
        shown = following
    return np.array(done)


def stored(agent):
    memory = agent.memory.memory
    return memory.key_vectors[memory.slots], memory.values[memory.slots][:, 0]


def test_what_is_written_are_the_n_step_returns_of_what_was_done():
    agent = make(num_envs=1, n_step=2, discount=0.5, exploration=1.0)
    shown = np.linspace(-1, 1, 12).reshape(6, 1, 2).astype(np.float32)
    actions, values = [], []
    for t in range(5):
        actions.append(agent.act(shown[t]))
        values.append(float(agent._values[0]))
        agent.observe(step(shown[t], actions[t], float(t + 1), shown[t + 1], ended=t == 4))
    keys, targets = stored(agent)
    expected = [1 + 2 / 2 + values[2] / 4, 2 + 3 / 2 + values[3] / 4, 3 + 4 / 2 + values[4] / 4, 4 + 5 / 2, 5]
    assert targets.tolist() == pytest.approx(expected)
    assert any(values) and keys[:, :2].numpy() == pytest.approx(shown[:5, 0])
    assert keys[:, 2].numpy() == pytest.approx(np.ravel(actions) / 2, abs=1e-6)


def test_an_episode_that_is_cut_goes_on_with_the_best_candidates_value():
    agent = make(num_envs=1, n_step=9, discount=0.5, exploration=0.0)
    here = np.zeros((1, 2), np.float32)
    agent.observe(step(here, agent.act(here), 7.0, here, ended=True))
    agent.observe(step(here, agent.act(here), 1.0, here, cut=True))
    assert stored(agent)[1].tolist() == pytest.approx([7.0, 1 + 0.5 * 7])


def test_of_a_first_episode_that_is_cut_is_promised_what_it_gave():
    agent = make(num_envs=1, n_step=9, discount=0.9)
    here = np.zeros((1, 2), np.float32)
    for t in range(4):
        agent.observe(step(here, agent.act(here), -1.0, here, cut=t == 3))
    assert stored(agent)[1].tolist() == pytest.approx([-10.0] * 4, rel=1e-3)


@pytest.mark.parametrize(("regression", "k"), [("local_linear", 15), ("kernel", 5)])
def test_it_learns_where_nothing_ever_ends(regression, k):
    agent = make(num_envs=2, n_step=1, discount=0.0, k=k, regression=regression)
    drawn, shown = np.random.default_rng(0), np.zeros((2, 2), np.float32)
    for _ in range(150):
        action = agent.act(shown)
        following = drawn.uniform(-1, 1, (2, 2)).astype(np.float32)
        agent.observe(step(shown, action, -np.abs(shown[:, 0] + action[:, 0]), following))
        shown = following
    asked = drawn.uniform(-1, 1, (200, 2)).astype(np.float32)
    done = agent.act(asked, explore=False)[:, 0]
    assert (np.sign(done) == -np.sign(asked[:, 0])).mean() > 0.85  # at random .5
    if regression == "kernel":
        assert np.abs(asked[:, 0] + done).mean() < 0.35  # at random 1.05; a plane's best is a bound


@pytest.mark.parametrize(("regression", "queries"), [("local_linear", [64]), ("kernel", [64, 64 * (5 + 15 + 2)])])
def test_lookups_are_of_all_environments_and_candidates_at_once(monkeypatch, regression, queries):
    agent = make(num_envs=64, regression=regression, proposals=5, perturbations=3, uniform=2)
    calls, lookup = [], DifferentiableNeuralDictionary.lookup

    def counted(self, query, *given, **more):
        calls.append(len(query))
        return lookup(self, query, *given, **more)

    monkeypatch.setattr(DifferentiableNeuralDictionary, "lookup", counted)
    agent.act(np.zeros((64, 2), np.float32))
    assert calls == queries


def test_actions_stay_within_bounds_of_any_shape():
    space = spaces.Box(np.array([[-3.0, 0.0]], np.float32), np.array([[1.0, 0.1]], np.float32))
    agent, shown = make(num_envs=4, action_space=space, spread=5.0), np.zeros((4, 2), np.float32)
    for _ in range(20):
        action = agent.act(shown)
        assert action.shape == (4, 1, 2) and all(space.contains(one) for one in action)
        agent.observe(step(shown, action, action[:, 0, 0], shown, ended=True))
    assert agent.act(shown, explore=False)[:, 0, 0].mean() > 0  # at random -1


def test_being_evaluated_leaves_no_trace():
    agent, other = make(seed=3), make(seed=3)
    live(agent, 30), live(other, 30)
    before = copy.deepcopy(agent.state_dict())
    first = agent.act(np.zeros((7, 2), np.float32), explore=False)
    assert (agent.act(np.zeros((7, 2), np.float32), explore=False) == first).all()
    assert torch.equal(before["generator"], agent.state_dict()["generator"])
    assert (live(agent, 20, seed=1) == live(other, 20, seed=1)).all()


@pytest.mark.parametrize("regression", ["local_linear", "kernel"])
def test_the_same_seed_does_the_same_and_another_something_else(regression):
    one, other, third = (live(make(seed=seed, regression=regression), 30) for seed in (1, 1, 2))
    assert (one == other).all() and (one != third).any()


@pytest.mark.parametrize("regression", ["local_linear", "kernel"])
def test_a_restored_agent_goes_on_as_if_it_had_never_stopped(regression):
    whole, first, second = (make(seed=seed, regression=regression) for seed in (1, 1, 5))
    live(whole, 40), live(first, 40)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert (live(whole, 40, seed=2) == live(second, 40, seed=2)).all()
    assert torch.equal(stored(whole)[0], stored(second)[0]) and torch.equal(stored(whole)[1], stored(second)[1])


def test_a_state_that_does_not_fit_changes_nothing():
    agent = make(seed=1)
    live(agent, 20)
    before, strange = stored(agent), make(num_envs=3, seed=2).state_dict()
    with pytest.raises(ValueError, match="environments"):
        agent.load_state_dict(strange)
    assert torch.equal(stored(agent)[0], before[0]) and torch.equal(stored(agent)[1], before[1])


def test_begun_anew_nothing_of_open_episodes_is_written():
    agent = make(num_envs=1, n_step=5)
    here = np.zeros((1, 2), np.float32)
    agent.observe(step(here, agent.act(here), 3.0, here))
    agent.begin_episodes()
    agent.observe(step(here, agent.act(here), 1.0, here, ended=True))
    assert stored(agent)[1].tolist() == [1.0]


def test_a_memory_that_holds_fewer_than_a_lookup_asks_for_is_enough():
    agent, shown = make(num_envs=1, capacity=30, k=50, n_step=1, discount=0.0), np.zeros((1, 2), np.float32)
    for _ in range(60):
        action = agent.act(shown)
        agent.observe(step(shown, action, action[:, 0], shown))
    assert agent.act(np.zeros((20, 2), np.float32), explore=False).tolist() == [[2.0]] * 20


@pytest.mark.parametrize(("k", "capacity"), [(1, 200), (2, 200), (50, 2)])
def test_too_few_neighbours_for_a_plane_are_refused(k, capacity):
    with pytest.raises(ValueError, match=rf"has {min(k, capacity)} neighbours.*at least 3.*agent\.regression=kernel"):
        make(k=k, capacity=capacity)
    make(k=k, capacity=capacity, regression="kernel")


def test_a_mask_and_other_actions_are_refused():
    with pytest.raises(ValueError, match="A mask is for Discrete"):
        make().act(np.zeros((2, 2), np.float32), mask=np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"continuous actions acts in a Box.*Discrete\(2\).*agent=nec"):
        make(action_space=spaces.Discrete(2))
    for name, value in ("proposals", 0), ("ridge", 0.0), ("noise", -0.1), ("regression", "cubic"):
        with pytest.raises(ValueError, match=f"{name} is {value!r}"):
            make(**{name: value})
    for value, message in ({"spread": -1}, "spread is -1"), ({"spread": np.nan}, "spread is nan"):
        with pytest.raises(ValueError, match=message):
            make(**value)
    for value, message in ({"n_step": 0}, "n_step is 0"), ({"discount": 1.5}, "discount is 1.5; .* at most 1"):
        with pytest.raises(ValueError, match=message):
            make(**value)
    with pytest.raises(TypeError, match=r"n_step is 1\.5"):
        make(n_step=1.5)


def test_some_environments_act_alone_and_each_returns_its_own():
    agent = make(num_envs=3, n_step=4, discount=1.0)
    shown = np.zeros((3, 2), np.float32)
    agent.act(shown)
    rows = np.array([2])
    action = agent.act(shown[rows], rows=rows)
    following = Transition(
        shown[rows], action, np.array([5.0]), np.array([True]), np.array([False]), shown[rows], shown[rows], rows=rows
    )
    agent.observe(following)
    assert stored(agent)[1].tolist() == [5.0]
