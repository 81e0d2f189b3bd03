"""What fades, what stays, and that finding the weakest never needs a look at all."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from engram_rl.memory import Blend, Confidence, Decay, DifferentiableNeuralDictionary, Priority
from engram_rl.memory.forgetting import Forgetting, LeastRecentlyUsed, weakest
from engram_rl.memory.forgetting.weakest import WeakestEntries
from tests.memory.filled import written_in_turn


def memory_with(forgetting, capacity=4, **options):
    return DifferentiableNeuralDictionary(1, 1, capacity, k=1, forgetting=forgetting, **options)


def write(memory, *keys, priority=None, **options):
    rows = torch.tensor(keys, dtype=torch.float32).unsqueeze(1)
    priority = None if priority is None else torch.tensor(priority)
    return memory.write(rows, torch.zeros(len(keys), 1), priority, **options)


def read(memory, key):
    return memory.lookup(torch.tensor([[float(key)]]))


def stored(memory):
    return sorted(memory.key_vectors[memory.slots].flatten().tolist())


class TestDecay:
    def test_strength_halves_in_a_half_life(self):
        memory = memory_with(Decay(half_life=10, unit="ticks"))
        slots = write(memory, 0)
        memory.tick(10)
        assert memory.strength(slots).item() == pytest.approx(0.5)

    def test_time_may_be_counted_in_writes(self):
        memory = memory_with(Decay(half_life=2), capacity=10)
        slots = write(memory, 0)
        write(memory, 1, 2, 3)
        assert memory.strength(slots).item() == pytest.approx(2 ** (-4 / 2))

    def test_a_surprise_starts_stronger_by_its_priority(self):
        memory = memory_with(Decay(half_life=10, unit="ticks"))
        slots = write(memory, 0, 1, priority=[0.0, 3.0])
        torch.testing.assert_close(memory.strength(slots), torch.tensor([1.0, 4.0]).double())

    def test_a_retrieval_renews_and_makes_more_durable(self):
        memory = memory_with(Decay(half_life=10, unit="ticks", durability=0.5))
        slots = write(memory, 0)
        memory.tick(30)
        read(memory, 0)
        assert memory.strength(slots).item() == pytest.approx(2**0.5)
        memory.tick(10)
        assert memory.strength(slots).item() == pytest.approx(2 ** (0.5 - 1))

    def test_durability_has_a_ceiling_that_a_higher_priority_keeps(self):
        memory = memory_with(Decay(half_life=10, unit="ticks", durability=1, most=2))
        slots = write(memory, 0, 10, priority=[0.0, 15.0])
        for _ in range(5):
            read(memory, 0)
            read(memory, 10)
        torch.testing.assert_close(memory.strength(slots), torch.tensor([4.0, 16.0]).double())

    def test_the_weakest_makes_room(self):
        memory = memory_with(Decay(half_life=10, unit="ticks"), capacity=3)
        write(memory, 0, 1, 2, priority=[1.0, 0.0, 2.0])
        write(memory, 3)
        assert stored(memory) == [0, 2, 3]

    def test_age_can_outweigh_priority(self):
        memory = memory_with(Decay(half_life=1, unit="ticks"), capacity=2)
        write(memory, 0, priority=[3.0])
        memory.tick(5)
        write(memory, 1)
        write(memory, 2)
        assert stored(memory) == [1, 2]

    def test_among_equals_the_least_recently_used_goes(self):
        memory = memory_with(Decay(half_life=10, unit="ticks"), capacity=3)
        for key in range(7):
            write(memory, key)
        assert stored(memory) == [4, 5, 6]

    def test_below_the_threshold_entries_are_removed(self):
        memory = memory_with(Decay(half_life=1, unit="ticks", threshold=0.3))
        write(memory, 0, 1, priority=[0.0, 7.0])
        memory.tick()
        assert len(memory) == 2
        memory.tick()
        assert stored(memory) == [1]

    def test_writing_again_raises_a_level_but_never_lowers_it(self):
        memory = memory_with(Decay(half_life=10, unit="ticks"), write_rule=Blend())
        name = torch.tensor([5])
        slots = write(memory, 0, priority=[3.0], identity=name)
        write(memory, 0, priority=[1.0], identity=name)
        assert memory.strength(slots).item() == pytest.approx(4)
        write(memory, 0, priority=[7.0], identity=name)
        assert memory.strength(slots).item() == pytest.approx(8)

    def test_a_contradicted_entry_is_weakened_for_good(self):
        memory = memory_with(Decay(half_life=10, unit="ticks", durability=0))
        slots = write(memory, 0)
        memory.contradict(slots, factor=0.25)
        assert memory.strength(slots).item() == pytest.approx(0.25)
        memory.tick(10)
        read(memory, 0)
        assert memory.strength(slots).item() == pytest.approx(0.25)

    def test_only_strength_can_be_weakened(self):
        memory = memory_with("lru")
        slots = write(memory, 0)
        with pytest.raises(ValueError, match="no strength"):
            memory.contradict(slots, factor=0.5)
        with pytest.raises(ValueError, match="factor is 1"):
            memory.contradict(slots, factor=1)

    @pytest.mark.parametrize(
        "wrong", [{"half_life": 0}, {"half_life": 1, "unit": "step"}, {"half_life": 1, "durability": -1}]
    )
    def test_a_curve_that_makes_no_sense_is_refused(self, wrong):
        with pytest.raises(ValueError, match=r"half_life|durability"):
            Decay(**wrong)


def test_priority_keeps_the_highest_whatever_their_age():
    memory = memory_with(Priority(), capacity=2)
    write(memory, 0, priority=[5.0])
    for key in range(1, 50):
        write(memory, key, priority=[1.0])
    assert stored(memory) == [0, 49]


class TestConfidence:
    def test_contradiction_takes_confidence_and_time_gives_it_back(self):
        memory = memory_with(Confidence(lost_decay=0.8))
        slots = write(memory, 1, 2)
        memory.contradict(slots[:1], 0.05)
        assert memory.strength(slots).tolist() == pytest.approx([0.05, 1])
        memory.tick(3)
        assert memory.strength(slots).tolist() == pytest.approx([1 - 0.95 * 0.8**3, 1])

    def test_doubt_adds_up(self):
        memory = memory_with(Confidence(lost_decay=0.5))
        slots = write(memory, 1)
        memory.contradict(slots, 0.5)
        memory.tick()
        memory.contradict(slots, 0.5)
        assert memory.strength(slots).item() == pytest.approx(0.5 * 0.75)

    def test_what_is_written_again_has_full_confidence_again(self):
        memory = memory_with(Confidence(), write_rule="last")
        slots = write(memory, 1, identity=torch.tensor([7]))
        memory.contradict(slots, 0.05)
        assert write(memory, 1, identity=torch.tensor([7])).equal(slots)
        assert memory.strength(slots).item() == 1

    def test_the_least_recently_used_makes_room_whatever_the_confidence(self):
        memory = memory_with(Confidence(), capacity=2)
        slots = write(memory, 1, 2)
        memory.contradict(slots[1:], 0.05)
        assert write(memory, 3).item() == slots[0]

    @pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
    def test_the_decay_of_what_is_lost_is_a_share(self, wrong):
        with pytest.raises(ValueError, match="lost_decay is"):
            Confidence(wrong)


@pytest.mark.parametrize("policy", ["lru", "fifo", "priority", "decay", "confidence"])
def test_a_batch_evicts_as_its_rows_would_one_by_one(policy):
    generator = torch.Generator().manual_seed(3)
    batched, single = (memory_with(Decay(5) if policy == "decay" else policy, 6, write_rule="blend") for _ in range(2))
    for _ in range(40):
        n = int(torch.randint(1, 9, (), generator=generator))
        keys, values = torch.rand(n, 1, generator=generator), torch.rand(n, 1, generator=generator)
        priority = torch.randint(0, 4, (n,), generator=generator).float()
        names = torch.randint(0, 12, (n,), generator=generator)
        at_once = batched.write(keys, values, priority, names)
        assert at_once.tolist() == written_in_turn(single, keys, values, priority, names).tolist()
        query = torch.rand(1, 1, generator=generator)
        batched.lookup(query), single.lookup(query)
        torch.testing.assert_close(batched.values, single.values)


def test_a_batch_of_mixed_priorities_is_stored_at_once_where_age_decides_who_goes(monkeypatch):
    memory = memory_with(Decay(half_life=100), 2000)
    generator = torch.Generator().manual_seed(0)

    def write(n):
        memory.write(torch.rand(n, 1, generator=generator), torch.zeros(n, 1), torch.rand(n, generator=generator))

    write(2000)
    pieces = []
    take = memory.slot_table.take
    monkeypatch.setattr(memory.slot_table, "take", lambda *a: pieces.append(len(a[0])) or take(*a))
    write(1000)
    assert pieces == [1000]


class TestWeakestEntries:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(weakest, "SIZE", 16)
        monkeypatch.setattr(weakest, "CHUNK", 32)
        monkeypatch.setattr(weakest, "SAMPLE", 20)

    @pytest.mark.parametrize("spread", [3, 1000])  # with 3 different scores nearly all are equal
    def test_it_always_gives_the_weakest_of_all(self, spread):
        generator = torch.Generator().manual_seed(0)
        score = torch.randint(0, spread, (300,), generator=generator).double()
        entries = WeakestEntries(score)
        for _ in range(300):
            n = int(torch.randint(1, 12, (), generator=generator))
            weakest = entries.lowest(n, 300)
            expected = sorted(range(300), key=lambda slot: (score[slot].item(), slot))[:n]
            assert weakest.tolist() == expected
            score[weakest] += torch.randint(0, spread, (n,), generator=generator)
            score[torch.randint(0, 300, (5,), generator=generator)] += 1
            entries.lowered(weakest)
            fallen = torch.randint(0, 300, (4,), generator=generator)
            score[fallen] -= spread / 3
            entries.lowered(fallen)

    def test_it_skips_slots_without_an_entry_and_gives_no_more_than_there_are(self):
        score = torch.full((100,), math.inf, dtype=torch.float64)
        score[[7, 70]] = torch.tensor([2.0, 1.0]).double()
        assert WeakestEntries(score).lowest(5, 100).tolist() == [70, 7]

    def test_no_single_call_looks_at_more_than_a_chunk_while_entries_are_in_use(self, monkeypatch):
        looked = []
        step = weakest._Gathering.step
        monkeypatch.setattr(weakest._Gathering, "step", lambda self: looked.append(self._cursor) or step(self))
        score = torch.arange(1000).double()
        entries = WeakestEntries(score)
        entries.lowest(1, 1000)
        for use in range(1000, 3000):
            looked.clear()
            victim = entries.lowest(1, 1000)
            score[victim] = use
            entries.lowered(victim)
            assert len(looked) <= 2


class Bare:
    """Offers half of what is asked."""

    def attach(self, capacity, device):
        pass

    def retrieved(self, slots):
        pass


class ThreeArguments(LeastRecentlyUsed):
    """As the first version had it."""

    def written(self, slots, new, priority):
        pass


@dataclass(frozen=True)
class Oldest(Forgetting):
    """First in, first out by the clock of the caller, which is frozen with it."""

    clock: list[float] = field(default_factory=lambda: [0.0])

    def written(self, rows):
        self.set_scores(rows.slots, torch.full(rows.slots.shape, self.clock[0], dtype=torch.float64))
        self.clock[0] += 1

    def retrieved(self, slots):
        pass


class TestOwnPolicies:
    @pytest.mark.parametrize(
        ("policy", "message"),
        [
            (Bare(), "which lacks written, lowest_birth"),
            (LeastRecentlyUsed, r"is the class LeastRecentlyUsed; give an object of it"),
            (ThreeArguments(), r"written\(slots, new, priority\) is called as written\(rows\)"),
        ],
    )
    def test_what_is_no_policy_is_refused_when_the_memory_is_built(self, policy, message):
        with pytest.raises(TypeError, match=message):
            DifferentiableNeuralDictionary(1, 1, 8, forgetting=policy)

    def test_a_policy_that_lacks_a_method_cannot_be_made(self):
        class Half(Forgetting):
            def retrieved(self, slots):
                pass

        with pytest.raises(TypeError, match="written"):
            Half()

    def test_a_frozen_dataclass_is_a_policy_and_needs_no_more_than_two_methods(self):
        memory = DifferentiableNeuralDictionary(1, 1, 3, k=1, forgetting=Oldest())
        for key in range(5):
            memory.write(torch.full((1, 1), float(key)), torch.zeros(1, 1))
        assert sorted(memory.key_vectors.flatten().tolist()) == [2, 3, 4]
        memory.write(torch.tensor([[7.0], [8.0]]), torch.zeros(2, 1))  # each row as if alone
        assert sorted(memory.key_vectors.flatten().tolist()) == [4, 7, 8]
        twin = DifferentiableNeuralDictionary(1, 1, 3, forgetting=memory.forgetting)
        assert twin.forgetting is not memory.forgetting

    def test_a_policy_is_told_keys_values_as_stored_and_which_entries_are_new(self):
        told = []

        class Listening(LeastRecentlyUsed):
            def written(self, rows):
                super().written(rows)
                told.append(rows)

        memory = DifferentiableNeuralDictionary(1, 1, 8, write_rule="max", forgetting=Listening())
        memory.write(torch.tensor([[3.0]]), torch.tensor([[5.0]]), identity=torch.tensor([1]))
        memory.write(torch.tensor([[4.0], [9.0]]), torch.tensor([[2.0], [7.0]]), identity=torch.tensor([1, 2]))
        assert told[1].keys.vectors.tolist() == [[4], [9]] and told[1].values.tolist() == [[5], [7]]
        assert told[1].new.tolist() == [False, True] and told[1].slots.tolist() == [0, 1]
