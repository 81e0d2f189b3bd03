"""Which entry makes room, and what removing one leaves behind."""

import torch

from engram_rl.memory import (
    DifferentiableNeuralDictionary,
)
from tests.memory.filled import D, V, assert_same, filled


class TestEviction:
    def test_the_least_recent_neighbour_goes(self):
        memory = DifferentiableNeuralDictionary(1, 1, 3, k=1)
        memory.write(torch.tensor([[0.0], [1.0], [2.0]]), torch.zeros(3, 1))
        memory.lookup(torch.tensor([[0.0]]))
        memory.write(torch.tensor([[3.0]]), torch.zeros(1, 1))
        assert sorted(memory.key_vectors.flatten().tolist()) == [0, 2, 3]
        assert memory.evictions == 1

    def test_a_lookup_without_touch_changes_nothing(self):
        memory, _ = filled()
        before = memory.state_dict()
        memory.lookup(torch.randn(5, D), touch=False)
        assert_same(before, memory.state_dict())

    def test_entries_keep_their_slot_while_others_come_and_go(self):
        memory, slots = filled(20, capacity=20)
        key = memory.key_vectors[slots[19]].clone()
        memory.write(torch.randn(10, D), torch.randn(10, V))
        torch.testing.assert_close(memory.key_vectors[slots[19]], key)

    def test_first_in_first_out_ignores_use(self):
        memory = DifferentiableNeuralDictionary(1, 1, 2, k=1, forgetting="fifo")
        memory.write(torch.tensor([[0.0], [1.0]]), torch.zeros(2, 1))
        memory.lookup(torch.tensor([[0.0]]))
        memory.write(torch.tensor([[2.0]]), torch.zeros(1, 1))
        assert sorted(memory.key_vectors.flatten().tolist()) == [1, 2]

    def test_an_evicted_identity_is_unknown(self):
        memory, _ = filled(20, capacity=20)
        memory.write(torch.randn(1, D), torch.randn(1, V), identity=torch.tensor([50]))
        assert memory.find(torch.tensor([0, 50])).tolist() == [-1, 0]

    def test_a_reused_slot_counts_as_another_entry(self):
        memory, _ = filled(20, capacity=20)
        found = memory.lookup(memory.key_vectors[:1].clone(), touch=False)
        assert memory.same_entries(found).all()
        memory.write(torch.randn(1, D), torch.randn(1, V))
        assert memory.same_entries(found)[0].tolist() == [False, True, True, True]


class TestForget:
    def test_removed_entries_are_gone_and_their_slots_are_used_first(self):
        memory, slots = filled()
        memory.contradict(slots[[4, 9]])
        assert len(memory) == 18 and memory.find(torch.tensor([4])).tolist() == [-1]
        assert not torch.isin(memory.lookup(torch.randn(50, D), k=20).slots, slots[[4, 9]]).any()
        again = memory.write(torch.randn(3, D), torch.randn(3, V))
        assert sorted(again.tolist()[:2]) == [4, 9] and again[2] == 20

    def test_removing_twice_or_nothing_is_harmless(self):
        memory, _ = filled()
        memory.forget(torch.tensor([3, 3, -1]))
        memory.forget(torch.tensor([3]))
        assert len(memory) == 19
