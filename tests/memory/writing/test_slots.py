"""Slots that are taken and given back, and the order in which rows were written, by worked examples."""

import math

import pytest
import torch

from engram_rl.memory import Confidence, Decay, DifferentiableNeuralDictionary, Keys, LeastRecentlyUsed, WrittenRows
from engram_rl.memory.forgetting import Forgetting
from engram_rl.memory.writing.batch import Batch
from engram_rl.memory.writing.slots import Slots

CPU = torch.device("cpu")


class InOrder:
    """The first used slots are the weakest."""

    def weakest(self, n, used):
        return torch.arange(min(n, used))


def test_free_slots_are_taken_first_the_one_that_was_named_first_before_the_others_then_new_ones_then_the_weakest():
    slots = Slots(6, CPU)
    assert (len(slots), slots.used, slots.holes, slots.evictions) == (0, 0, 0, 0)
    fresh, victims = slots.for_new(4, InOrder())
    assert fresh.tolist() == [0, 1, 2, 3] and victims.tolist() == []
    slots.take(fresh, victims)
    slots.release(torch.tensor([2]))
    slots.release(torch.tensor([1, 3]))
    assert (len(slots), slots.used, slots.holes) == (1, 4, 3) and slots.free.tolist() == [2, 3, 1]
    fresh, victims = slots.for_new(2, InOrder())
    assert fresh.tolist() == [1, 3] and victims.tolist() == []
    slots.take(fresh, victims)
    assert slots.free.tolist() == [2] and len(slots) == 3
    fresh, victims = slots.for_new(5, InOrder())
    assert fresh.tolist() == [2, 4, 5, 0, 1] and victims.tolist() == [0, 1]
    slots.take(fresh, victims)
    assert (len(slots), slots.used, slots.holes, slots.evictions) == (6, 6, 0, 2)
    assert slots.generation.tolist() == [2, 3, 2, 2, 1, 1] and slots.alive.all()
    slots.writes[4] = 9
    slots.take(torch.tensor([4]), torch.tensor([4]), torch.tensor([3]))
    assert slots.generation[4] == 4 and slots.writes[4] == 1 and slots.evictions == 2 + 3


def test_slots_are_saved_with_the_order_of_the_free_ones_and_nothing_is_left_of_those_before():
    slots = Slots(6, CPU)
    slots.take(*slots.for_new(5, InOrder()))
    slots.release(torch.tensor([3, 0]))
    state = slots.state_dict(slots.used)
    twin = Slots(7, CPU)
    twin.take(*twin.for_new(7, InOrder()))
    twin.load_state_dict(state)
    assert (len(twin), twin.used, twin.holes, twin.evictions) == (3, 5, 2, 0)
    assert twin.alive.tolist() == [False, True, True, False, True, False, False]
    assert twin.generation.tolist() == twin.writes.tolist() == [1, 1, 1, 1, 1, 0, 0]
    for one in (slots, twin):
        fresh, victims = one.for_new(3, InOrder())
        assert fresh.tolist() == [3, 0, 5] and victims.tolist() == []
        one.take(fresh, victims)
        one.release(torch.tensor([5]))
    assert state["holes"].tolist() == [0, 3]  # the state stays its owner's


def test_many_are_given_back_and_taken_as_by_a_stack():
    draw, slots, stack, held = torch.Generator().manual_seed(0), Slots(200, CPU), [], set()
    for _ in range(60):
        n = int(torch.randint(1, 20, (), generator=draw))
        if len(held) > 100:
            gone = sorted(held)[:: int(torch.randint(2, 5, (), generator=draw))]
            slots.release(torch.tensor(gone))
            stack += gone[::-1]
            held -= set(gone)
        fresh, victims = slots.for_new(n, InOrder())
        expected = [stack.pop() if stack else None for _ in range(n)]
        assert [a for a, b in zip(fresh.tolist(), expected, strict=True) if b is not None] == [
            one for one in expected if one is not None
        ]
        slots.take(fresh, victims)
        held |= set(fresh.tolist())
        assert len(slots) == len(held) and slots.holes == len(stack)


ONE = torch.zeros(3)
KEYS = Keys(torch.zeros(3, 1), torch.zeros(3, 0, dtype=torch.int64), torch.ones(3, 1, dtype=torch.bool))


def rows(**options):
    new = torch.tensor([True, False, True])
    return WrittenRows(torch.tensor([4, 0, 2]), new, torch.tensor([0.0, 1.0, 3.0]), KEYS, ONE[:, None], **options)


def test_rows_know_their_order_and_how_many_were_written_together():
    every, some = rows(), rows(turns=torch.tensor([1, 5, 6]), together=9)
    assert len(every) == 3 and every.order().tolist() == [0, 1, 2] and every.order().dtype == torch.float64
    assert len(some) == 9 and some.order().tolist() == [1, 5, 6] and some.order().dtype == torch.float64
    assert every.together == 0 and every.turns is None


def test_repeats_end_a_batch_of_distinct_rows():
    values = torch.zeros(3, 1)

    def distinct(*names):
        batch = Batch(KEYS, values, ONE, None if names == (None,) else torch.tensor(names).numpy())
        return batch.distinct()

    assert distinct(None) == 3 and distinct(5, 6, 7) == 3
    assert (distinct(5, 5, 7), distinct(5, 6, 5), distinct(5, 5, 5)) == (1, 2, 1)


class Plain(Forgetting):
    """What every policy does that says nothing else."""

    def written(self, rows):
        self.set_scores(rows.slots, rows.order())

    def retrieved(self, slots):
        pass


def test_a_policy_that_says_nothing_keeps_an_order_and_no_strength():
    policy = Plain()
    policy.attach(6, CPU)
    policy.written(rows())
    assert policy.score.tolist() == [1, 0, 2, 0, 0, 0] and policy.since is None
    assert policy.lowest_birth(rows()) == -math.inf and policy.births(rows()) is None
    assert policy.expired(9, 6).tolist() == [] and policy.strength(torch.tensor([0, 5])).tolist() == [1, 1]
    assert policy.settings() == {} and policy.tick(5) is None and policy.by_use is False
    with pytest.raises(ValueError, match="Plain keeps no strength to weaken"):
        policy.weakened(torch.tensor([0]), 0.5)
    policy.removed(torch.tensor([1, 3, 5]))
    assert policy.weakest(2, 6).tolist() == [4, 0] and policy.weakest(9, 6).tolist() == [4, 0, 2]
    twin = Plain()
    twin.attach(6, CPU)
    twin.load_state_dict(policy.state_dict(4))
    assert twin.score.tolist() == [1, math.inf, 2, math.inf, 0, 0]


def test_recency_counts_every_row_and_every_lookup_once():
    policy = LeastRecentlyUsed()
    policy.attach(6, CPU)
    policy.written(rows())
    assert policy.score[[4, 0, 2]].tolist() == [0, 1, 2] and policy.lowest_birth(rows()) == 3
    policy.retrieved(torch.tensor([4, 4, 0]))
    assert policy.score[[4, 0, 2]].tolist() == [3, 3, 2] and policy.uses == 4
    policy.written(rows())
    assert policy.score[[4, 0, 2]].tolist() == [4, 5, 6] and policy.state_dict(1) == {
        "score": torch.tensor([5.0]).double(),
        "uses": 7,
    }


@pytest.mark.parametrize("unit", ["writes", "ticks"])
def test_decay_scores_are_levels_and_the_time_of_the_latest_use(unit):
    policy = Decay(2.0, unit=unit, durability=0.5, most=1.5)
    policy.attach(6, CPU)
    policy.written(rows(turns=torch.tensor([1, 5, 6]), together=8))
    times = [1.0, 5.0, 6.0] if unit == "writes" else [0.0] * 3
    levels = [0.0, 1.0, 2.0]
    expected = [level + time / 2 for level, time in zip(levels, times, strict=True)]
    assert policy.score[[4, 0, 2]].tolist() == pytest.approx(expected) and policy.since[[4, 0, 2]].tolist() == [1, 5, 6]
    later = 8 / 2 if unit == "writes" else 0
    births = policy.births(rows(turns=torch.tensor([1, 5, 6]), together=8))
    assert births.tolist() == pytest.approx([one + later for one in expected])
    assert policy.uses == 8 and policy.now == (8.0 if unit == "writes" else 0.0)
    assert policy.lowest_birth(rows()) == policy.now / 2
    policy.tick(3.0)
    now = 8.0 if unit == "writes" else 3.0
    assert policy.now == now
    policy.retrieved(torch.tensor([0, 2, 0]))
    assert policy.level[[4, 0, 2]].tolist() == pytest.approx([0, 1.5, 2])  # up to the most, and no lower than it is
    assert policy.score[[0, 2]].tolist() == pytest.approx([1.5 + now / 2, 2 + now / 2])
    assert policy.since[[0, 2]].tolist() == [8, 8]
    assert policy.uses == 9
    policy.weakened(torch.tensor([2]), 0.25)
    assert [float(policy.level[2]), float(policy.score[2])] == pytest.approx([0, now / 2])
    known = policy.state_dict(5)
    assert (known["now"], known["uses"], known["rate"], len(known["level"]), len(known["since"])) == (now, 9, 0.5, 5, 5)


def test_what_is_expired_is_below_the_threshold_and_no_more_than_asked_for():
    memory = DifferentiableNeuralDictionary(1, 1, 9, forgetting=Decay(1.0, unit="ticks", threshold=0.5))
    memory.write(torch.rand(4, 1), torch.zeros(4, 1), torch.tensor([0.0, 7.0, 0.0, 0.5]))
    policy = memory.forgetting
    policy.tick(1.0)
    assert policy.expired(9, 4).tolist() == []  # strengths of 0.5, 4, 0.5 and 0.75
    policy.tick(1.0)
    assert policy.expired(9, 4).tolist() == [0, 2, 3] and policy.expired(2, 4).tolist() == [0, 2]
    assert Decay(1.0).settings()["threshold"] == 0


def test_confidence_is_saved_with_its_time():
    memory, twin = (DifferentiableNeuralDictionary(1, 1, 4, forgetting=Confidence(0.5)) for _ in range(2))
    slots = memory.write(torch.rand(3, 1), torch.zeros(3, 1))
    memory.tick(2)
    memory.contradict(slots[1:], 0.5)
    memory.tick()
    twin.load_state_dict(memory.state_dict())
    for one in (memory, twin):
        assert one.strength(slots).tolist() == [1, 0.75, 0.75]
        one.tick(2)
        assert one.strength(slots).tolist() == [1, 0.9375, 0.9375] and one.forgetting.now == 5
    assert memory.forgetting.settings() == {"lost_decay": 0.5}
