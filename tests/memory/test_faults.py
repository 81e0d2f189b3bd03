"""What earlier kNN memories got wrong, each as a test."""

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, IVFIndex, RowRMSprop, RowSGD

D = 4


def memory_of(n, capacity=16, **options):
    torch.manual_seed(0)
    memory = DifferentiableNeuralDictionary(D, 1, capacity, k=3, **options)
    memory.write(torch.randn(n, D), torch.arange(float(n)).unsqueeze(1), identity=torch.arange(n))
    return memory


def trained(memory, optimiser, query):
    found = memory.lookup(query, touch=False)
    found.value.sum().backward()
    optimiser.step(found)
    return found


def test_after_overflow_slots_keys_values_and_identities_still_belong_together():
    memory = memory_of(0)
    keys = torch.randn(50, D)
    for start in range(0, 50, 7):
        part = slice(start, min(50, start + 7))
        memory.write(keys[part], torch.arange(50.0)[part].unsqueeze(1), identity=torch.arange(50)[part])
    kept = memory.find(torch.arange(50))
    for name, slot in enumerate(kept.tolist()):
        if slot >= 0:
            assert torch.equal(memory.key_vectors[slot], keys[name]) and memory.values[slot].item() == name
            assert memory.lookup(keys[name : name + 1], touch=False).slots[0, 0] == slot
    assert (kept >= 0).sum() == 16


@pytest.mark.parametrize("part", ["keys", "values"])
def test_an_update_moves_what_was_read(part):
    memory = memory_of(10)
    buffer = {"keys": memory.key_vectors, "values": memory.values}[part]
    before = buffer.clone()
    found = trained(memory, RowSGD(memory, lr=0.1), torch.randn(2, D))
    moved = (buffer != before).any(1).nonzero().squeeze(1)
    assert set(moved.tolist()) == set(found.slots.flatten().tolist())


def test_evaluation_leaves_the_order_of_eviction_alone():
    memory = memory_of(16)
    memory.lookup(memory.key_vectors[:1].clone(), touch=False)
    memory.write(torch.randn(1, D), torch.zeros(1, 1), identity=torch.tensor([99]))
    assert memory.find(torch.tensor([0, 99])).tolist() == [-1, 0]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_slots_that_were_never_written_or_were_removed_are_never_found(n):
    memory = memory_of(n + 1)
    memory.forget(torch.tensor([0]))
    found = memory.lookup(torch.full((1, D), 1e14))  # nearer to any placeholder than to an entry
    assert found.valid.sum() == n and found.weights.sum() == float(n > 0)


def test_the_optimisers_state_outlives_inserts():
    memory = memory_of(10)
    optimiser = RowRMSprop(memory)
    query = torch.randn(2, D)
    found = trained(memory, optimiser, query)
    before = optimiser.state_dict()["keys"][found.slots[0, 0]].clone()
    memory.write(torch.randn(3, D), torch.zeros(3, 1))
    assert before.any() and torch.equal(optimiser.state_dict()["keys"][found.slots[0, 0]], before)


def test_what_is_saved_is_what_loads_and_another_width_is_refused(tmp_path):
    memory = memory_of(10)
    memory.save(tmp_path / "memory")
    assert len(DifferentiableNeuralDictionary.load(tmp_path / "memory")) == 10
    with pytest.raises(ValueError, match="key space"):
        DifferentiableNeuralDictionary(D + 1, 1, 16).load_state_dict(memory.state_dict())


@pytest.mark.parametrize("index", ["exact", IVFIndex(lists=2, probes=2, start=4, check_every=0)])
def test_keys_moved_by_the_gradient_reach_the_index(index):
    memory = memory_of(16, index=index)
    if index != "exact":
        index.build(16)
    memory.lookup(torch.zeros(1, D))
    memory.move(torch.tensor([5]), keys=torch.full((1, D), 40.0))
    assert memory.lookup(torch.full((1, D), 40.0)).slots[0, 0] == 5


def test_slot_zero_counts():
    memory = memory_of(1)
    assert memory.find(torch.tensor([0])).item() == 0
    assert memory.lookup(torch.zeros(1, D)).valid[0].tolist() == [True, False, False]
    assert not memory.lookup(torch.zeros(1, D), exclude=torch.tensor([0])).valid.any()


def test_a_replayed_key_can_be_kept_from_answering_itself():
    memory = memory_of(10)
    query = memory.key_vectors[:10].clone()
    alone = memory.lookup(query, exclude=memory.find(torch.arange(10)))
    assert (alone.distances > 0).all() and (memory.lookup(query).distances[:, 0] == 0).all()


def test_an_action_without_entries_has_the_value_0():
    memories = [memory_of(5), memory_of(0)]
    q = torch.cat([memory.lookup(torch.randn(3, D)).value for memory in memories], dim=1)
    assert q.isfinite().all() and (q[:, 1] == 0).all()
