"""The memories of all actions: exact answers, ages, drift and the double estimate."""

import numpy as np
import pytest
import torch

from engram_rl.agents.episodic_control.action_memories import (
    ActionMemories,
    Lookups,
    double_value,
    make_memories,
    restricted,
)
from engram_rl.memory import Decay, DifferentiableNeuralDictionary, IVFIndex, KeySpace, checks

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
    # What is stored is the step of writing; action 1 never met situation 2.
    actions, names = np.array([0, 1, 1, 0, 0, 0]), torch.tensor([1, 5, 2, 99, 4, 0])
    returns = torch.tensor([3.0, 5.5, 8.0, 8.0, 1.0, 7.0])
    before = str(memories.state_dict())
    errors = memories.value_errors(actions, names, returns, step)
    expected = {"young": [abs(5 - 5.5), abs(4 - 1.0)], "middle": [abs(1 - 3.0), 7.0]}
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


def named(count=20, **changes):
    """Situation n stored for action n % 2 under a random key, worth n, written at step 10 n."""
    settings = {"write_rule": "last", "forgetting": "lru"} | changes
    memories = ActionMemories([DifferentiableNeuralDictionary(2, 1, 50, 4, **settings) for _ in range(2)])
    keys = torch.randn(count, 2, generator=torch.Generator().manual_seed(3))
    for n in range(count):
        memories.write(np.array([n % 2]), keys[[n]], torch.tensor([float(n)]), torch.tensor([n]), step=10 * n)
    return memories, keys


def test_stored_situations_are_found_for_their_actions_alone():
    memories, _ = named()
    assert memories.slots_of(torch.tensor([0, 3, 4, 99])).tolist() == [[0, -1], [-1, 1], [2, -1], [-1, -1]]
    assert memories.slots_of_taken(np.array([0, 0, 1]), torch.tensor([4, 3, 3])).tolist() == [2, -1, 1]
    assert len(memories) == 20 and memories.empty.tolist() == [False, False]
    assert named(1)[0].empty.tolist() == [False, True]


def test_a_known_situation_has_the_value_that_is_stored_and_only_others_are_searched_for():
    memories, keys = named()
    keys = (keys[:6] + 5).requires_grad_()
    q, lookups = memories.read_exact(keys, torch.arange(6), touch=False)
    searched, _ = memories.read(keys, touch=False)
    assert q.shape == (6, 2) and not q.requires_grad and not searched.requires_grad
    for n in range(6):
        assert q[n, n % 2] == n != searched[n, n % 2] and q[n, 1 - n % 2] == searched[n, 1 - n % 2]
    assert {action: slots.tolist() for action, slots in lookups.stored.items()} == {0: [0, 1, 2], 1: [0, 1, 2]}
    assert all(one.slots.shape == (3, 4) for one in lookups.found.values())
    assert list(memories.read_exact(keys[::2], torch.tensor([0, 2, 4]), touch=False)[1].found) == [1]


@pytest.mark.parametrize("touch", [False, True])
def test_reading_counts_as_a_use_only_if_it_is_to_leave_a_trace(touch):
    memories, keys = named()
    before = memories[0].forgetting.score.clone()
    memories.read_exact(keys[:1], torch.tensor([0]), touch=touch)
    changed = (memories[0].forgetting.score != before).nonzero().flatten().tolist()
    assert changed == ([0] if touch else [])


def test_the_best_that_is_stored_is_that_of_what_is_allowed_and_nothing_where_nothing_is():
    memories, keys = named()
    memories.write(np.array([1]), keys[:1], torch.tensor([-8.0]), torch.tensor([0]), step=0)
    names, allowed = torch.tensor([0, 0, 3, 3, 99]), torch.tensor([[1, 1], [0, 1], [1, 1], [1, 0], [1, 1]]).bool()
    assert memories.best_stored(names, allowed).tolist() == [0, -8, 3, -torch.inf, -torch.inf]
    assert memories.best_stored(names, None).tolist() == [0, 0, 3, 3, -torch.inf]
    q = torch.tensor([[1.0, 2.0]])
    assert restricted(q, None) is q and restricted(q, allowed[1:2]).tolist() == [[-torch.inf, 2.0]]


@pytest.mark.parametrize(("write_rule", "blame"), [("surprise_gated", True), ("last", False)])
def test_newer_is_what_was_written_after_a_step_and_a_failure_counts_against_it_only_where_rules_blame(
    write_rule, blame
):
    memories, _ = named(write_rule=write_rule)
    assert memories.blame is blame
    names, actions = torch.tensor([0, 4, 4, 5, 99, 3, 0]), np.array([0, 0, 0, 1, 0, 0, 0])
    step = torch.tensor([-1, 40, 39, 60, -1, -1, 0])  # situation 3 is stored for the other action
    newer = [True, False, True, False, False, False, False] if blame else [False] * 7
    assert memories.newer_overestimates(actions, names, step).tolist() == newer


def test_drift_and_age_are_those_of_each_stored_situation():
    memories, keys = named()
    actions, names = np.arange(22) % 2, torch.arange(22)  # the last two are not stored
    moves = torch.arange(22).float() / 10
    now = torch.cat([keys, torch.zeros(2, 2)]) + moves.unsqueeze(1)
    drift = memories.drift(actions, memories.slots_of_taken(actions, names), now, step=500)
    rows = [*range(0, 20, 2), *range(1, 20, 2)]
    assert drift.rows.tolist() == rows
    assert drift.squared.tolist() == pytest.approx([2 * (n / 10) ** 2 for n in rows], rel=1e-3, abs=1e-9)
    assert drift.age.tolist() == [500 - 10 * n for n in rows]


def test_the_match_rate_and_size_are_right_also_where_entries_make_room():
    memories = ActionMemories([DifferentiableNeuralDictionary(2, 1, 3, 2, write_rule="last") for _ in range(2)])
    for n in range(5):
        for action in range(2):
            memories.write(np.array([action]), torch.eye(2)[:1] * n, torch.ones(1), torch.tensor([n]), step=n)
    report = memories.report(NOTHING, 5)
    assert report == {"memory/size": 6.0, "memory/evictions": 4.0, "memory/match_rate": 0.0}
    assert "memory/match_rate" not in memories.report(NOTHING, 5)
    memories.write(np.array([0, 0]), torch.zeros(2, 2), torch.ones(2), torch.tensor([4, 9]), step=6)
    again = ActionMemories([DifferentiableNeuralDictionary(2, 1, 3, 2, write_rule="last") for _ in range(2)])
    again.load_state_dict(memories.state_dict())
    assert again.report(NOTHING, 6)["memory/match_rate"] == memories.report(NOTHING, 6)["memory/match_rate"] == 0.5


def test_hits_are_told_by_their_nearest_distance_and_greatest_weight():
    memories, keys = named()
    _, lookups = memories.read(keys[:5] + 0.1, touch=False)
    report = memories.report(lookups, 300)
    distances, weights = [], []
    for memory, found in zip(memories.per_action, lookups.found.values(), strict=True):
        for row in range(5):
            near = (memory.key_vectors[memory.slots] - (keys[row] + 0.1)).square().sum(1)
            distances.append(near.min().item())
            weights.append(max(found.weights[row].tolist()))
    assert report["memory/hit_distance"] == pytest.approx(np.mean(distances), rel=1e-3)
    assert report["memory/top_weight"] == pytest.approx(np.mean(weights), rel=1e-5)


def test_where_one_half_has_no_neighbours_the_whole_is_judged_by():
    memories = make()
    for action, value in ((0, 2.0), (1, 5.0)):
        memories.write(np.array([action]), torch.zeros(1, 2), torch.tensor([value]), torch.tensor([action]), step=0)
    _, lookups = memories.read(torch.ones(1, 2), touch=False)
    assert double_value(lookups).tolist() == pytest.approx([5.0])
    assert double_value(lookups, torch.tensor([[True, False]])).tolist() == pytest.approx([2.0])


@pytest.mark.parametrize("part", ["memories", "written"])
def test_a_state_of_another_number_of_actions_is_refused(part):
    memories, state = make(), filled().state_dict()
    with pytest.raises(ValueError, match="zip"):
        memories.load_state_dict(state | {part: state[part][:1]})


def test_memories_of_all_actions_have_to_fit_together(monkeypatch):
    def memory(space, **more):
        return DifferentiableNeuralDictionary(space, capacity=40, k=2, **more)

    cpu = torch.device("cpu")
    size = memory(KeySpace(3), value_dim=1).nbytes
    monkeypatch.setattr(checks, "ram", lambda device: 3 * size)
    made = make_memories(memory, KeySpace(3), 3, cpu)
    assert [one.values.shape[1] for one in made.per_action] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"memory.capacity=40 with keys of 3 numbers for each of 4 actions would take"):
        make_memories(memory, KeySpace(3), 4, cpu)
