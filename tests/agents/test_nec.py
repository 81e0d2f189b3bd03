"""NEC, equation by equation, against slow float64 references."""

from inspect import signature
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.common.exploration import EPSILON
from engram_rl.agents.common.schedules import Linear
from engram_rl.agents.episodic_control.action_memories import double_value
from engram_rl.agents.nec import RMSPROP, make_nec, q_loss
from engram_rl.memory import Blend, DifferentiableNeuralDictionary, RowRMSprop, RowSGD, checks, identify

VECTOR = spaces.Box(-1, 1, (3,), np.float32)
TWO = spaces.Discrete(2)


def make_agent(num_envs=1, seed=0, observation_space=VECTOR, action_space=TWO, **changes):
    settings = {
        "key_size": 4,
        "hidden": [8],
        "memory": lambda space, **more: DifferentiableNeuralDictionary(
            space, capacity=200, k=5, write_rule=Blend(0.25), **more
        ),
        "learning_rate": 0.01,
        "optimiser": torch.optim.SGD,
        "row_learning_rate": 0.01,
        "row_optimiser": RowSGD,
        "exploration": Linear(0.0, 0.0, 1),
        "discount": 0.9,
        "n_step": 3,
        "replay_capacity": 100,
        "batch_size": 16,
        "learn_every": 1,
        "learn_after": 0,
        "identify": True,
        "exclude_self": True,
        "double": False,
        "device": "cpu",
    }
    return make_nec(observation_space, action_space, num_envs, seed, **(settings | changes))


def observations(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3)).astype(np.float32)


def walk(agent, seen, rewards, terminated=True, actions=None):
    """One environment through `seen` (one more observation than rewards); returns max_a Q of each as it was met."""
    values = []
    for t, reward in enumerate(rewards):
        agent.act(seen[t : t + 1])
        values.append(agent._values[0])
        last = t == len(rewards) - 1
        action = np.array([0 if actions is None else actions[t]])
        agent.observe(
            Transition(
                observation=seen[t : t + 1],
                action=action,
                reward=np.array([reward]),
                terminated=np.array([last and terminated]),
                truncated=np.array([last and not terminated]),
                next_observation=seen[t + 1 : t + 2],
                reset_observation=seen[t + 1 : t + 2],
            )
        )
    return values


def slow_value(query, keys, values, k, delta=1e-3):
    """Equations 1, 2 and 5 in float64; `query` [D], `keys` [N, D], `values` [N]."""
    squared = ((query - keys) ** 2).sum(1)
    near = squared.argsort()[:k]
    weight = 1 / (squared[near] + delta)
    return (weight / weight.sum() * values[near]).sum()


def contents(memory):
    slots = memory.slots
    return memory.key_vectors[slots].double(), memory.values[slots, 0].double()


def filled(**changes):
    agent = make_agent(**changes)
    rng = np.random.default_rng(1)
    for episode in range(4):
        walk(agent, observations(15, episode), rng.normal(size=14), actions=rng.integers(2, size=14))
    return agent


def test_q_is_the_kernel_weighted_mean_of_the_nearest_values():
    agent = filled()
    seen = observations(6, 99)
    q, _ = agent._action_values(seen, touch=False)
    for row, observation in enumerate(seen):
        with torch.no_grad():
            query = agent.encoder(torch.from_numpy(observation[None]))[0].double()
        for action, memory in enumerate(agent.memories.per_action):
            assert q[row, action] == pytest.approx(slow_value(query, *contents(memory), k=5).item(), rel=1e-4)


def test_written_values_are_the_n_step_returns_of_equation_3():
    agent = make_agent(n_step=2)
    seen, rewards = observations(5), [1.0, 2.0, 3.0, 4.0]
    value = walk(agent, seen, rewards)
    expected = [1 + 0.9 * 2 + 0.81 * value[2], 2 + 0.9 * 3 + 0.81 * value[3], 3 + 0.9 * 4, 4.0]
    slots = agent.memories[0].find(identify(seen[:4]))
    assert agent.memories[0].values[slots, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert len(agent.memories[1]) == 0


def test_a_truncated_episode_bootstraps_from_its_last_observation():
    agent = filled(n_step=50)
    seen = observations(3, 7)
    walk(agent, seen, [1.0, 2.0], terminated=False)
    # The lookup of the last observation happened before these two were written, as does this one on a copy.
    before = filled(n_step=50)
    last = before._action_values(seen[2:], touch=False)[0].max().item()
    slots = agent.memories[0].find(identify(seen[:2]))
    expected = [1 + 0.9 * 2 + 0.81 * last, 2 + 0.9 * last]
    assert agent.memories[0].values[slots, 0].tolist() == pytest.approx(expected, rel=1e-4)


def test_the_same_observation_again_is_blended_and_keeps_one_entry():
    agent = make_agent(n_step=1)
    seen = observations(2)
    walk(agent, seen, [4.0])
    walk(agent, seen, [8.0])
    assert len(agent.memories[0]) == 1
    assert agent.memories[0].values[agent.memories[0].slots].item() == pytest.approx(4 + 0.25 * (8 - 4))


def test_keys_are_the_embedding_of_the_observation():
    agent = make_agent(n_step=1)
    seen = observations(2)
    walk(agent, seen, [4.0])
    with torch.no_grad():
        expected = agent.encoder(torch.from_numpy(seen[:1]))
    assert torch.equal(agent.memories[0].key_vectors[agent.memories[0].slots], expected)


def test_an_action_without_entries_is_worth_nothing_rather_than_infinity():
    agent = make_agent()
    walk(agent, observations(4), [-1.0, -1.0, -1.0])
    q, _ = agent._action_values(observations(2, 5), touch=False)
    assert (q[:, 0] < 0).all()
    assert q[:, 1].tolist() == [0.0, 0.0]
    assert agent.act(observations(2, 5), explore=False).tolist() == [1, 1]


def test_loss_is_the_mean_squared_error():
    assert q_loss(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])).item() == (4 + 9) / 2


@pytest.mark.parametrize("exclude_self", [False, True])
def test_gradients_reach_encoder_keys_and_values_as_in_a_plain_reference(exclude_self):
    agent = filled(exclude_self=exclude_self)
    for _ in range(3):  # so that keys are no longer what the encoder says
        agent._due = 1
        agent.learn()
    agent._batch_size = 12
    batch = agent._sample()
    keys = agent.encoder(torch.from_numpy(batch["observation"]))
    own = agent._own_slots(batch)
    found = agent.memories.lookup_taken(keys, batch["action"], own if exclude_self else None)
    target = torch.from_numpy(batch["target"])
    agent.optimiser.zero_grad()
    q_loss(torch.cat([one.value.squeeze(1) for one in found.values()]), target).backward()

    reference = make_agent()
    reference.encoder.load_state_dict(agent.encoder.state_dict())
    encoder = reference.encoder.double()
    queries = encoder[1](torch.from_numpy(batch["observation"]).double())
    leaves = [tuple(part.requires_grad_() for part in contents(memory)) for memory in agent.memories.per_action]
    q = []
    for query, action, slot in zip(queries, batch["action"], own, strict=True):
        others = agent.memories[action].slots != slot if exclude_self else slice(None)
        q.append(slow_value(query, *(leaf[others] for leaf in leaves[action]), k=5))
    (torch.stack(q) - torch.from_numpy(batch["target"])).square().mean().backward()

    for ours, theirs in zip(agent.encoder.parameters(), encoder.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-3, atol=1e-6)
    for action, one in found.items():
        memory, (key_leaf, value_leaf) = agent.memories[action], leaves[action]
        row = torch.full((memory.capacity,), -1)
        row[memory.slots] = torch.arange(len(memory))
        at = row[one.slots[one.valid]]
        keys_grad = torch.zeros_like(key_leaf).index_add_(0, at, one.keys.grad[one.valid].double())
        values_grad = torch.zeros_like(value_leaf).index_add_(0, at, one.values.grad[one.valid].squeeze(-1).double())
        torch.testing.assert_close(keys_grad, key_leaf.grad, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(values_grad, value_leaf.grad, rtol=1e-3, atol=1e-6)
        assert keys_grad.abs().sum() > 0


def test_learning_moves_encoder_keys_and_values_and_lowers_the_loss():
    agent = filled()
    before = [memory.key_vectors.clone() for memory in agent.memories.per_action]
    weights = [parameter.clone() for parameter in agent.encoder.parameters()]
    losses = []
    for _ in range(300):
        agent._due = 1
        losses.append(agent.learn()["train/loss"])
    assert np.mean(losses[-30:]) < 0.7 * np.mean(losses[:30])
    assert all(not torch.equal(a, m.key_vectors) for a, m in zip(before, agent.memories.per_action, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(weights, agent.encoder.parameters(), strict=True))


def test_a_search_after_learning_sees_the_keys_where_they_are_now():
    agent = filled()
    for _ in range(20):
        agent._due = 1
        agent.learn()
    memory = agent.memories[0]
    slot = memory.slots[3]
    assert memory.lookup(memory.key_vectors[slot : slot + 1], k=1, touch=False).slots.item() == slot


def test_a_replayed_situation_does_not_answer_its_own_question():
    agent = filled()
    batch = agent._sample()
    keys = agent.encoder(torch.from_numpy(batch["observation"]))
    found = agent.memories.lookup_taken(keys, batch["action"], agent._own_slots(batch))
    for action, one in found.items():
        own = agent.memories[action].find(torch.from_numpy(batch["identity"][batch["action"] == action]))
        assert (own >= 0).all()
        assert not (one.slots == own.unsqueeze(1)).any()


def test_acting_without_exploring_leaves_no_trace():
    agent = filled()
    before = agent.state_dict()
    agent.act(observations(1, 3), explore=False)
    after = agent.state_dict()
    assert str(before) == str(after)


def test_frozen_keys_or_a_frozen_encoder_stay_as_they_were():
    agent = filled(row_optimiser=None)
    rows = [memory.store.rows.clone() for memory in agent.memories.per_action]
    agent._due = 5
    agent.learn()
    assert all(torch.equal(a, m.store.rows) for a, m in zip(rows, agent.memories.per_action, strict=True))

    agent = filled(optimiser=None)
    weights = [parameter.clone() for parameter in agent.encoder.parameters()]
    keys = [memory.key_vectors.clone() for memory in agent.memories.per_action]
    agent._due = 5
    agent.learn()
    assert all(torch.equal(a, b) for a, b in zip(weights, agent.encoder.parameters(), strict=True))
    assert all(not torch.equal(a, m.key_vectors) for a, m in zip(keys, agent.memories.per_action, strict=True))

    agent = filled(learning_rate=None, row_learning_rate=None)
    agent._due = 1
    assert agent.learn()["train/loss"] > 0  # still said, though nothing learns from it
    assert all(parameter.grad is None for parameter in agent.encoder.parameters())


def test_without_identities_the_same_observation_is_a_new_entry_unless_it_lies_close_enough():
    def memory(space, **more):
        return DifferentiableNeuralDictionary(space, capacity=9, k=5, write_rule=Blend(0.25), **more)

    seen = observations(2)
    for match_within, entries in ((None, 2), (1e-6, 1)):
        within = {"memory": lambda space, m=match_within, **more: memory(space, match_within=m, **more)}
        agent = make_agent(n_step=1, identify=False, exclude_self=False, **within)
        walk(agent, seen, [4.0])
        walk(agent, seen, [8.0])
        assert len(agent.memories[0]) == entries


def test_bootstrapping_may_use_a_double_estimate():
    agent, plain = filled(double=True), filled()
    agent.act(observations(1, 5))
    plain.act(observations(1, 5))
    q, found = agent._action_values(observations(1, 5), touch=False)
    assert agent._values == pytest.approx(double_value(found).numpy())
    assert agent._values[0] <= q.max()


def test_it_says_how_its_memory_answers_and_ages():
    agent = filled(row_optimiser=None)
    agent._due = 1
    metrics = agent.learn()
    named = {"size", "evictions", "match_rate", "hit_distance", "top_weight", "age", "strength", "staleness"}
    assert metrics.keys() >= {f"memory/{name}" for name in named} | {"memory/value_error_young"}
    assert metrics["memory/staleness"] == pytest.approx(0, abs=1e-9)  # before the first step, keys are as encoded
    for _ in range(20):
        agent._due = 1
        metrics = agent.learn()
    assert metrics["memory/staleness"] > 0


def test_learning_waits_and_keeps_to_its_rate():
    agent = make_agent(learn_after=10, learn_every=4)
    seen = observations(40)
    learned = []
    for t in range(30):
        agent.act(seen[t : t + 1])
        end = np.array([True])
        agent.observe(
            Transition(seen[t : t + 1], np.array([0]), np.ones(1), end, ~end, seen[t + 1 : t + 2], seen[t + 1 : t + 2])
        )
        learned.append("train/loss" in agent.learn())
    assert not any(learned[:12])
    assert sum(learned) == (30 - 9) // 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_space": spaces.Text(5)}, "cannot read observations of Text"),
        ({"device": "tpu9"}, "tpu9"),
        ({"replay_capacity": 0}, "capacity 0"),
        ({"identify": False}, "exclude_self needs"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"learn_every": 0}, "learn_every is 0; it must be at least 1"),
        ({"learn_after": -1}, "learn_after is -1; it must be at least 0"),
        ({"exploration": 1.01}, r"exploration is 1.01"),
        ({"scale_rule": 3}, "scale_rule is 3"),
        ({"action_space": spaces.Box(-1, 1, (2,))}, r"Discrete or MultiDiscrete actions.*Box"),
    ],
)
def test_what_it_cannot_do_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        make_agent(**changes)


def test_settings_that_are_not_given_are_the_documented_ones():
    parameters = signature(make_nec).parameters.items()
    assert {name: one.default for name, one in parameters if one.default is not one.empty} == {
        "key_size": 64,
        "modalities": None,
        "hidden": (64,),
        "learning_rate": 1e-4,
        "optimiser": RMSPROP,
        "row_learning_rate": 1e-4,
        "row_optimiser": RowRMSprop,
        "exploration": EPSILON,
        "discount": 0.99,
        "n_step": 100,
        "replay_capacity": 100_000,
        "batch_size": 32,
        "learn_every": 4,
        "learn_after": 1000,
        "identify": True,
        "exclude_self": True,
        "double": False,
        "scale_rule": 2,
        "device": "cpu",
    }
    assert RMSPROP.func is torch.optim.RMSprop and RMSPROP.keywords == {"alpha": 0.9, "eps": 0.01}


def test_the_limits_themselves_are_taken():
    make_agent(batch_size=1, learn_every=1, learn_after=0, exploration=1.0)
    make_agent(identify=False, exclude_self=False)
    make_agent(identify=True, exclude_self=False)


def several(agent, seen, t, ended=True):
    """A step of all environments."""
    end, action = np.full(len(seen), ended), np.zeros(len(seen), int)
    agent.act(seen)
    agent.observe(Transition(seen, action, np.full(len(seen), float(t)), end, end & False, seen, seen))


def test_it_learns_once_for_every_so_many_steps_of_all_environments_once_the_time_has_come():
    agent, learned = make_agent(num_envs=3, n_step=1, learn_every=2, learn_after=12), []
    agent._learn_once = lambda report: learned.append(report) or {}
    counts = []
    for t in range(7):
        several(agent, observations(3, t), t)
        learned.clear()
        metrics = agent.learn()
        counts.append(list(learned))
        assert ("train/epsilon" in metrics) == (t >= 3)  # 12 steps
    # Only the last minibatch of several is told of; a step that was left over counts the next time.
    assert counts == [[], [], [], [True], [False, True], [True], [False, True]]


def test_it_does_not_learn_from_an_empty_replay_and_not_for_the_steps_before():
    agent, learned = make_agent(n_step=50), []
    agent._learn_once = lambda report: learned.append(report) or {}
    for t in range(5):
        several(agent, observations(1, t), t, ended=t == 4)
        agent.learn()
    assert learned == [True]


@pytest.mark.parametrize("exclude_self", [False, True])
def test_the_loss_told_is_that_of_lookups_with_or_without_what_is_stored_of_the_situation(exclude_self):
    agent = filled(exclude_self=exclude_self, learning_rate=None, row_learning_rate=None)
    batch = agent._sample()
    assert len(batch["action"]) == 16 and (np.diff(batch["action"]) >= 0).all()
    agent._sample, agent._due = lambda: batch, 1
    errors = []
    for row, action in enumerate(batch["action"]):
        keys, values = contents(agent.memories[action])
        with torch.no_grad():
            query = agent.encoder(torch.from_numpy(batch["observation"][row : row + 1]))[0].double()
        own = agent.memories[action].find(torch.from_numpy(batch["identity"][row : row + 1]))
        others = agent.memories[action].slots != own if exclude_self else slice(None)
        errors.append(slow_value(query, keys[others], values[others], k=5).item() - batch["target"][row])
    metrics = agent.learn()
    assert metrics["train/loss"] == pytest.approx(np.mean(np.square(errors)), rel=1e-3)
    assert metrics["memory/value_error_young"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-3)


def test_staleness_is_told_only_of_what_is_known_to_be_stored():
    agent = filled(identify=False, exclude_self=False)
    agent._due = 1
    metrics = agent.learn()
    assert "train/loss" in metrics and not any("stale" in name or "error" in name for name in metrics)
    agent = filled()
    batch = agent._sample() | {"identity": np.arange(16)}
    agent._sample, agent._due = lambda: batch, 1
    metrics = agent.learn()
    assert "train/loss" in metrics and not any("stale" in name or "error" in name for name in metrics)


def test_a_loss_that_is_not_finite_is_said_with_a_remedy():
    agent = filled()
    batch = agent._sample() | {"target": np.full(16, 1e25, np.float32)}
    agent._sample, agent._due = lambda: batch, 1
    with pytest.raises(ValueError, match=r"train/loss is inf after 56 steps: .* lower agent.learning_rate"):
        agent.learn()


def test_what_has_no_weights_or_no_rate_has_no_optimiser():
    place = {"observation_space": spaces.Dict(place=VECTOR), "modalities": {"place": "place"}}
    agent = make_agent(**place)
    assert agent.optimiser is None and len(agent.row_optimisers) == 2
    assert make_agent(optimiser=None).optimiser is make_agent(learning_rate=None).optimiser is None
    assert make_agent(row_optimiser=None).row_optimisers == make_agent(row_learning_rate=None).row_optimisers == []
    agent = make_agent(learning_rate=0.5, row_learning_rate=0.25)
    assert agent.optimiser.param_groups[0]["lr"] == 0.5 and [one.lr for one in agent.row_optimisers] == [0.25] * 2


def test_the_encoder_is_that_of_the_seed():
    first, again, other = (next(make_agent(seed=seed).encoder.parameters()) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_observations_held_have_to_fit_into_memory(monkeypatch):
    def made(**changes):
        space = spaces.Box(-1, 1, (1000,), np.float32)
        make_agent(observation_space=space, num_envs=3, **({"n_step": 20, "replay_capacity": 60} | changes))

    monkeypatch.setattr(checks, "ram", lambda device: 60 * 4000)
    made()
    with pytest.raises(ValueError, match=r"replay_capacity=61 of 4000 bytes each would take .*; lower replay_capacity"):
        made(replay_capacity=61)
    with pytest.raises(ValueError, match=r"n_step=21 of 4000 bytes each .*; lower n_step or env.num_envs"):
        made(n_step=21)


def remember(agent, seen, values, actions):
    with torch.no_grad():
        keys = agent.encoder(torch.from_numpy(seen))
    agent.memories.write(np.array(actions), keys, torch.tensor(values), identify(seen), step=0)


def test_values_bootstrapped_are_those_of_the_environments_that_acted_and_of_what_they_might_do():
    agent, seen = make_agent(num_envs=3), observations(3)
    remember(agent, np.concatenate([seen, seen]), [1.0, 2.0, 3.0, 5.0, -6.0, 7.0], [0, 0, 0, 1, 1, 1])
    q = agent._action_values(seen, touch=False)[0].numpy()
    before = agent._values
    agent.act(seen[[1]], rows=np.array([1]))
    assert agent._values == pytest.approx([0, q[1].max(), 0]) and not before.any()
    agent.act(seen, mask=np.array([[True, False], [True, True], [True, False]]))
    assert agent._values == pytest.approx([q[0, 0], q[1].max(), q[2, 0]])
    assert agent.act(seen, explore=False, mask=np.array([[True, False]] * 3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("double", [False, True])
def test_what_follows_a_cut_is_the_best_of_the_actions_of_which_something_is_known(double):
    agent, seen, no = make_agent(num_envs=4, double=double), observations(4), np.zeros(4, bool)
    reward, cut, ended = np.array([-1.0, -2.0, -3.0, -4.0]), np.array([1, 1, 0, 1], bool), np.array([0, 0, 1, 1], bool)
    step = Transition(seen, np.zeros(4, int), reward, ended, cut, seen, seen)
    assert agent._final_values(step) == pytest.approx([-10, -20, 0, 0])  # nothing is known: as it went
    remember(agent, seen[:1], [-7.0], [0])  # the other action, of which nothing is known, promises nothing
    assert agent._final_values(step) == pytest.approx([-7, -7, 0, 0])
    only = Transition(seen, np.zeros(4, int), reward, no, cut, seen, seen, next_mask=np.array([[0, 1], [1, 1]] * 2))
    assert agent._final_values(only) == pytest.approx([-10, -7, 0, -7])


def test_what_follows_a_cut_is_looked_up_without_a_trace():
    def memory(space, **more):
        return DifferentiableNeuralDictionary(space, capacity=9, k=2, forgetting="lru", **more)

    agent, seen, yes = make_agent(memory=memory), observations(3), np.array([True])
    remember(agent, seen, [1.0, 2.0, 3.0], [0, 0, 0])
    before = str(agent.memories.state_dict())
    agent._final_values(Transition(seen[:1], np.zeros(1, int), np.zeros(1), ~yes, yes, seen[:1], seen[:1]))
    assert str(agent.memories.state_dict()) == before
    agent.act(seen[:1])
    assert str(agent.memories.state_dict()) != before


def test_a_lookup_is_timed_in_milliseconds(monkeypatch):
    agent = make_agent()
    monkeypatch.setattr("engram_rl.agents.nec.time", SimpleNamespace(perf_counter=iter([10.0, 10.25]).__next__))
    agent.act(observations(1))
    assert agent.learn()["memory/lookup_ms"] == 250


def test_a_state_that_names_no_rule_is_of_the_first_version_and_one_that_does_not_fit_changes_nothing():
    first, now = filled(scale_rule=1), filled()
    state = first.state_dict()
    del state["scale_rule"]
    again = make_agent(scale_rule=1, seed=4)
    again.load_state_dict(state)
    for agent in (first, again):
        agent._due = 1
    assert first.learn()["train/loss"] == again.learn()["train/loss"]
    before = str(now.state_dict())
    with pytest.raises(ValueError, match="scaled by rule 1, and this agent scales by rule 2"):
        now.load_state_dict(state)
    with pytest.raises(ValueError, match="zip"):  # this agent has optimisers of rows, the state has none
        now.load_state_dict(filled(row_optimiser=None, seed=1).state_dict())
    assert str(now.state_dict()) == before


def test_of_open_episodes_nothing_is_written_after_a_new_beginning():
    agent = make_agent()
    several(agent, observations(1), 0, ended=False)
    agent.begin_episodes()
    several(agent, observations(1, 1), 1)
    assert len(agent.memories) == 1


def test_an_agent_that_goes_on_learns_at_the_rate_that_it_is_given_now():
    faster = make_agent(learning_rate=0.5)
    faster.load_state_dict(filled().state_dict())
    assert faster.optimiser.param_groups[0]["lr"] == 0.5
    with pytest.raises(ValueError, match="learning_rate is -1; it must be at least 0"):
        make_agent(learning_rate=-1)
