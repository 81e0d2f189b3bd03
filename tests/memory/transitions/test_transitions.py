"""What the transition memory promises, against a dictionary of Python objects."""

from dataclasses import FrozenInstanceError, dataclass, fields
from inspect import Parameter, signature

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_rl.memory.transitions.memory import TransitionMemory
from engram_rl.memory.transitions.movements import MovementMemory
from engram_rl.memory.transitions.outcomes import Expansion, Written
from engram_rl.memory.transitions.planner import Walks
from engram_rl.memory.transitions.states import StateTable

A = 3


@dataclass
class Remembered:
    next: tuple
    strength: float
    stamp: float
    count: int
    reward: float
    terminal: bool
    harm: float


class SlowMemory:
    """The promise of `TransitionMemory`, one transition at a time."""

    def __init__(self, half_life, keep_refuted):
        self.half_life, self.keep_refuted = half_life, keep_refuted
        self.clock = {0: 0.0, 1: 0.0}
        self.cells = {}

    def strength(self, owner, state, action):
        cell = self.cells.get((owner, state, action))
        return cell.strength * 0.5 ** ((self.clock[owner] - cell.stamp) / self.half_life) if cell else 0.0

    def known(self, owner, state, action):
        return self.strength(owner, state, action) >= 0.5

    def write(self, owner, state, action, next_state, reward, terminal, harm):
        strength, key = self.strength(owner, state, action), (owner, state, action)
        cell, now = self.cells.get(key), self.clock[owner]
        known = strength >= 0.5
        if known and (cell.next, cell.terminal) == (next_state, terminal):
            cell.count, cell.stamp, cell.strength, cell.harm = cell.count + 1, now, strength + 1, harm
            cell.reward += (reward - cell.reward) / (strength + 1)
        elif known and strength * self.keep_refuted > 1:
            cell.strength, cell.stamp = strength * self.keep_refuted, now
            return True
        else:
            self.cells[key] = Remembered(next_state, 1.0, now, 1, reward, terminal, harm)
            return known
        return False


numbers = st.integers(-2, 2)
vector = st.tuples(numbers, numbers)
experience = st.tuples(
    st.integers(0, 1), vector, st.integers(0, A - 1), vector, st.sampled_from([0.0, 1.0]), st.booleans(), numbers
)
batches = st.lists(st.tuples(st.lists(experience, min_size=1, max_size=12), st.integers(0, 3)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(batches=batches, half_life=st.sampled_from([np.inf, 3.0]), keep=st.sampled_from([0.0, 0.5]))
def test_remembers_what_a_dictionary_would_remember(batches, half_life, keep):
    memory = TransitionMemory(2, A, 100, owners=2, half_life=half_life, keep_refuted=keep)
    slow = SlowMemory(half_life, keep)
    for batch, ticks in batches:
        owners, states, actions, next_states, rewards, terminals, harms = (
            np.array(x) for x in zip(*batch, strict=True)
        )
        keys = [one[:3] for one in batch]
        since = [slow.cells[key].stamp if slow.known(*key) else None for key in keys]
        met = memory.write(
            states, actions, next_states, rewards=rewards, terminals=terminals, harms=harms, owners=owners
        )
        assert all(before in (None, tick) for before, tick in zip(since, met.since.tolist(), strict=True))
        assert met.refuted.tolist() == [slow.write(*one) for one in batch]
        memory.tick(ticks, np.array([0]))
        slow.clock[0] += ticks
    assert len(memory) == sum(slow.known(*key) for key in slow.cells)
    for (owner, state, action), cell in slow.cells.items():
        step = memory.expand(np.array([state]), np.array([owner]))
        assert step.known[0, action] == slow.known(owner, state, action)
        if step.known[0, action]:
            row = memory.states.find(np.array([state]), np.array([owner]))[0]
            assert tuple(step.next_states[0, action]) == cell.next
            assert memory.strengths(np.array([row]))[0, action] == pytest.approx(slow.strength(owner, state, action))
            assert memory.table.count[row, action] == cell.count
            assert step.reward[0, action] == pytest.approx(cell.reward)
            assert (step.terminal[0, action], step.harm[0, action]) == (cell.terminal, cell.harm)


def write(memory, state, action, next_state, **rest):
    return memory.write(np.array([state]), np.array([action]), np.array([next_state]), **rest)


def known_successor(memory, state, action):
    step = memory.expand(np.array([state]))
    return tuple(step.next_states[0, action]) if step.known[0, action] else None


def test_what_is_refuted_is_dropped_for_the_new_outcome():
    memory = TransitionMemory(1, A)
    for _ in range(5):
        write(memory, [0], 0, [1])
    met = write(memory, [0], 0, [2])
    assert met.refuted.all() and not met.new.any()
    assert known_successor(memory, [0], 0) == (2,)


def test_when_refutation_only_weakens_the_old_outcome_stays_until_it_is_weaker_than_the_new():
    memory = TransitionMemory(1, A, keep_refuted=0.5)
    for _ in range(8):
        write(memory, [0], 0, [1])
    believed = []
    for _ in range(3):
        write(memory, [0], 0, [2])
        believed.append(known_successor(memory, [0], 0))
    assert believed == [(1,), (1,), (2,)]  # 8 -> 4 -> 2 -> 1, which no longer exceeds the new


def test_the_end_of_the_task_is_part_of_the_outcome():
    memory = TransitionMemory(1, A)
    write(memory, [0], 0, [1], terminals=True, rewards=1.0)
    met = write(memory, [0], 0, [1], terminals=False, rewards=0.0)
    assert met.refuted.all()
    assert memory.expand(np.array([[0]])).reward[0, 0] == 0


def test_an_unconfirmed_experience_lasts_one_half_life_and_a_confirmed_one_longer():
    memory = TransitionMemory(1, A, half_life=10)
    write(memory, [0], 0, [1])
    for _ in range(4):
        write(memory, [0], 1, [1])
    memory.tick(10)
    assert memory.expand(np.array([[0]])).known[0].tolist() == [True, True, False]
    memory.tick(1)
    assert memory.expand(np.array([[0]])).known[0].tolist() == [False, True, False]
    memory.tick(20)
    assert len(memory) == 0


def test_time_passes_for_the_named_owners_only():
    memory = TransitionMemory(1, A, owners=2, half_life=1)
    memory.write(np.zeros((2, 1)), np.zeros(2, int), np.ones((2, 1)), owners=np.array([0, 1]))
    memory.tick(5, np.array([1]))
    assert memory.expand(np.zeros((2, 1)), np.array([0, 1])).known[:, 0].tolist() == [True, False]


def test_contradicting_without_an_experience_drops_or_weakens():
    memory = TransitionMemory(1, A)
    for action in (0, 0, 1):
        write(memory, [0], action, [1])
    memory.contradict(np.zeros((2, 1)), np.array([0, 1]), factor=0.4)
    assert memory.expand(np.zeros((1, 1))).known[0].tolist() == [True, False, False]
    memory.contradict(np.array([[7.0]]), np.array([0]))  # of what is not known nothing is left to drop


def test_an_unknown_transition_is_imagined_as_the_movement_recalled_by_action_alone():
    memory = TransitionMemory(2, A)
    memory.write(np.array([[0, 0], [1, 0], [3, 0]]), np.array([2, 2, 2]), np.array([[1, 0], [2, 0], [3, 0]]))
    step = memory.expand(np.array([[5, 5]]), imagine=True)
    assert step.next_states[0].tolist() == [[5, 5], [5, 5], [6, 5]]  # blocked once, believed to be free
    assert step.support[0].tolist() == [0, 0, pytest.approx(2 / 3)]
    assert not step.known.any()


def test_a_movement_may_depend_on_part_of_the_state():
    memory = TransitionMemory(2, 1, movement_context=[1])  # (x, heading)
    memory.write(np.array([[0, 0], [4, 1], [1, 0]]), np.array([0, 0, 0]), np.array([[1, 0], [3, 1], [2, 0]]))
    imagined = memory.expand(np.array([[7, 0], [7, 1], [7, 2]]), imagine=True)
    assert imagined.next_states[:, 0].tolist() == [[8, 0], [6, 1], [7, 2]]
    assert imagined.support[:, 0].tolist() == [1, 1, 0]


def test_the_distribution_of_an_actions_movements_counts_each():
    memory = TransitionMemory(1, 2)
    memory.write(np.arange(5.0)[:, None], np.ones(5, int), np.array([[1.0], [2], [3], [3], [4]]))
    displacements, counts = memory.movements.distribution(1)
    assert displacements.tolist() == [[1], [0]] and counts.tolist() == [3, 2]
    assert len(memory.movements.distribution(0)[1]) == 0


def test_the_distribution_is_of_an_owners_last_movements():
    movements = MovementMemory(2, 2, 1, size=3)
    for moved in (9.0, 1.0, 2.0, 1.0):
        movements.store(np.array([1]), np.array([0]), np.zeros((1, 1)), np.array([[moved]]))
    displacements, counts = movements.distribution(0, owner=1)
    assert displacements.tolist() == [[1], [2]] and counts.tolist() == [2, 1]
    assert all(len(movements.distribution(action, owner)[1]) == 0 for action, owner in ((0, 0), (1, 0), (1, 1)))
    with pytest.raises(ValueError, match="keeps size >= 1 displacements, got 0"):
        MovementMemory(1, 1, 1, size=0)


@settings(max_examples=50, deadline=None)
@given(
    moves=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), numbers), min_size=1, max_size=40),
    size=st.integers(1, 6),
    optimistic=st.booleans(),
)
def test_recall_is_the_most_frequent_of_the_last_movements(moves, size, optimistic):
    movements = MovementMemory(1, 2, 2, size, context=[1], optimistic=optimistic)
    actions, contexts, steps = (np.array(x) for x in zip(*moves, strict=True))
    states = np.stack([np.zeros(len(moves)), contexts], 1)
    movements.store(np.zeros(len(moves), int), actions, states, states + np.stack([steps, np.zeros(len(moves))], 1))
    for action in (0, 1):
        last = [(c, s) for a, c, s in moves if a == action][-size:]
        for context in (0, 1):
            got, support = movements.recall(np.zeros(1, int), np.array([action]), np.array([[9.0, context]]))
            expected = [s for c, s in last if c == context]
            if expected:
                latest_first = [s for s in expected[::-1] if s or not optimistic or not any(expected)]
                best = max(latest_first, key=latest_first.count)  # the first of equals
                assert got[0].tolist() == [best, 0]
                assert support[0] == pytest.approx(expected.count(best) / len(expected))
            else:
                assert support[0] == 0 and not got.any()


@pytest.mark.parametrize("settings", [{}, {"optimistic": True}, {"optimistic": False}])
def test_being_blocked_is_believed_only_where_nothing_else_is_remembered_unless_told_otherwise(settings):
    movements = MovementMemory(1, 2, 1, 4, **settings)
    here = np.zeros((1, 1))
    for moved in (1.0, 0.0, 0.0, 0.0):
        movements.store(np.array([0]), np.array([0]), here, here + moved)
    movements.store(np.array([0]), np.array([1]), here, here)
    got, support = movements.recall(np.array([0, 0]), np.array([0, 1]), np.zeros((2, 1)))
    blocked = settings.get("optimistic") is False
    assert got.tolist() == [[0.0 if blocked else 1.0], [0.0]]
    assert support.tolist() == pytest.approx([3 / 4 if blocked else 1 / 4, 1])


def test_the_frontier_is_where_something_is_untried_by_its_own_owner_and_was_visited():
    memory = TransitionMemory(1, 2, owners=3)
    for owner, place in ((0, 0), (1, 10), (2, 20)):
        states = np.array([[place], [place], [place + 1]])
        memory.write(states, np.array([0, 1, 0]), states + 1, owners=np.full(3, owner))
        memory.name(np.array([[place + 9]]), np.array([owner]))
    for owner, place in ((0, 0), (1, 10), (2, 20)):
        ids = memory.frontier(owner)
        assert sorted(memory.states.vectors[ids, 0].tolist()) == [place + 1, place + 2]
        assert (memory.states.owners[ids] == owner).all()


def test_known_ways_into_a_state():
    memory = TransitionMemory(1, A)
    memory.write(np.array([[0], [2], [3]]), np.array([1, 0, 2]), np.array([[1], [1], [4]]))
    ids, actions = memory.predecessors(np.array([1]))
    assert {(memory.states.vectors[i, 0], a) for i, a in zip(ids, actions, strict=True)} == {(0, 1), (2, 0)}
    shared = TransitionMemory(1, A, owners=2)
    shared.write(np.array([[0], [5]]), np.array([1, 2]), np.array([[1], [1]]), owners=np.array([0, 1]))
    for owner, expected in ((0, (0, 1)), (1, (5, 2))):
        ids, actions = shared.predecessors(np.array([1]), owner)
        assert [(shared.states.vectors[i, 0], a) for i, a in zip(ids, actions, strict=True)] == [expected]


def test_an_incomplete_state_matches_every_state_that_has_the_given_numbers():
    memory = TransitionMemory(2, A, owners=2)
    ids = memory.name(np.array([[1, 5], [1, 6], [2, 5], [1, 7]]), np.array([0, 0, 0, 1]))
    assert memory.states.matching(np.array([1, np.nan])).tolist() == ids[:2].tolist()
    assert memory.states.matching(np.array([1.4, np.nan]), within=0.5).tolist() == ids[:2].tolist()
    assert memory.states.matching(np.array([1.5, np.nan]), within=0.5).tolist() == ids[:3].tolist()
    assert memory.states.matching(np.array([1.5, np.nan]), within=0.49).tolist() == []
    assert len(memory.states.matching(np.array([np.nan, np.nan]), owner=1)) == 1


def test_a_full_memory_forgets_the_weakest_states_and_leaves_no_way_into_them():
    memory = TransitionMemory(1, A, capacity=32)
    for _ in range(2):
        for i in range(8):
            write(memory, [i], 0, [i + 1])
    for i in range(100, 160):
        write(memory, [i], 0, [i + 1])
    assert len(memory.states) <= 32
    assert all(known_successor(memory, [i], 0) == (i + 1,) for i in range(8))
    assert known_successor(memory, [100], 0) is None
    assert known_successor(memory, [159], 0) == (160,)
    ids = memory.ids()
    ends = memory.table.next[ids][memory.known(ids)]
    assert memory.states.used[ends].all()


def test_a_batch_larger_than_the_memory_is_refused_before_anything_changes():
    memory = TransitionMemory(1, A, capacity=4)
    write(memory, [0], 0, [1])
    with pytest.raises(ValueError, match="raise capacity"):
        memory.write(np.arange(10.0)[:, None], np.zeros(10, int), np.arange(1.0, 11)[:, None])
    assert len(memory) == 1 and len(memory.states) == 2


def test_nearby_vectors_are_one_state_if_asked_for():
    memory = TransitionMemory(1, A, same_within=0.2)
    write(memory, [0.0], 0, [1.0])
    met = memory.write(np.array([[0.1], [5.0], [5.15], [5.3]]), np.zeros(4, int), np.array([[1.1], [6], [6.0], [7]]))
    assert met.new.tolist() == [False, True, False, True]
    assert len(memory.states) == 6


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=5), max_size=8))
def test_nearest_names_are_those_of_one_after_another(batches):
    table, slow, within = StateTable(1, 100), [], 2.0
    for batch in batches:
        vectors = np.array(batch, float)[:, None]
        got = table.nearest_named(vectors, np.zeros(len(batch), int), within)
        table.add(got, np.zeros(len(batch), int))
        for value, name in zip(batch, got[:, 0], strict=True):
            distances = [abs(value - known) for known in slow]
            if distances and min(distances) <= within:
                assert abs(value - name) == min(distances)
            else:
                assert name == value
            if name not in slow:
                slow.append(name)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "add", "find", "remove"]), st.lists(vector, min_size=1, max_size=6))))
def test_ids_are_stable_until_removed(steps):
    table, slow = StateTable(2, 25), {}
    for verb, rows in steps:
        vectors, owners = np.array(rows), np.array([abs(r[0]) for r in rows])
        names = [(v, o) for v, o in zip(rows, owners.tolist(), strict=True)]
        if verb == "add":
            slow.update(zip(names, table.add(vectors, owners).tolist(), strict=True))
        elif verb == "find":
            assert table.find(vectors, owners).tolist() == [slow.get(name, -1) for name in names]
        else:
            gone = {name for name in names if name in slow}
            table.remove(np.array([slow.pop(name) for name in gone], int))
        assert len(table) == len(slow) == len(set(slow.values()))
    for name, row in slow.items():
        assert table.find(np.array([name[0]]), np.array([name[1]])).tolist() == [row]


def test_minus_zero_is_zero():
    table = StateTable(1, 4)
    assert table.add(np.array([[-0.0]]), np.zeros(1, int)) == table.add(np.array([[0.0]]), np.zeros(1, int))


@pytest.mark.parametrize(("step", "start"), [(0.1, 0.0), (1e-4, 0.0), (0.3, -7.7), (0.1, 1000.0), (1.0, 0.0)])
def test_steps_of_a_fraction_lead_where_steps_of_one_do(step, start):
    decimals = 6 - int(np.ceil(np.log10(max(10 * step, abs(start) + 10 * step))))
    line = (start + step * np.arange(10)).astype(np.float32)[:, None]
    memory = TransitionMemory(1, 2, 100, decimals=decimals)
    memory.write(line[[0, 4, 6]], np.array([1, 1, 0]), line[[1, 5, 5]])
    ids = memory.name(line)
    assert len(set(ids.tolist())) == 10
    seen = memory.expand(line[2:8], imagine=True)
    on, back = (memory.states.find(seen.next_states[:, action], np.zeros(6, int)) for action in (1, 0))
    assert on.tolist() == ids[3:9].tolist() and back.tolist() == ids[1:7].tolist()
    assert memory.states.matching(line[3]).tolist() == [ids[3]]


@pytest.mark.parametrize("decimals", [-1, 31])
def test_decimals_that_no_number_has_are_refused(decimals):
    with pytest.raises(ValueError, match=f"from 0 to 30, got {decimals}"):
        TransitionMemory(1, 2, 10, decimals=decimals)


def test_a_saved_memory_continues_as_if_nothing_had_happened():
    rng = np.random.default_rng(0)
    old, new = (TransitionMemory(2, A, 40, owners=2, half_life=20) for _ in range(2))

    def batch():
        return (
            rng.integers(0, 6, (4, 2)),
            rng.integers(0, A, 4),
            rng.integers(0, 6, (4, 2)),
            {"owners": rng.integers(0, 2, 4), "rewards": rng.random(4)},
        )

    for _ in range(60):
        *arguments, rest = batch()
        old.write(*arguments, **rest)
        old.tick()
    *arguments, rest = batch()
    new.write(*arguments, **rest)
    new.load_state_dict(old.state_dict())
    for _ in range(30):
        *arguments, rest = batch()
        assert np.array_equal(old.write(*arguments, **rest).refuted, new.write(*arguments, **rest).refuted)
        old.tick()
        new.tick()
    everywhere = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2)
    a, b = (m.expand(everywhere, np.ones(36, int), imagine=True) for m in (old, new))
    assert np.array_equal(a.next_states, b.next_states) and np.array_equal(a.reward, b.reward)


def test_what_was_forgotten_leaves_nothing_in_the_place_of_what_comes_after():
    """Loading would not bring it back, so a resumed run would differ from one that was left alone."""
    rng = np.random.default_rng(0)
    old, new = (TransitionMemory(2, A, 320, half_life=20) for _ in range(2))

    def write(*memories):
        states, actions, ends = rng.integers(0, 60, (4, 2)), rng.integers(0, A, 4), rng.integers(0, 60, (4, 2))
        for memory in memories:
            memory.write(states, actions, ends, rewards=1.0, harms=1.0)
            memory.tick()

    for _ in range(45):  # to where some were forgotten at once
        write(old)
    new.load_state_dict(old.state_dict())
    for _ in range(3):
        write(old, new)
    one, other = old.state_dict(), new.state_dict()
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name]))] == []


def test_a_state_dict_that_does_not_fit_is_refused_before_anything_changes():
    memory = TransitionMemory(1, A)
    write(memory, [0], 0, [1])
    with pytest.raises(ValueError, match="vectors"):
        memory.load_state_dict(TransitionMemory(2, A).state_dict())
    assert known_successor(memory, [0], 0) == (1,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"states": np.zeros(shape)}, "states must be") for shape in ((1, 3), (1, 1), (2,), (1, 2, 2))),
        ({"states": np.array([[np.nan, 0]])}, "NaN"),
        ({"states": np.array([[0, -np.inf]])}, "NaN"),
        ({"actions": np.array([-1])}, "actions must be"),
        ({"actions": np.array([True])}, "actions must be"),
        ({"actions": np.array([0, 0])}, "actions must be"),
        ({"owners": np.array([-1])}, "owners must be"),
        ({"owners": np.array([0.0])}, "owners must be"),
        ({"owners": np.array([0, 0])}, "owners must be"),
        ({"rewards": np.zeros(2)}, r"reward must be one finite number or \[1\] of them"),
        ({"harms": np.zeros((1, 1))}, "harm must be one finite number"),
        ({"harms": np.nan}, "harm must be one finite number"),
        ({"terminals": "False"}, "terminal must be one truth value or .* got 'False'"),
        ({"terminals": np.nan}, "terminal must be one truth value"),
        ({"terminals": np.zeros(2, bool)}, "terminal must be one finite number"),
        ({"actions": np.array([A])}, "actions must be"),
        ({"actions": np.array([0.5])}, "actions must be"),
        ({"owners": np.array([1])}, "owners must be"),
        ({"next_states": np.zeros((2, 2))}, "next_states|owners"),
        ({"rewards": np.array([np.inf])}, "reward"),
    ],
)
def test_bad_input_is_refused_before_anything_changes(change, message):
    memory = TransitionMemory(2, A)
    good = {"states": np.zeros((1, 2)), "actions": np.zeros(1, int), "next_states": np.ones((1, 2))}
    with pytest.raises(ValueError, match=message):
        memory.write(**good | change)
    assert len(memory.states) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_actions": 0}, "num_actions is 0; it must be at least 1"),
        ({"owners": 0}, "owners is 0; it must be at least 1"),
        *(({"half_life": bad}, f"half_life must be above 0 .* got {bad}") for bad in (0, -1, np.nan)),
        *(({"keep_refuted": bad}, "keep_refuted must be in") for bad in (1.0, -0.01, np.nan)),
        *(({"same_within": bad}, "same_within must be a distance >= 0") for bad in (-0.01, np.inf, np.nan)),
        *(({"movement_context": [bad]}, rf"context \[{bad}\] must name .* 0 to 1") for bad in (-1, 2)),
        ({"capacity": 0}, "capacity is 0; it must be at least 1"),
        ({"dim": 0}, "dim is 0; it must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TransitionMemory(**{"dim": 2, "num_actions": 2, "capacity": 9} | settings)


def test_sizes_may_be_numbers_of_numpy_and_no_fractions():
    memory = TransitionMemory(np.int64(2), np.int64(3), np.int64(5), owners=np.int64(2))
    memory.write(np.zeros((1, 2)), np.array([2]), np.ones((1, 2)), owners=np.array([1]))
    assert len(memory) == 1
    with pytest.raises(TypeError, match=r"capacity is 10\.0 .*; it must be a whole number"):
        TransitionMemory(2, 3, 10.0)


@pytest.mark.parametrize("owners", [np.array([-1]), np.array([2]), 0, np.array([0.0])])
def test_owners_that_are_none_have_no_time_and_nothing_to_forget(owners):
    memory = TransitionMemory(2, 3, 5, owners=2)
    for call in (lambda: memory.tick(1, owners), lambda: memory.clear(owners)):
        with pytest.raises(ValueError, match="owners must be"):  # -1 was the last, in silence
            call()
    memory.tick(1, np.array([], np.int64))
    assert not memory.clock.any()


def test_settings_may_lie_on_their_limits():
    memory = TransitionMemory(1, 1, 1, owners=1, half_life=1e-3, keep_refuted=0, same_within=0, decimals=0)
    memory.write([[0.4]], [0], [[-0.3]])
    assert memory.expand(np.array([[0.2]])).known.all()
    TransitionMemory(2, 1, 1, keep_refuted=0.99, decimals=30, movement_context=[0, 1])


def test_the_defaults_are_those_of_the_fast_slow_agent():
    defaults = {name: one.default for name, one in signature(TransitionMemory).parameters.items()}
    assert defaults == {
        "dim": Parameter.empty,
        "num_actions": Parameter.empty,
        "capacity": 10_000,
        "owners": 1,
        "half_life": np.inf,
        "keep_refuted": 0.0,
        "same_within": 0.0,
        "movement_context": (),
        "decimals": None,
    }
    movements = TransitionMemory(1, 1, 4).movements
    assert (movements.size, movements.optimistic, movements.displacements.shape) == (32, True, (1, 32, 1))


def test_what_is_not_said_of_a_transition_is_nothing():
    memory = TransitionMemory(1, 2, 4)
    memory.write([[0.0]], [1], [[1.0]])
    step = memory.expand(np.array([[0.0], [9.0]]))
    assert step.known.tolist() == [[False, True], [False, False]] and step.support.tolist() == [[0, 1], [0, 0]]
    assert not step.reward.any() and not step.terminal.any() and not step.harm.any()
    assert step.next_states[:, :, 0].tolist() == [[0, 1], [9, 9]]


def test_of_a_state_that_has_no_name_nothing_is_known_also_in_a_full_memory():
    memory = TransitionMemory(1, 2, 3)
    for action in (0, 1):
        memory.write([[0.0], [1.0], [2.0]], [action] * 3, [[1.0], [2.0], [0.0]], rewards=1.0, harms=1.0, terminals=True)
    step = memory.expand(np.array([[7.0]]))
    assert not any(part.any() for part in (step.known, step.support, step.reward, step.terminal, step.harm))
    assert step.next_states[0].tolist() == [[7], [7]]
    memory.contradict(np.array([[7.0], [7.0]]), np.array([0, 1]))
    assert len(memory) == 6
    memory.write(np.zeros((0, 1)), np.zeros(0, int), np.zeros((0, 1)))
    assert len(memory) == 6
    memory.write([[5.0], [6.0]], [0, 0], [[6.0], [7.0]])  # as many states as there is room for
    assert len(memory) == 2 and memory.states.num_free == 0


@pytest.mark.parametrize("bad", [-1, np.inf, np.nan])
def test_time_does_not_go_backwards(bad):
    memory = TransitionMemory(1, 1, 4, owners=2)
    with pytest.raises(ValueError, match=f"ticks >= 0, got {bad}"):
        memory.tick(bad)
    memory.tick(0)
    memory.tick()
    assert memory.clock.tolist() == [1, 1]


@pytest.mark.parametrize("bad", [1, -0.1, np.nan])
def test_what_is_contradicted_grows_weaker_and_not_stronger(bad):
    memory = TransitionMemory(1, 1, 4)
    for _ in range(4):
        memory.write([[0.0]], [0], [[1.0]])
    with pytest.raises(ValueError, match=f"factor is {bad}; give 0 to drop, or less than 1"):
        memory.contradict(np.zeros((1, 1)), np.array([0]), factor=bad)
    memory.contradict(np.zeros((2, 1)), np.array([0, 0]), factor=0.5)  # named twice, weakened once
    assert memory.strengths(memory.ids()).max() == 2
    memory.contradict(np.zeros((1, 1)), np.array([0]))
    assert len(memory) == 0


@pytest.mark.parametrize(("capacity", "needed", "gone"), [(64, 1, 4), (64, 4, 4), (64, 6, 6), (8, 1, 1), (40, 1, 2)])
def test_a_sixteenth_of_the_states_goes_or_as_many_as_are_needed(capacity, needed, gone):
    memory = TransitionMemory(1, 1, capacity)
    memory.name(np.arange(float(capacity))[:, None])
    memory.name(np.arange(100.0, 100 + needed)[:, None])
    assert len(memory.states) == capacity - gone + needed


def test_of_states_of_equal_strength_the_least_recently_seen_goes():
    memory = TransitionMemory(1, 1, 8, half_life=1.0)
    for place in (0.0, 10.0, 20.0, 30.0):
        memory.write([[place]], [0], [[place + 1]])
    memory.tick(2)  # all have faded, however strong they were
    memory.write([[10.0]], [0], [[11.0]])
    memory.write([[0.0]], [0], [[1.0]])
    memory.name([[99.0], [98.0], [97.0], [96.0]])
    there = memory.states.find(np.array([[0.0], [1], [10], [11], [20], [21], [30], [31]]), np.zeros(8, int)) >= 0
    assert there.tolist() == [True] * 4 + [False] * 4


def test_known_until_is_the_tick_after_which_it_is_not_known():
    memory = TransitionMemory(1, 3, 4, half_life=10)
    memory.tick(5)
    for action, times in ((0, 1), (1, 4)):
        for _ in range(times):
            memory.write([[0.0]], [action], [[1.0]])
    assert memory.table.known_until(np.array([0]))[0].tolist() == pytest.approx([15, 35, -np.inf])
    lasting = TransitionMemory(1, 2, 4)
    lasting.write([[0.0]], [1], [[1.0]])
    assert lasting.table.known_until(np.array([0]))[0].tolist() == [-np.inf, np.inf]


def test_a_saved_memory_is_taken_over_by_a_larger_one_and_by_one_that_is_just_large_enough():
    old = TransitionMemory(1, 2, 10)
    old.write(np.arange(4.0)[:, None], np.array([0, 1, 0, 1]), np.arange(1.0, 5)[:, None])
    for capacity in (5, 20):
        new = TransitionMemory(1, 2, capacity)
        new.write([[77.0]], [0], [[78.0]])
        new.load_state_dict(old.state_dict())
        assert len(new) == 4 and new.states.num_free == capacity - 5
        assert len(set(new.name(np.arange(50.0, 50 + capacity - 5)[:, None]).tolist())) == capacity - 5
        assert new.expand(np.array([[3.0]])).next_states[0, 1].tolist() == [4]
    with pytest.raises(ValueError, match="a saved state has id 4, this memory has room for ids below 4"):
        TransitionMemory(1, 2, 4).load_state_dict(old.state_dict())
    for another, name in (
        ({"num_actions": 3}, "next"),
        ({"owners": 2}, "clock"),
        ({"movement_context": [0]}, r"movements\.begun"),
    ):
        with pytest.raises(ValueError, match=f"saved {name} has shape"):
            TransitionMemory(**{"dim": 1, "num_actions": 2} | another).load_state_dict(old.state_dict())


def test_a_memory_claims_what_its_arrays_take_up(monkeypatch):
    claimed = []
    monkeypatch.setattr(
        "engram_rl.memory.transitions.memory.require_ram", lambda what, size, hint: claimed.append(size)
    )
    memory = TransitionMemory(5, 3, 1025)  # just above a power of two, where there are most buckets
    kept = [*vars(memory.states).values(), *vars(memory.table).values(), memory._seen]
    arrays = [part.nbytes for part in kept if isinstance(part, np.ndarray) and len(part) >= 1025]
    assert sum(arrays) - memory.table._log.nbytes == pytest.approx(claimed[0], abs=1025 / 2)


@pytest.mark.parametrize("make", [Written, Expansion, Walks])
def test_answers_are_not_changed_by_assignment(make):
    names = [field.name for field in fields(make)]
    answer = make(**dict.fromkeys(names, np.zeros(1)))
    with pytest.raises(FrozenInstanceError):
        setattr(answer, names[0], np.ones(1))


@pytest.mark.parametrize("capacity", [*range(1, 10), 16, 17])
def test_what_is_absent_from_a_full_table_is_found_to_be_absent(capacity):
    table = StateTable(1, capacity)
    owners = np.zeros(capacity, int)
    ids = table.add(np.arange(float(capacity))[:, None], owners)
    assert sorted(ids.tolist()) == list(range(capacity)) and table.num_free == 0 and len(table) == capacity
    assert (table.find(np.arange(1000.0, 1050)[:, None], np.zeros(50, int)) == -1).all()
    with pytest.raises(ValueError, match=f"1 new states but room for 0 of {capacity}"):
        table.add(np.array([[-1.0]]), owners[:1])


def test_a_table_in_double_precision_tells_more_numbers_apart():
    double, single = StateTable(2, 8, np.float64), StateTable(2, 8)
    vectors = np.array([[1.0, 2**24], [1.0, 2**24 + 1], [1.0 + 1e-12, 2**24]])
    assert len(set(double.add(vectors, np.zeros(3, int)).tolist())) == 3
    assert len(set(single.add(vectors, np.zeros(3, int)).tolist())) == 1
    assert double.find(vectors[::-1], np.zeros(3, int)).tolist() == [2, 1, 0]


def test_an_owner_that_is_cleared_knows_nothing_and_the_others_what_they_knew():
    memory = TransitionMemory(1, A, owners=3)
    here, there = np.array([[0], [5]]), np.array([[1], [6]])
    for owner in range(3):
        memory.write(here, np.array([0, 2]), there, owners=np.full(2, owner))
    planned = memory.movement_changes
    memory.clear(np.array([0, 2]))
    assert memory.movement_changes > planned
    assert memory.states.owners[memory.ids()].tolist() == [1] * 4
    for owner in range(3):
        support = memory.movements.recall(np.full(A, owner), np.arange(A), np.zeros((A, 1)))[1]
        assert support.tolist() == ([1, 0, 1] if owner == 1 else [0, 0, 0])
    memory.write(here[:1], np.array([0]), here[:1] + 7, owners=np.array([0]))
    assert memory.movements.recall(np.array([0]), np.array([0]), here[:1])[0].tolist() == [[7]]
    step = memory.expand(here, owners=np.ones(2, int))
    assert step.known.tolist() == [[True, False, False], [False, False, True]]


@pytest.mark.parametrize("changed", [1, 4095, 4096, 4097, 9000])
def test_what_changed_since_is_told_cell_by_cell_or_not_at_all(changed):
    table = TransitionMemory(1, 2, 5000).table
    cells = np.random.default_rng(changed).permutation(10_000)[:changed]
    for some in np.array_split(cells, 3):
        table.note(some)
    told = table.changed_since(0)
    if changed <= 4096:
        assert told.tolist() == cells.tolist()
        assert table.changed_since(table.changes - 1).tolist() == cells[-1:].tolist()
    else:
        assert told is None
    before = table.changes
    assert table.changed_since(before).tolist() == []
    table.restore(np.array([3]), {name: part.numpy() for name, part in table.rows(np.array([3])).items()})
    assert table.changed_since(before) is None
    before = table.changes
    table.evict(np.array([3]))
    assert table.changed_since(before) is None


@pytest.mark.parametrize(
    ("dtype", "whole"), [(np.int32, 2**24), (np.uint32, 2**24), (np.int64, 2**53), (np.uint64, 2**53)]
)
def test_integers_that_would_be_taken_for_each_other_are_refused(dtype, whole):
    memory = TransitionMemory(1, 1, 10)
    states = np.array([[whole], [whole + 1]], dtype)
    memory.write(states[:1], np.array([0]), states[:1] // 2)
    with pytest.raises(ValueError, match=f"states hold the integer {whole + 1}"):
        memory.write(states, np.array([0, 0]), states[::-1])
    assert len(memory) == 1 and memory.states.num_free == 8


@pytest.mark.parametrize("owner", [4, -1, 0.0])
def test_the_frontier_of_an_owner_that_is_none_is_refused(owner):
    with pytest.raises(ValueError, match="owners must be"):
        TransitionMemory(1, 2, owners=2).frontier(owner)


@pytest.mark.parametrize(("action", "owner"), [(2, 0), (-1, 1), (0, 2)])
def test_movements_of_an_action_that_is_none_are_not_those_of_another_owner(action, owner):
    with pytest.raises(ValueError, match=r"is -?[0-9]; it must be"):
        MovementMemory(2, 2, 1).distribution(action, owner)


def test_states_that_are_not_real_or_do_not_match_are_refused():
    memory, here = TransitionMemory(1, 2, 9), np.zeros((1, 1))
    with pytest.raises(ValueError, match="real numbers, got complex"):
        memory.write(here + 1j, np.array([0]), here)
    with pytest.raises(ValueError, match=r"next_states must be \[1, 1\]"):
        memory.write(here, np.array([0]), np.zeros((2, 1)))
    with pytest.raises(TypeError, match=r"decimals is 2\.5"):
        TransitionMemory(1, 2, 9, decimals=2.5)
