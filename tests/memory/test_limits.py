"""What other types, sizes, scales and parts than the usual ones get: the right value, or an error before any change."""

import copy
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from engram_rl.memory import (
    Confidence,
    Decay,
    DifferentiableNeuralDictionary,
    Forgetting,
    Gaussian,
    IVFIndex,
    KeySpace,
    LeastRecentlyUsed,
    Modality,
    RecursivePooling,
    Reencoder,
    RowRMSprop,
    RowSGD,
    identify,
)

CODED = [Modality("v", 2), Modality("a", kind="discrete")]
NUMBERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]
NUMBERS += [torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def made(space=2, capacity=20, **options):
    return DifferentiableNeuralDictionary(space, 1, capacity, **({"k": 2} | options))


def t(*rows):
    return torch.tensor(rows)


@dataclass(frozen=True, slots=True)
class Alphabetical(Forgetting):
    """The entry with the lowest key goes."""

    sign: float = 1.0

    def written(self, rows):
        self.set_scores(rows.slots, self.sign * rows.keys.vectors[:, 0].double())

    def retrieved(self, slots):
        pass


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of all values."""

    matches: bool = True

    def combine(self, stored, value, context):
        return stored + value


@dataclass(frozen=True)
class Frozen(LeastRecentlyUsed):
    """Counts uses, which it may not."""


class TestRowsThatMadeRoom:
    @pytest.mark.parametrize("policy", ["lru", "fifo", "priority", Confidence(), Decay(5.0)])
    @pytest.mark.parametrize("capacity", [1, 3])
    def test_a_batch_names_those_that_stay_and_nobody_else(self, policy, capacity):
        memory = made(1, capacity, forgetting=policy)
        keys = torch.arange(8.0).unsqueeze(1)
        slots = memory.write(keys, keys)
        stay = slots >= 0
        assert stay.sum() == capacity == len(set(slots[stay].tolist()))
        assert torch.equal(memory.values[slots[stay]], keys[stay])

    def test_rows_of_one_entry_all_name_it_while_it_stays(self):
        memory = made(1, 2, write_rule="last")
        keys = torch.arange(4.0).unsqueeze(1)
        assert memory.write(keys, keys, identity=t(7, 7, 8, 7)).tolist() == [0, 0, 1, 0]
        assert memory.write(keys, keys, identity=t(7, 9, 10, 7)).tolist() == [-1, -1, 0, 1]

    def test_what_was_too_weak_to_stay_is_not_named(self):
        memory = made(1, 9, forgetting=Decay(1.0, threshold=0.4))
        slots = memory.write(torch.rand(5, 1), torch.zeros(5, 1))
        assert slots.tolist()[-1] >= 0 and (slots < 0).any() and memory.alive[slots[slots >= 0]].all()

    def test_they_can_be_handed_on_as_they_are(self):
        memory = made(2, 3)
        keeper = Reencoder(memory, lambda x: x, (2,))
        slots = memory.write(torch.rand(5, 2), torch.zeros(5, 1))
        keeper.remember(slots, torch.eye(5)[:, :2])
        assert keeper.observations[slots[2]].tolist() == [0, 0] and (keeper.generation == memory.generation).all()
        found = memory.lookup(torch.rand(5, 2), exclude=(slots, memory.generation[slots]))
        assert found.valid.all()
        memory.forget(slots[:2])
        assert len(memory) == 3


class TestPartsOfYourOwn:
    @pytest.mark.parametrize("again", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_frozen_dataclasses_with_slots_order_and_combine(self, again):
        policy = Alphabetical(-1.0)
        memory, other = again(made(1, 3, forgetting=policy, write_rule=Sum())), made(1, 3, forgetting=policy)
        memory.write(t([3.0], [1.0], [2.0], [3.0]), torch.ones(4, 1), identity=t(0, 1, 2, 0))
        assert memory.values.flatten().tolist() == [2, 1, 1]
        memory = again(memory)
        memory.write(t([0.0]), torch.ones(1, 1))
        assert sorted(memory.key_vectors.flatten().tolist()) == [0, 1, 2] and len(other) == 0

    def test_a_frozen_policy_that_counts_uses_is_refused_with_what_to_change(self):
        with pytest.raises(TypeError, match="leave out frozen=True"):
            made(forgetting=Frozen())

    def test_a_rule_that_leaves_what_can_be_held_is_refused_before_it_is_stored(self):
        memory = made(write_rule=Sum())
        memory.write(torch.ones(1, 2), torch.full((1, 1), 9e29), identity=t(1))
        with pytest.raises(ValueError, match=r"write_rule.*above 1e\+30"):
            memory.write(torch.zeros(1, 2), torch.full((1, 1), 9e29), identity=t(1))
        assert memory.values[0].item() == pytest.approx(9e29) and memory.key_vectors[0].tolist() == [1, 1]


class TestTimeAndStrength:
    @pytest.mark.parametrize("policy", [Decay(1e-6), Decay(1e-6, unit="ticks"), Decay(1e300), Confidence(0.0)])
    def test_all_stays_finite_over_the_longest_time(self, policy):
        memory = made(1, 3, forgetting=policy)
        for amount in (1e15, 8e15, 0):
            memory.write(torch.rand(5, 1), torch.zeros(5, 1), torch.full((5,), 1e30))
            memory.lookup(torch.rand(2, 1))
            memory.tick(amount)
        assert memory.forgetting.score.isfinite().all() and memory.strength(memory.slots).isfinite().all()

    @pytest.mark.parametrize("policy", [Decay(1.0, unit="ticks"), Confidence()])
    def test_a_tick_beyond_it_is_refused_and_passes_no_time(self, policy):
        memory = made(forgetting=policy)
        with pytest.raises(ValueError, match=r"1e\+300.*larger units"):
            memory.tick(1e300)
        assert memory.forgetting.now == 0

    def test_the_most_durable_entry_has_a_strength(self):
        memory = made(1, forgetting=Decay(1.0, durability=1000.0, most=1000.0))
        slots = memory.write(torch.rand(1, 1), torch.zeros(1, 1))
        memory.lookup(torch.rand(1, 1))
        assert memory.strength(slots).isfinite().all()
        for wrong in (
            {"half_life": 1e-7},
            {"half_life": 1.0, "durability": 1001.0},
            {"half_life": 1.0, "most": 1001.0},
        ):
            with pytest.raises(ValueError, match=r"must be at (least|most)|and at most"):
                Decay(**wrong)


class TestLearning:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e25, "far"])
    @pytest.mark.parametrize("kind", [RowSGD, RowRMSprop])
    def test_a_step_that_is_refused_changes_nothing_and_can_be_taken_again(self, kind, bad):
        memory = made()
        memory.write(torch.rand(3, 2), torch.rand(3, 1))
        optimiser = kind(memory, lr=1e16 if bad == "far" else 0.1)
        found = memory.lookup(torch.rand(1, 2))
        found.value.sum().backward()
        before, squares = copy.deepcopy(memory.state_dict()), optimiser.state_dict()
        kept = found.keys.grad.clone()
        found.keys.grad.fill_(1.0 if bad == "far" else bad)
        with pytest.raises(ValueError, match=r"lower the learning rate or clip"):
            optimiser.step(found)
        assert torch.equal(memory.state_dict()["rows"], before["rows"])
        assert torch.equal(memory.state_dict()["values"], before["values"])
        assert all(torch.equal(x, squares[name]) for name, x in optimiser.state_dict().items())
        found.keys.grad.copy_(kept)
        optimiser.lr = 0.1
        optimiser.step(found)

    @pytest.mark.parametrize("how", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
    def test_what_was_copied_in_inference_mode_learns_outside(self, how):
        memory = made()
        memory.write(torch.rand(3, 2), torch.rand(3, 1))
        with torch.inference_mode():
            memory, optimiser, keeper = how((memory, RowRMSprop(memory), Reencoder(memory, torch.abs, (2,))))
        assert optimiser.memory is memory is keeper.memory
        found = memory.lookup(torch.rand(1, 2))
        found.value.sum().backward()
        optimiser.step(found)
        keeper.remember(t(0), torch.rand(1, 2))
        assert len(keeper.refresh()) == 1


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_memory_can_be_copied_while_its_index_is_at_work(again):
    memory = made(2, 3000, index=IVFIndex(lists=8, start=100))
    memory.write(torch.rand(3000, 2), torch.zeros(3000, 1))
    memory.lookup(torch.rand(1, 2))
    assert memory.index.report()["repairing"]
    twin, query = again(memory), torch.rand(5, 2)
    assert torch.equal(twin.lookup(query).slots, memory.lookup(query).slots)
    twin.index.build(3000)
    assert twin.lookup(query).valid.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_farthest_neighbours_share_the_weight_and_the_empty_places_get_none(dtype):
    memory = made(kernel=Gaussian(1e-15), k=4, dtype=dtype)
    memory.write(100 * torch.eye(2, dtype=dtype), torch.ones(2, 1, dtype=dtype))
    found = memory.lookup(torch.zeros(1, 2, dtype=dtype))
    assert found.weights.tolist() == [[0.5, 0.5, 0, 0]] and found.value.item() == 1
    found.value.sum().backward()
    assert found.keys.grad.isfinite().all()


@pytest.mark.parametrize("space", [[Modality("c", 2, "cosine")], [Modality("c", 2, "cosine"), Modality("v", 1)]])
@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-22, 1e-15, 1.0, 1e13])
def test_directions_are_right_however_short(space, scale):
    memory = made(space)
    memory.write({"c": scale * t([3.0, 4.0])}, torch.zeros(1, 1))
    torch.testing.assert_close(memory.key_vectors[0, :2], t(0.6, 0.8))
    memory.move(t(0), keys=torch.cat([scale * t([4.0, 3.0]), torch.zeros(1, len(space) - 1)], 1))
    torch.testing.assert_close(memory.key_vectors[0, :2], t(0.8, 0.6))
    with pytest.raises(ValueError, match="zero vector"):
        memory.write({"c": torch.zeros(1, 2)}, torch.zeros(1, 1))


def test_a_way_that_is_weaker_than_any_number_is_still_a_way():
    memory = made()
    memory.write(torch.rand(5, 2), torch.zeros(5, 1))
    memory.link(t(0, 1, 2, 0, 3, 4), t(1, 2, 1, 3, 4, 3), t(0.5, 0.5, 0.5, 0.1, 0.1, 0.1))
    for steps in (1, 99, 1199):
        assert memory.follow(t(0, -1), steps).slots.tolist() == [[1, 3], [-1, -1]]


class TestTypes:
    @pytest.mark.parametrize("dtype", NUMBERS)
    @pytest.mark.parametrize("space", [2, [Modality("v", 2), Modality("p", 2)], CODED, [Modality("a", 2, "discrete")]])
    def test_numbers_of_any_type_are_stored_found_and_moved(self, dtype, space):
        memory, size = made(space), KeySpace(space).dim
        keys, one = torch.ones(2, size).to(dtype), torch.ones(2, 1).to(dtype)
        slots = memory.write(keys, one, priority=torch.ones(2).to(dtype))
        memory.move(slots, keys=torch.ones(2, memory.space.vector_size).to(dtype), values=one)
        assert memory.lookup(keys).value.tolist() == [[1], [1]]

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint32, torch.uint64])
    def test_integers_that_would_be_rounded_are_refused_wherever_they_come_in(self, dtype):
        memory = made()
        memory.write(torch.rand(1, 2), torch.zeros(1, 1))
        odd = t([2**24 + 1]).to(dtype)
        for call in (
            lambda: memory.write(torch.zeros(1, 2), odd),
            lambda: memory.write(odd.expand(1, 2), torch.zeros(1, 1)),
            lambda: memory.move(t(0), values=odd),
            lambda: memory.move(t(0), keys=odd.expand(1, 2)),
        ):
            with pytest.raises(ValueError, match="16777217"):
                call()
        assert len(memory) == 1 and memory.values[0].item() == 0

    def test_codes_are_kept_whatever_they_are(self):
        memory = made([Modality("a", kind="discrete")], k=1)
        codes = torch.tensor([[2**63 + 5], [5]], dtype=torch.uint64)
        memory.write({"a": codes}, torch.zeros(2, 1))
        assert memory.lookup({"a": codes}).slots.tolist() == [[0], [1]]

    def test_a_priority_that_is_infinite_in_its_own_type_is_refused(self):
        with pytest.raises(ValueError, match="priority holds inf"):
            made().write(torch.rand(1, 2), torch.zeros(1, 1), torch.tensor([torch.inf], dtype=torch.float16))

    def test_one_number_has_one_hash_in_any_order_of_bytes_and_objects_have_none(self):
        numbers = np.arange(4.0, dtype="<f4").reshape(2, 2)
        assert torch.equal(identify(numbers), identify(numbers.astype(">f4")))
        assert torch.equal(identify(np.array([[0j]])), identify(np.array([[-0.0 - 0.0j]])))
        with pytest.raises(TypeError, match="array of numbers, a row each"):
            identify(np.array([["a", 1]], dtype=object))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float64])
    def test_a_symbol_has_one_code_in_any_type(self, dtype):
        pool, grid = RecursivePooling((4, 4)), torch.arange(16).reshape(1, 4, 4) % 3
        assert all(torch.equal(pool(grid.to(dtype))[name], code) for name, code in pool(grid).items())
        halves = pool(grid.to(torch.float32) + 0.5)
        assert not torch.equal(halves["scale_0"], pool(grid)["scale_0"])


def test_a_screen_stays_one_however_long_the_names():
    memory = made([Modality("n" * 60 + str(i), 3) for i in range(20)], kernel=type("K" * 200, (Gaussian,), {})())
    lines = repr(memory).splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 160
