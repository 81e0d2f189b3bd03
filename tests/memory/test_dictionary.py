"""What the dictionary promises to a caller."""

import pytest
import torch

from memory import (
    AutoIndex,
    Blend,
    Decay,
    DifferentiableNeuralDictionary,
    ExactIndex,
    Gaussian,
    IVFIndex,
    KeySpace,
    Modality,
    RowRMSprop,
    RowSGD,
)
from tests.memory.slow_dictionary import SlowDictionary

D, V, K = 3, 2, 4


def filled(n=20, *, capacity=32, **options):
    torch.manual_seed(0)
    memory = DifferentiableNeuralDictionary(D, V, capacity, k=K, **options)
    slots = memory.write(torch.randn(n, D), torch.randn(n, V), identity=torch.arange(n))
    return memory, slots


def slow_copy(memory):
    slow = SlowDictionary(memory.capacity, memory.k, None)
    for key, value in zip(memory.key_vectors[: memory.used].tolist(), memory.values.tolist(), strict=False):
        slow.write(key, value, None)
    return slow


class TestLookup:
    def test_value_is_the_neighbours_weighed_by_inverse_squared_distance(self):
        memory, _ = filled(dtype=torch.float64)
        slow = slow_copy(memory)
        query = torch.randn(5, D, dtype=torch.float64)
        found = memory.lookup(query)
        expected = torch.tensor([slow.lookup(q) for q in query.tolist()])
        torch.testing.assert_close(found.value, expected.double(), rtol=0, atol=1e-6)

    def test_neighbours_are_the_nearest_in_order(self):
        memory, _ = filled()
        slow = slow_copy(memory)
        query = torch.randn(5, D)
        found = memory.lookup(query)
        for row, q in enumerate(query.tolist()):
            distances, slots = zip(*slow.neighbours(q), strict=True)
            assert found.slots[row].tolist() == list(slots)
            torch.testing.assert_close(found.distances[row], torch.tensor(distances), rtol=1e-5, atol=1e-6)

    def test_weights_sum_to_one_and_give_the_value(self):
        memory, _ = filled()
        found = memory.lookup(torch.randn(5, D))
        torch.testing.assert_close(found.weights.sum(1), torch.ones(5))
        torch.testing.assert_close((found.weights.unsqueeze(2) * found.values).sum(1), found.value)

    def test_a_gaussian_kernel_far_from_everything_still_weighs_the_nearest(self):
        memory, _ = filled(kernel=Gaussian(0.01))
        found = memory.lookup(torch.full((1, D), 100.0))
        torch.testing.assert_close(found.weights.sum(), torch.tensor(1.0))

    def test_fewer_entries_than_k_are_marked_and_weigh_nothing(self):
        memory, _ = filled(2)
        found = memory.lookup(torch.randn(3, D))
        assert found.valid.tolist() == [[True, True, False, False]] * 3
        assert (found.slots[:, 2:] == -1).all() and (found.weights[:, 2:] == 0).all()
        torch.testing.assert_close(found.weights.sum(1), torch.ones(3))

    @pytest.mark.parametrize("gradients", [True, False])
    def test_an_empty_dictionary_gives_zeros(self, gradients):
        memory = DifferentiableNeuralDictionary(D, V, 10, k=K)
        with torch.set_grad_enabled(gradients):
            found = memory.lookup(torch.randn(2, D))
        assert not found.valid.any()
        for tensor in (found.value, found.weights, found.distances, found.values):
            assert (tensor == 0).all()

    def test_the_gradient_of_a_lookup_without_neighbours_is_finite(self):
        memory, _ = filled(2)
        query = torch.randn(1, D, requires_grad=True)
        found = memory.lookup(query, exclude=torch.tensor([[0, 1]]))
        found.value.sum().backward()
        assert (query.grad == 0).all() and (found.keys.grad == 0).all()

    def test_excluded_slots_are_not_found(self):
        memory, slots = filled()
        own = memory.lookup(memory.key_vectors[slots].clone(), exclude=slots)
        assert (own.slots != slots.unsqueeze(1)).all() and own.valid.all()

    def test_each_query_excludes_its_own(self):
        memory, slots = filled()
        query = memory.key_vectors[slots[:1]].repeat(2, 1)
        found = memory.lookup(query, exclude=torch.tensor([0, -1]))
        assert 0 not in found.slots[0] and found.slots[1, 0] == 0

    def test_everything_can_be_excluded(self):
        memory, slots = filled()
        found = memory.lookup(torch.randn(1, D), exclude=slots.unsqueeze(0))
        assert not found.valid.any() and (found.value == 0).all()

    def test_slot_zero_is_a_slot_like_any_other(self):
        memory, _ = filled(1)
        found = memory.lookup(memory.key_vectors[:1].clone())
        assert found.valid[0, 0] and found.slots[0, 0] == 0

    def test_a_query_of_the_wrong_width_is_refused_with_the_right_one(self):
        memory, _ = filled()
        with pytest.raises(ValueError, match=r"\(1, 4\).*\[batch, 3\]"):
            memory.lookup(torch.randn(1, 4))

    def test_nan_is_refused(self):
        memory, _ = filled()
        with pytest.raises(ValueError, match="NaN"):
            memory.lookup(torch.full((1, D), torch.nan))

    @pytest.mark.parametrize("gradients", [True, False])
    @pytest.mark.parametrize("space", [D, [Modality("a", 2), Modality("b", 1, kind="discrete")]])
    @pytest.mark.parametrize("n", [0, 8])
    def test_no_queries_and_no_rows_are_nothing_to_do(self, gradients, space, n):
        memory = DifferentiableNeuralDictionary(space, V, 10, k=K)
        assert memory.write(torch.zeros(0, D), torch.zeros(0, V)).shape == (0,)
        memory.write(torch.zeros(n, D), torch.zeros(n, V))
        with torch.set_grad_enabled(gradients):
            found = memory.lookup(torch.zeros(0, D), references="all")
        assert found.value.shape == (0, V) and memory.lookup(torch.zeros(0, D)).slots.shape == (0, K)

    def test_only_removed_rows_leave_nothing_to_find(self):
        memory, slots = filled()
        memory.forget(slots)
        assert not memory.lookup(torch.zeros(1, D)).valid.any()


class TestWrite:
    def test_a_known_identity_blends_its_value_and_takes_the_new_key(self):
        memory, slots = filled(write_rule=Blend(0.25))
        before = memory.values[slots[3]].clone()
        key, value = torch.randn(1, D), torch.randn(1, V)
        again = memory.write(key, value, identity=torch.tensor([3]))
        assert again.tolist() == [slots[3]] and len(memory) == 20
        torch.testing.assert_close(memory.values[slots[3]], before + 0.25 * (value[0] - before))
        torch.testing.assert_close(memory.key_vectors[slots[3]], key[0])

    def test_an_unknown_identity_is_a_new_entry(self):
        memory, _ = filled(write_rule="blend")
        memory.write(torch.randn(1, D), torch.randn(1, V), identity=torch.tensor([99]))
        assert len(memory) == 21

    def test_repeats_in_one_batch_count_one_after_another(self):
        memory = DifferentiableNeuralDictionary(1, 1, 4, k=1, write_rule=Blend(0.5))
        slots = memory.write(torch.zeros(3, 1), torch.tensor([[0.0], [8.0], [0.0]]), identity=torch.tensor([7, 7, 7]))
        assert slots.unique().numel() == 1 and memory.values[slots[0]].item() == 2.0

    def test_without_identities_every_row_is_new(self):
        memory = DifferentiableNeuralDictionary(1, 1, 4, k=1, write_rule="blend")
        memory.write(torch.zeros(3, 1), torch.zeros(3, 1))
        assert len(memory) == 3

    def test_find_names_the_slot_of_an_identity(self):
        memory, slots = filled()
        assert memory.find(torch.tensor([5, 77])).tolist() == [slots[5], -1]

    @pytest.mark.parametrize(
        ("keys", "values", "extra", "message"),
        [
            (torch.zeros(2, D), torch.zeros(3, V), {}, r"\(3, 2\).*\[2, 2\]"),
            (torch.zeros(2, D), torch.full((2, V), torch.inf), {}, "infinite"),
            (torch.zeros(2, D), torch.zeros(2, V), {"priority": torch.tensor([1.0, -1.0])}, "at least 0"),
            (torch.zeros(2, D), torch.zeros(2, V), {"identity": torch.tensor([1.0, 2.0])}, "int64"),
            (torch.zeros(2, D), torch.zeros(2, V), {"identity": torch.tensor([1])}, "expected 2"),
        ],
    )
    def test_bad_input_is_refused_before_anything_changes(self, keys, values, extra, message):
        memory, _ = filled()
        before = memory.state_dict()
        with pytest.raises(ValueError, match=message):
            memory.write(keys, values, **extra)
        assert_same(before, memory.state_dict())

    def test_a_batch_larger_than_the_capacity_leaves_its_last_rows(self):
        memory = DifferentiableNeuralDictionary(1, 1, 4, k=1)
        memory.write(torch.arange(10.0).unsqueeze(1), torch.arange(10.0).unsqueeze(1))
        assert len(memory) == 4 and sorted(memory.values.flatten().tolist()) == [6, 7, 8, 9]


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
        _, direction = optimiser._directions(torch.tensor([0]), [torch.ones(1, D), gradient])
        torch.testing.assert_close(direction, gradient / (0.1**0.5 + 0.01))

    def test_training_without_gradients_or_backward_is_refused(self):
        memory, _ = filled()
        optimiser = RowSGD(memory)
        with pytest.raises(RuntimeError, match="backward"):
            optimiser.step(memory.lookup(torch.randn(1, D)))
        with torch.no_grad(), pytest.raises(RuntimeError, match="without gradients"):
            optimiser.step(memory.lookup(torch.randn(1, D)))


class TestState:
    def test_a_restored_dictionary_goes_on_exactly_as_the_first(self):
        memory, slots = filled(20, capacity=20, write_rule="blend")
        memory.contradict(slots[3:5])
        state = memory.state_dict()
        twin = DifferentiableNeuralDictionary(D, V, 20, k=K, write_rule="blend")
        twin.load_state_dict(state)
        for m in (memory, twin):
            torch.manual_seed(1)
            m.lookup(torch.randn(2, D))
            m.write(torch.randn(9, D), torch.randn(9, V), identity=torch.arange(4, 13))
        assert_same(memory.state_dict(), twin.state_dict())

    def test_state_is_a_copy(self):
        memory, _ = filled()
        state = memory.state_dict()
        value = state["values"].clone()
        memory.write(torch.randn(20, D), torch.randn(20, V))
        torch.testing.assert_close(state["values"], value)

    def test_another_width_or_too_small_a_capacity_is_refused(self):
        memory, _ = filled()
        with pytest.raises(ValueError, match="key space"):
            DifferentiableNeuralDictionary(D + 1, V, 32).load_state_dict(memory.state_dict())
        with pytest.raises(ValueError, match="raise the capacity"):
            DifferentiableNeuralDictionary(D, V, 8).load_state_dict(memory.state_dict())


class TestConstruction:
    @pytest.mark.parametrize("option", ["index", "kernel", "write_rule", "forgetting"])
    def test_a_misspelt_part_names_the_nearest(self, option):
        nearest = {"index": "exact", "kernel": "gaussian", "write_rule": "blend", "forgetting": "lru"}[option]
        with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
            DifferentiableNeuralDictionary(D, V, 8, **{option: nearest[:-1] + "x"})

    @pytest.mark.parametrize("index", [ExactIndex(), IVFIndex(lists=2, start=4), AutoIndex(start=4, lists=2)])
    def test_parts_given_to_several_memories_serve_each_by_itself(self, index):
        forgetting = Decay(10)
        first, second = (DifferentiableNeuralDictionary(1, 1, 8, 1, index=index, forgetting=forgetting) for _ in "ab")
        for memory, offset in ((first, 0.0), (second, 100.0)):
            memory.write(torch.arange(9.0).unsqueeze(1) + offset, torch.zeros(9, 1))
        for _ in range(30):
            assert first.lookup(torch.tensor([[5.0]]), touch=False).distances.item() == 0
            assert second.lookup(torch.tensor([[105.0]]), touch=False).distances.item() == 0
        assert first.strength(torch.tensor([5])) == second.strength(torch.tensor([5]))

    def test_sizes_must_be_positive(self):
        with pytest.raises(ValueError, match="capacity is 0"):
            DifferentiableNeuralDictionary(D, V, 0)

    def test_modalities_need_distinct_names(self):
        with pytest.raises(ValueError, match="distinct"):
            KeySpace([Modality("a", 1), Modality("a", 2)])


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


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, dict):
            assert_same(value, b[name])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, b[name]), name
        else:
            assert value == b[name], name
