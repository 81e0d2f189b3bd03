"""The memories of all actions: exact answers, ages, drift and the double estimate."""

import numpy as np
import pytest
import torch

from engram_rl.agents.episodic_control.action_memories import ActionMemories, Lookups, double_value
from engram_rl.memory import Decay, DifferentiableNeuralDictionary, IVFIndex

NOTHING = Lookups({}, {})


def make(k=4):
    return ActionMemories([DifferentiableNeuralDictionary(2, 1, 50, k, write_rule="last") for _ in range(2)])


def filled(seed=0):
    memories = make()
    rng = np.random.default_rng(seed)
    keys = torch.from_numpy(rng.normal(size=(30, 2)).astype(np.float32))
    values = torch.from_numpy(rng.normal(size=30).astype(np.float32))
    memories.write(rng.integers(2, size=30), keys, values, torch.arange(30), step=100)
    return memories


def test_the_double_estimate_lets_one_half_choose_and_the_other_judge():
    memories = filled()
    _, lookups = memories.read(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), touch=False)
    for row in range(5):
        halves = np.zeros((2, 2))
        for action, one in lookups.found.items():
            for parity in (0, 1):
                mine = [i for i in range(4) if one.slots[row, i] % 2 == parity]
                weight = sum(one.weights[row, i].item() for i in mine)
                total = sum(one.weights[row, i].item() * one.values[row, i, 0].item() for i in mine)
                halves[parity, action] = total / weight if mine else one.value[row, 0]
        expected = (halves[1, halves[0].argmax()] + halves[0, halves[1].argmax()]) / 2
        assert double_value(lookups)[row].item() == pytest.approx(expected, rel=1e-5)


def test_the_double_estimate_is_less_biased_where_all_actions_are_equal():
    generator = torch.Generator().manual_seed(0)
    single, double = [], []
    for _ in range(200):
        memories = make(k=8)
        memories.write(
            np.arange(32) % 2,
            torch.randn(32, 2, generator=generator),
            torch.randn(32, generator=generator),
            torch.arange(32),
            step=0,
        )
        q, lookups = memories.read(torch.zeros(1, 2), touch=False)
        single.append(q.max().item())
        double.append(double_value(lookups).item())
    assert np.mean(single) > 0.15
    assert abs(np.mean(double)) < np.mean(single) / 2


def test_age_counts_from_the_last_writing_of_each_entry():
    memories = filled()
    memories.write(np.array([0]), torch.zeros(1, 2), torch.ones(1), torch.tensor([99]), step=130)
    slot = memories[0].find(torch.tensor([99]))
    assert memories.age(0, slot, step=150).tolist() == [20]
    assert set(memories.age(1, memories[1].slots, step=150).tolist()) == {50}


def test_drift_is_the_squared_distance_to_what_the_keys_would_be_now():
    memories = filled()
    name, action = torch.tensor([3, 1000]), np.array([0 if memories[0].find(torch.tensor([3])) >= 0 else 1] * 2)
    stored = memories[int(action[0])].key_vectors[memories[int(action[0])].find(name[:1])]
    own = memories.slots_of_taken(action, name)
    drift = memories.drift(action, own, torch.cat([stored + 2, stored]), step=100)
    assert drift.rows.tolist() == [0]
    assert drift.squared.tolist() == pytest.approx([8.0], rel=1e-5)


def test_the_match_rate_is_the_share_of_rows_that_were_known():
    memories = make()
    names = torch.tensor([1, 2, 3, 4])
    memories.write(np.zeros(4, int), torch.eye(4)[:, :2], torch.ones(4), names, step=0)
    assert memories.report(NOTHING, 0)["memory/match_rate"] == 0
    memories.write(np.zeros(4, int), torch.eye(4)[:, :2], torch.ones(4), names + 1, step=0)
    assert memories.report(NOTHING, 0)["memory/match_rate"] == 0.75


def fading():
    """Entries 0 to 5, written at the steps 0 to 5: all for action 0, the last three for action 1 as well."""
    memories = ActionMemories(
        [DifferentiableNeuralDictionary(2, 1, 50, 2, write_rule="last", forgetting=Decay(2.0)) for _ in range(2)]
    )
    keys = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    for name in range(6):
        for action in range(1 + name // 3):
            memories.write(np.array([action]), keys[[name]], torch.ones(1) * name, torch.tensor([name]), step=name)
    return memories


def test_age_and_strength_are_those_of_all_that_was_lookups_by_search_or_not():
    memories, query = fading(), torch.zeros(4, 2)
    asked = torch.tensor([0, 1, 2, 4])  # all of them stored for action 0, the last one alone for action 1
    ages, strengths = [], []
    for name, key in zip(asked, query, strict=True):
        for action, memory in enumerate(memories.per_action):
            stored = memory.find(name[None])
            slots = stored if stored >= 0 else memory.lookup(key[None], touch=False).slots[0]
            ages += [10 - int(memories._written[action][slot]) for slot in slots]
            strengths += [float(memory.strength(slot[None])) for slot in slots]
    report = memories.report(memories.read_exact(query, asked, touch=False)[1], 10)
    assert len(ages) == 4 + 1 + 3 * 2
    assert report["memory/age"] == pytest.approx(np.mean(ages))
    assert report["memory/strength"] == pytest.approx(np.mean(strengths))


def test_errors_are_those_of_what_was_stored_by_the_age_of_it():
    memories, step = fading(), 1003
    actions, names = np.array([0, 1, 1, 0, 0]), torch.tensor([1, 5, 2, 99, 4])  # action 1 never met situation 2
    returns = torch.tensor([3.0, 5.5, 8.0, 8.0, 1.0])
    before = str(memories.state_dict())
    errors = memories.value_errors(actions, names, returns, step)
    expected = {"young": [abs(5 - 5.5), abs(4 - 1.0)], "middle": [abs(1 - 3.0)]}  # the value is the step of writing
    assert errors == {f"memory/value_error_{age}": pytest.approx(np.mean(all_)) for age, all_ in expected.items()}
    assert str(memories.state_dict()) == before
    assert memories.value_errors(np.array([], int), names[:0], returns[:0], step) == {}


def test_what_is_loaded_answers_as_what_was_saved():
    memories, again = filled(), make()
    again.load_state_dict(memories.state_dict())
    query = torch.randn(5, 2)
    assert torch.equal(memories.read(query, touch=False)[0], again.read(query, touch=False)[0])
    assert again.age(0, again[0].slots, 150).tolist() == memories.age(0, memories[0].slots, 150).tolist()


def test_approximate_memories_report_their_recall_and_exact_ones_none():
    def index():
        return IVFIndex(lists=4, probes=1, start=100, check_every=1)

    memories = ActionMemories([DifferentiableNeuralDictionary(2, 1, 400, 4, index=index()) for _ in range(2)])
    keys = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    memories.write(np.arange(400) % 2, keys, torch.zeros(400), torch.arange(400), step=0)
    for memory in memories.per_action:
        memory.index.build(memory.used)
    _, lookups = memories.read(keys[:8], touch=False)
    expected = np.mean([memory.index.report()["recall"] for memory in memories.per_action])
    assert memories.report(lookups, 0)["memory/recall"] == pytest.approx(expected)
    assert 0 < expected <= 1
    assert "memory/recall" not in filled().report(NOTHING, 0)
