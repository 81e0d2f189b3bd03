"""MFEC, equation by equation, against a slow table."""

from inspect import signature
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.common.exploration import EPSILON
from engram_rl.agents.common.schedules import Linear
from engram_rl.agents.episodic_control.returns import Returns
from engram_rl.agents.mfec import best_of_each, make_mfec
from engram_rl.memory import DifferentiableNeuralDictionary, identify

CELLS = 6


def make_agent(num_envs=1, seed=0, space=None, action_space=None, **changes):
    settings = {
        "key_size": 8,
        "memory": lambda keys, **more: DifferentiableNeuralDictionary(
            keys, capacity=100, k=3, kernel="uniform", write_rule="max", **more
        ),
        "exploration": Linear(0.0, 0.0, 1),
        "discount": 0.9,
        "novelty": None,
        "bootstrap": False,
        "device": "cpu",
    }
    space = space or spaces.Box(-1, 1, (3,), np.float32)
    return make_mfec(space, action_space or spaces.Discrete(2), num_envs, seed, **(settings | changes))


def cell(number):
    """One of a few observations, so that situations recur. [1, 3]"""
    return np.random.default_rng(number).uniform(-1, 1, (1, 3)).astype(np.float32)


def play(agent, cells, actions, rewards, truncated=False):
    """One episode of one environment; `cells` holds one more than `rewards`."""
    for t, (action, reward) in enumerate(zip(actions, rewards, strict=True)):
        last = t == len(rewards) - 1
        before, after = cell(cells[t]), cell(cells[t + 1])
        ended, cut = np.array([last and not truncated]), np.array([last and truncated])
        agent.observe(Transition(before, np.array([action]), np.array([reward]), ended, cut, after, after))


def episodes(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        length = int(rng.integers(1, 15))
        yield rng.integers(CELLS, size=length + 1), rng.integers(2, size=length), rng.normal(size=length)


def slow_table(played, discount=0.9):
    """Equation 1: the largest return of each (observation, action)."""
    table = {}
    for cells, actions, rewards in played:
        for t in range(len(rewards)):
            value = sum(discount**j * reward for j, reward in enumerate(rewards[t:]))
            pair = (int(cells[t]), int(actions[t]))
            table[pair] = max(table.get(pair, -np.inf), value)
    return table


def values(agent, observation):
    keys, identity = agent._keys(observation)
    return agent.memories.read_exact(keys, identity, touch=False)[0]


def test_a_known_observation_has_the_largest_of_its_returns():
    agent, played = make_agent(), list(episodes(12))
    for episode in played:
        play(agent, *episode)
    table = slow_table(played)
    assert len(agent.memories) == len(table) > CELLS
    for (name, action), expected in table.items():
        assert values(agent, cell(name))[0, action].item() == pytest.approx(expected, rel=1e-5)


def test_an_unknown_observation_has_the_mean_of_its_k_nearest():
    agent = make_agent()
    for episode in episodes(12):
        play(agent, *episode)
    seen = np.random.default_rng(99).uniform(-1, 1, (1, 3)).astype(np.float32)
    query = torch.from_numpy(seen).double() @ agent.project[1].matrix.double()
    for action, memory in enumerate(agent.memories.per_action):
        near = ((memory.key_vectors[memory.slots].double() - query) ** 2).sum(1).argsort()[:3]
        expected = memory.values[memory.slots][near].double().mean()
        assert values(agent, seen)[0, action].item() == pytest.approx(expected.item(), rel=1e-5)


def test_nothing_is_written_before_the_episode_ends():
    agent = make_agent()
    after = cell(1)
    no = np.array([False])
    for _ in range(5):
        agent.observe(Transition(cell(0), np.array([0]), np.ones(1), no, no, after, after))
    assert len(agent.memories) == 0


def test_a_cut_episode_goes_on_with_the_value_of_its_last_observation_only_if_asked_to():
    for bootstrap, expected in ((False, 1.0), (True, 1 + 0.9 * 4)):
        agent = make_agent(bootstrap=bootstrap)
        play(agent, [1, 2], [0], [4.0])
        play(agent, [3, 1], [0], [1.0], truncated=True)
        assert values(agent, cell(3))[0, 0].item() == pytest.approx(expected)


def test_of_several_visits_in_an_episode_the_best_counts():
    seen = {"identity": np.array([7, 8, 7, 7]), "key": np.arange(4)}
    best = best_of_each(Returns(seen, np.array([0, 0, 0, 1]), np.array([1.0, 2.0, 3.0, 0.5])))
    assert best.observation["key"].tolist() == [1, 2, 3]
    assert best.target.tolist() == [2.0, 3.0, 0.5]


def test_of_visits_that_returned_the_same_the_first_counts():
    seen = {"identity": np.array([7] * 40), "key": np.arange(40)}
    best = best_of_each(Returns(seen, np.zeros(40, int), np.array([0.0] + [1.0] * 39)))
    assert best.observation["key"].tolist() == [1] and best.target.tolist() == [1.0]


def test_other_write_rules_are_a_matter_of_the_memory():
    gated = make_agent(
        memory=lambda keys, **more: DifferentiableNeuralDictionary(
            keys, capacity=9, k=3, kernel="uniform", write_rule="surprise_gated", **more
        )
    )
    play(gated, [0, 1], [0], [1.0])
    play(gated, [0, 1], [0], [0.0])
    assert values(gated, cell(0))[0, 0].item() == 0.5


@pytest.mark.parametrize(
    ("write_rule", "reward", "left"),
    [
        ("surprise_gated", 0.0, 1.0),
        ("surprise_gated", -1.0, 1.0),
        ("last", 0.0, 0.0),
        ("last", -1.0, -1.9),
    ],
)
def test_where_failures_are_blamed_they_are_not_on_what_was_promised_only_later(write_rule, reward, left):
    memory = {"memory": lambda keys, **more: DifferentiableNeuralDictionary(
        keys, capacity=9, k=3, kernel="uniform", write_rule=write_rule, **more)}  # fmt: skip
    agent = make_agent(num_envs=2, **memory)
    before, after = np.concatenate([cell(0)] * 2), np.concatenate([cell(1)] * 2)
    # The second succeeds while the first is under way, then the first fails; only their first step was at cell 0.
    for done in ([False, True], [True, False]):
        ended = np.array(done)
        agent.observe(Transition(before, np.zeros(2, int), np.array([reward, 1.0]), ended, ended & False, after, after))
        before = after
    assert values(agent, cell(0))[0, 0].item() == pytest.approx(left)


def test_it_says_once_how_wrong_what_it_had_stored_was():
    agent = make_agent()
    play(agent, [0, 1, 2], [0, 1], [1.0, 0.0])
    assert not any("value_error" in name for name in agent.learn())
    promised = agent.memories.read_exact(*agent._keys(cell(0)), touch=False)[0][0, 0].item()
    play(agent, [0, 2], [0], [0.25])  # the situation after it, whose action was another, is not met again
    assert agent.learn()["memory/value_error_young"] == pytest.approx(promised - 0.25)
    agent.act(cell(0))
    assert not any("value_error" in name for name in agent.learn())


def test_it_acts_by_the_best_value_without_a_trace_when_not_exploring():
    agent = make_agent(novelty=0.0)
    play(agent, [0, 1], [1], [1.0])
    before = str(agent.state_dict())
    assert agent.act(cell(0), explore=False).tolist() == [1]
    assert str(agent.state_dict()) == before


def test_a_world_without_reward_is_searched_evenly_in_each_episode():
    agent = make_agent(novelty=0.0, action_space=spaces.Discrete(5))
    no = np.array([False])
    for last in (False, True):
        chosen = []
        for t in range(10):
            chosen.append(agent.act(cell(0)).item())
            end = np.array([last and t == 9])
            agent.observe(Transition(cell(0), np.array(chosen[-1:]), np.zeros(1), no, end, cell(0), cell(0)))
        assert sorted(chosen[:5]) == sorted(chosen[5:]) == [0, 1, 2, 3, 4]


def test_what_was_tried_counts_until_the_episode_ends():
    agent = make_agent(novelty=0.0)
    play(agent, [0, 0, 1], [1, 1], [0.0, 0.0])
    no = np.array([False])
    agent.observe(Transition(cell(0), np.array([0]), np.zeros(1), no, no, cell(1), cell(1)))
    assert agent._tries(identify(cell(0))).tolist() == [[1, 0]]
    assert agent._tries(identify(cell(1))).tolist() == [[0, 0]]


def test_actions_of_several_parts_are_remembered_as_combinations():
    agent = make_agent(action_space=spaces.MultiDiscrete([2, 3]))
    end, no = np.array([True]), np.array([False])
    agent.observe(Transition(cell(0), np.array([[1, 2]]), np.ones(1), end, no, cell(1), cell(1)))
    assert agent.act(cell(0), explore=False).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (84, 84, 4), np.uint8),
        spaces.Dict({"direction": spaces.Discrete(4), "image": spaces.Box(0, 255, (7, 7, 3), np.uint8)}),
        spaces.MultiDiscrete([3, 4]),
    ],
)
def test_any_observation_has_a_key_and_a_different_one_another(space):
    agent = make_agent(space=space)
    space.seed(0)
    batches = spaces.Dict({"o": space})
    batches.seed(0)
    one, other = (to_batch(batches.sample()["o"]) for _ in range(2))
    (key, name), (again, same), (third, different) = (agent._keys(o) for o in (one, one, other))
    assert torch.equal(key, again) and torch.equal(name, same)
    assert not torch.allclose(key, third) and not torch.equal(name, different)


def to_batch(observation):
    if isinstance(observation, dict):
        return {name: to_batch(part) for name, part in observation.items()}
    return np.asarray(observation)[None]


def test_identity_is_that_of_the_raw_observation():
    agent = make_agent()
    assert torch.equal(agent._keys(cell(0))[1], identify(cell(0)))


def test_settings_that_are_not_given_are_the_documented_ones():
    parameters = signature(make_mfec).parameters.items()
    assert {name: one.default for name, one in parameters if one.default is not one.empty} == {
        "key_size": 64,
        "modalities": None,
        "exploration": EPSILON,
        "novelty": None,
        "discount": 0.99,
        "bootstrap": True,
        "scale_rule": 2,
        "device": "cpu",
    }


def remember(agent, cells, returns, actions):
    keys, identity = agent._keys(np.concatenate([cell(number) for number in cells]))
    agent.memories.write(np.array(actions), keys, torch.tensor(returns), identity, step=0)


def test_the_bonus_is_the_one_asked_for_and_none_settles_only_ties():
    no = np.array([False])
    for novelty, chosen in ((None, 0), (0.0, 0), (2.0, 1)):
        agent = make_agent(novelty=novelty)
        remember(agent, [0, 0], [1.0, 0.5], [0, 1])
        agent.observe(Transition(cell(0), np.array([0]), np.zeros(1), no, no, cell(1), cell(1)))
        assert agent.act(cell(0)).tolist() == [chosen]  # 1 + 2 / sqrt(1) < 0.5 + 2 * 2


@pytest.mark.parametrize("explore", [True, False])
def test_only_what_is_allowed_is_chosen(explore):
    agent = make_agent(num_envs=2)
    remember(agent, [0, 0], [1.0, 0.5], [0, 1])
    shown = np.concatenate([cell(0), cell(0)])
    assert agent.act(shown, explore=explore).tolist() == [0, 0]
    assert agent.act(shown, explore=explore, mask=np.array([[True, True], [False, True]])).tolist() == [0, 1]


def blaming(rule="surprise_gated"):
    def memory(keys, **more):
        return DifferentiableNeuralDictionary(keys, capacity=9, k=3, kernel="uniform", write_rule=rule, **more)

    return {"memory": memory, "bootstrap": True}


@pytest.mark.parametrize("write_rule", ["surprise_gated", "max"])
def test_what_follows_is_worked_out_for_each_environment_that_was_cut(write_rule):
    agent = make_agent(num_envs=7, **blaming(write_rule))
    remember(agent, [1, 1, 2], [5.0, 4.0, -3.0], [0, 1, 0])
    cases = [  # last situation, reward, truncated, terminated, what follows, and where a promise is doubted
        (1, 0.0, True, False, 5, 0),
        (1, 0.5, True, False, 5, 5),
        (1, -0.5, True, False, 5, 0),
        (2, 0.0, True, False, -3, -3),
        (1, 0.0, False, True, 0, 0),
        (1, 0.0, True, True, 0, 0),
        (3, -2.0, True, False, -2 / (1 - 0.9), -20),
    ]
    after = np.concatenate([cell(case[0]) for case in cases])
    reward, truncated, terminated = (np.array([case[at] for case in cases]) for at in (1, 2, 3))
    cut = Transition(after, np.zeros(7, int), reward, terminated, truncated, after, after)
    assert agent._final_values(cut) == pytest.approx([case[5 if agent.memories.blame else 4] for case in cases])


def test_a_promise_is_taken_over_by_an_episode_that_has_found_reward_before():
    for reward, expected in ((0.5, 5.0), (0.0, 0.0)):
        agent, no = make_agent(**blaming()), np.array([False])
        remember(agent, [1], [5.0], [0])
        agent.observe(Transition(cell(0), np.array([0]), np.array([reward]), no, no, cell(1), cell(1)))
        cut = Transition(cell(2), np.array([0]), np.zeros(1), no, ~no, cell(1), cell(1))
        assert agent._final_values(cut).tolist() == [expected]


def test_what_is_observed_is_stored_under_its_own_key_whatever_was_acted_on_before():
    agent = make_agent()
    agent.act(cell(5))
    play(agent, [0, 1], [0], [1.0])
    assert values(agent, cell(0))[0, 0] == 1 and agent.memories[0].find(identify(cell(5))).item() == -1


def test_keys_carry_no_gradient_whatever_makes_them():
    agent = make_agent()
    agent.project = torch.nn.Linear(3, 8)
    agent.act(cell(0))
    play(agent, [0, 1], [0], [1.0])
    assert not agent._keys(cell(0))[0].requires_grad and len(agent.memories) == 1


def test_exploration_goes_by_the_steps_of_all_environments_and_is_a_share():
    agent, no = make_agent(num_envs=2, exploration=Linear(1.0, 0.0, 100)), np.zeros(2, bool)
    assert agent.learn() == {"train/epsilon": 1.0}
    for _ in range(5):
        shown = np.concatenate([cell(0), cell(1)])
        agent.observe(Transition(shown, np.zeros(2, int), np.zeros(2), no, no, shown, shown))
    assert agent.learn()["train/epsilon"] == pytest.approx(0.9)
    make_agent(exploration=1.0)
    with pytest.raises(ValueError, match=r"exploration is 1.01"):
        make_agent(exploration=1.01)


def test_a_lookup_is_timed_in_milliseconds(monkeypatch):
    agent = make_agent()
    monkeypatch.setattr("engram_rl.agents.mfec.time", SimpleNamespace(perf_counter=iter([10.0, 10.25]).__next__))
    agent.act(cell(0))
    assert agent.learn()["memory/lookup_ms"] == 250


def test_a_state_that_names_no_rule_is_of_the_first_version_and_one_that_does_not_fit_changes_nothing():
    first, now = make_agent(scale_rule=1), make_agent()
    play(first, [0, 1, 2], [0, 1], [1.0, 2.0])
    state = first.state_dict()
    del state["scale_rule"]
    again = make_agent(scale_rule=1, seed=4)
    again.load_state_dict(state)
    assert torch.equal(values(again, cell(0)), values(first, cell(0))) and again._steps == 2
    before = str(now.state_dict())
    with pytest.raises(ValueError, match="scaled by rule 1, and this agent scales by rule 2"):
        now.load_state_dict(state)
    state["scale_rule"] = 2
    del state["steps"]
    with pytest.raises(KeyError):
        now.load_state_dict(state)
    assert str(now.state_dict()) == before


def test_of_open_episodes_nothing_is_written_after_a_new_beginning():
    agent, no = make_agent(), np.array([False])
    agent.observe(Transition(cell(0), np.array([0]), np.ones(1), no, no, cell(1), cell(1)))
    agent.begin_episodes()
    play(agent, [2, 1], [0], [1.0])
    assert len(agent.memories) == 1
