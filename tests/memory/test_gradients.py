"""Gradients of lookups, and the steps that move entries along them."""

import pytest
import torch

from engram_rl.memory import (
    DifferentiableNeuralDictionary,
    Modality,
    RowRMSprop,
    RowSGD,
)
from tests.memory.filled import D, K, V, filled


class TestGradients:
    def test_they_reach_query_keys_and_values(self):
        memory, _ = filled(dtype=torch.float64)
        query = torch.randn(4, D, dtype=torch.float64, requires_grad=True)
        found = memory.lookup(query)
        found.value.square().sum().backward()
        dense_query, keys, values = (
            t.detach().clone().requires_grad_() for t in (query, memory.key_vectors, memory.values)
        )
        dense(dense_query, keys, values, found.slots).square().sum().backward()
        torch.testing.assert_close(query.grad, dense_query.grad)
        torch.testing.assert_close(scattered(found.keys.grad, found.slots, keys), keys.grad)
        torch.testing.assert_close(scattered(found.values.grad, found.slots, values), values.grad)
        assert keys.grad.abs().sum() > 0

    def test_gradcheck(self):
        memory, _ = filled(dtype=torch.float64)
        query = torch.randn(2, D, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda q: memory.lookup(q, touch=False).value, (query,))

    def test_a_step_moves_what_was_read_down_the_summed_gradient(self):
        memory, _ = filled(dtype=torch.float64)
        query = torch.randn(1, D, dtype=torch.float64).repeat(2, 1)  # every slot is read twice
        found = memory.lookup(query)
        found.value.square().sum().backward()
        expected = memory.key_vectors - 0.1 * scattered(found.keys.grad, found.slots, memory.key_vectors)
        RowSGD(memory, lr=0.1).step(found)
        torch.testing.assert_close(memory.key_vectors, expected)

    def test_the_search_sees_moved_keys(self):
        memory, _ = filled()
        memory.move(torch.tensor([7]), keys=torch.full((1, D), 9.0))
        assert memory.lookup(torch.full((1, D), 9.0)).slots[0, 0] == 7

    def test_an_entry_replaced_since_it_was_read_is_not_moved(self):
        memory, _ = filled(20, capacity=20)
        found = memory.lookup(memory.key_vectors[:1].clone(), touch=False)
        found.value.sum().backward()
        memory.write(torch.randn(1, D), torch.randn(1, V))
        before = memory.key_vectors[0].clone()
        RowSGD(memory, lr=1.0).step(found)
        torch.testing.assert_close(memory.key_vectors[0], before)

    def test_rmsprop_equals_torch_where_everything_is_read(self):
        memory, _ = filled(K, capacity=K, dtype=torch.float64)
        keys, values = (t[:].clone().requires_grad_() for t in (memory.key_vectors, memory.values))
        reference = torch.optim.RMSprop([keys, values], lr=0.01, alpha=0.9, eps=0.01)
        optimiser = RowRMSprop(memory, lr=0.01, alpha=0.9, eps=0.01)
        for _ in range(3):
            query = torch.randn(2, D, dtype=torch.float64)
            found = memory.lookup(query)
            found.value.square().sum().backward()
            optimiser.step(found)
            reference.zero_grad()
            dense(query, keys, values, found.slots).square().sum().backward()
            reference.step()
        torch.testing.assert_close(memory.key_vectors, keys.detach())
        torch.testing.assert_close(memory.values, values.detach())

    def test_the_optimisers_memory_of_a_slot_survives_inserts_and_ends_with_its_entry(self):
        memory, _ = filled(4, capacity=6)
        optimiser = RowRMSprop(memory)
        train(memory, optimiser)
        before = optimiser.state_dict()["values"]
        memory.write(torch.randn(2, D), torch.randn(2, V))
        torch.testing.assert_close(optimiser.state_dict()["values"][:4], before)
        memory.write(torch.randn(1, D), torch.randn(1, V))  # takes slot 0, the least recently used
        gradient = torch.ones(1, V)
        remembered = optimiser._remembered(torch.tensor([0]))
        _, direction = optimiser._directions([torch.ones(1, D), gradient], remembered)
        torch.testing.assert_close(direction, gradient / (0.1**0.5 + 0.01))

    def test_training_without_gradients_or_backward_is_refused(self):
        memory, _ = filled()
        optimiser = RowSGD(memory)
        with pytest.raises(RuntimeError, match="backward"):
            optimiser.step(memory.lookup(torch.randn(1, D)))
        with torch.no_grad(), pytest.raises(RuntimeError, match="without gradients"):
            optimiser.step(memory.lookup(torch.randn(1, D)))


def dense(query, keys, values, slots):
    """The lookup with plain indexing, so that torch gives the gradient of the whole buffers."""
    d = (query.unsqueeze(1) - keys[slots]).square().sum(-1)
    similarity = 1 / (d + 1e-3)
    return (similarity / similarity.sum(1, keepdim=True)).unsqueeze(1).bmm(values[slots]).squeeze(1)


def scattered(gradient, slots, like):
    return torch.zeros_like(like).index_add_(0, slots.reshape(-1), gradient.reshape(-1, gradient.shape[-1]))


def train(memory, optimiser):
    found = memory.lookup(torch.randn(2, D), touch=False)
    found.value.sum().backward()
    optimiser.step(found)


@pytest.mark.parametrize("index", ["exact", "cached"])
@pytest.mark.parametrize("space", [3, [Modality("a", 2), Modality("b", 1)], [Modality("c", 3, kind="cosine")]])
def test_what_is_given_with_a_gradient_is_kept_without(space, index):
    memory = DifferentiableNeuralDictionary(space, 1, 8, k=2, index=index, write_rule="blend", match_within=0.1)
    names = {"a": 2, "b": 1} if len(memory.store.space.names) == 2 else {memory.store.space.names[0]: 3}

    def given(rows):
        return {name: torch.randn(rows, size, requires_grad=True) for name, size in names.items()}

    slots = memory.write(given(4), torch.randn(4, 1, requires_grad=True), torch.rand(4, requires_grad=True))
    memory.lookup(given(2))
    width = memory.key_vectors.shape[1]
    memory.move(slots[:2], torch.randn(2, width, requires_grad=True), torch.randn(2, 1, requires_grad=True))
    memory.link(slots[:2], slots[2:], torch.rand(2, requires_grad=True) + 0.1)
    memory.write(given(3), torch.randn(3, 1, requires_grad=True))
    held = [memory.values, memory.key_vectors, memory.links.weight, memory.store.penalties(), memory.strength(slots)]
    assert not any(part.requires_grad for part in held)
    assert all(part.is_leaf for part in held)


class TestOptimisers:
    def read(self, memory, rows=2):
        found = memory.lookup(torch.randn(rows, D, generator=torch.Generator().manual_seed(rows)))
        found.value.square().sum().backward()
        return found

    def test_values_have_a_rate_of_their_own_and_by_default_that_of_the_keys(self):
        for given, keys, values in (({"lr": 0.5}, 0.5, 0.5), ({"lr": 0.5, "value_lr": 0.0}, 0.5, 0.0)):
            memory, _ = filled()
            optimiser = RowSGD(memory, **given)
            assert (optimiser.lr, optimiser.value_lr) == (keys, values)
            before = memory.key_vectors.clone(), memory.values.clone()
            optimiser.step(self.read(memory))
            assert not torch.equal(memory.key_vectors, before[0])
            assert torch.equal(memory.values, before[1]) is (values == 0)
        memory, _ = filled()
        before = memory.key_vectors.clone(), memory.values.clone()
        RowSGD(memory, lr=0.0, value_lr=0.1).step(self.read(memory))
        assert torch.equal(memory.key_vectors, before[0]) and not torch.equal(memory.values, before[1])
        with pytest.raises(ValueError, match="value_lr is -1"):
            RowSGD(memory, value_lr=-1)

    def test_gradients_are_used_up_and_a_rate_of_zero_needs_none(self):
        memory, _ = filled()
        found = self.read(memory)
        RowSGD(memory, lr=0.1).step(found)
        assert found.keys.grad is None and found.values.grad is None
        with pytest.raises(RuntimeError, match="no gradient has reached the keys of this lookup; call backward"):
            RowSGD(memory, lr=0.1).step(found)
        RowSGD(memory, lr=0.0, value_lr=0.0).step(found)
        assert RowSGD(memory).state_dict() == {}

    def test_two_lookups_in_one_step_are_one_lookup_of_both(self):
        both = []
        for split in (False, True):
            memory, _ = filled(dtype=torch.float64)
            query = torch.randn(4, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            found = [memory.lookup(part) for part in (query.split([1, 3]) if split else [query])]
            sum(one.value.square().sum() for one in found).backward()
            optimiser = RowRMSprop(memory, lr=0.1)
            optimiser.step(*found, *found)
            both.append((memory.key_vectors.clone(), memory.values.clone(), *optimiser.state_dict().values()))
        for one, other in zip(*both, strict=True):
            torch.testing.assert_close(one, other)

    def test_a_restored_optimiser_goes_on_as_the_first(self):
        memory, _ = filled(20, capacity=20)
        optimiser = RowRMSprop(memory, lr=0.1)
        optimiser.step(self.read(memory))
        twin_memory, _ = filled(20, capacity=20)
        twin = RowRMSprop(twin_memory, lr=0.1)
        twin.step(self.read(twin_memory, 9))
        twin_memory.load_state_dict(memory.state_dict())
        state = optimiser.state_dict()
        twin.load_state_dict(state)
        assert {name: part.shape[0] for name, part in state.items()} == {"keys": 20, "values": 20, "generation": 20}
        for one, of in ((optimiser, memory), (twin, twin_memory)):
            one.step(self.read(of, 5))
        assert torch.equal(memory.key_vectors, twin_memory.key_vectors)
        assert torch.equal(memory.values, twin_memory.values)
        for name, part in optimiser.state_dict().items():
            assert torch.equal(part, twin.state_dict()[name])
        for other in (DifferentiableNeuralDictionary(D, 3, 20), DifferentiableNeuralDictionary(D, 2, 19)):
            with pytest.raises(ValueError, match="this memory takes those of at most"):
                RowRMSprop(other).load_state_dict(state)
        twin.load_state_dict({name: part[:3] for name, part in state.items()})
        assert twin.state_dict()["keys"][:3].any() and not twin.state_dict()["keys"][3:].any()


def test_what_another_memory_found_moves_nothing():
    (memory, _), (other, _) = filled(), filled()
    found = other.lookup(torch.zeros(1, D))
    found.value.sum().backward()
    before = memory.values.clone()
    with pytest.raises(ValueError, match="found by another memory"):
        RowSGD(memory, lr=0.1).step(found)
    assert torch.equal(memory.values, before)
    RowSGD(other, lr=0.1).step(found)


def test_of_a_move_that_is_refused_the_index_never_hears(monkeypatch):
    memory = DifferentiableNeuralDictionary([Modality("way", 2, kind="cosine")], 1, 4, k=1)
    slots, heard = memory.write(torch.eye(2), torch.zeros(2, 1)), []
    monkeypatch.setattr(memory.index, "moving", lambda slots, vectors: heard.append(slots.tolist()))
    with pytest.raises(ValueError, match="'way' was given a zero vector"):
        memory.move(slots, keys=torch.zeros(2, 2))
    found = memory.lookup(torch.tensor([[1.0, 0.0]]))
    found.keys.grad, found.values.grad = found.keys.detach().clone(), torch.ones(1, 1, 1)
    with pytest.raises(ValueError, match="'way' was given a zero vector"):
        RowSGD(memory, lr=1.0).step(found)
    assert heard == [] and not memory.values.any()
    memory.move(slots, keys=torch.ones(2, 2))
    assert heard == [[0, 1]]
