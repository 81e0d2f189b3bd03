"""What the dictionary promises to a caller."""

import pytest
import torch

from engram_rl.memory import (
    AutoIndex,
    Blend,
    Decay,
    DifferentiableNeuralDictionary,
    ExactIndex,
    Gaussian,
    IVFIndex,
    KeySpace,
    Modality,
)
from engram_rl.memory.sharded import ShardedMemory
from tests.memory.filled import D, K, V, assert_same, filled
from tests.memory.slow_dictionary import SlowDictionary


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


class TestDetails:
    def test_of_several_that_are_wrong_the_first_is_named(self):
        memory, _ = filled(20, capacity=32)
        memory.forget(torch.tensor([3, 5]))
        many = ShardedMemory(2, 1, 8, shards=2, where="here")
        links = memory.links
        for call, named in (
            (lambda: memory.move(torch.tensor([0, 5, 3]), values=torch.zeros(3, V)), "slot 5 holds no entry"),
            (lambda: many.move(torch.tensor([7, 6]), values=torch.zeros(2, 1)), "slot 7 holds no entry"),
            (lambda: links.add(torch.tensor([0, 5, 3]), torch.tensor([1, 1, 1])), "source slot 5 holds"),
            (lambda: links.add(torch.tensor([1, 1, 1]), torch.tensor([0, 5, 3])), "target slot 5 holds"),
            (lambda: memory.write(torch.zeros(3, D), torch.zeros(3, V), torch.tensor([0.0, -2, -3])), "holds -2.0;"),
            (lambda: memory.write(torch.zeros(2, D), torch.tensor([[0, 2**24 + 3], [2**24 + 1, 0]])), "r 16777219,"),
        ):
            with pytest.raises(ValueError, match=named):
                call()

    def test_entries_that_are_too_weak_go_twice_as_fast_as_others_come_and_in_a_sweep_of_1024(self):
        forgetting = Decay(1.0, unit="ticks", threshold=0.3)
        memory = DifferentiableNeuralDictionary(1, 1, 4000, k=1, forgetting=forgetting)
        memory.write(torch.arange(3000.0)[:, None], torch.zeros(3000, 1))
        memory.tick()
        assert len(memory) == 3000
        memory.tick()
        assert len(memory) == 3000 - 1024
        slots = memory.write(torch.zeros(10, 1), torch.zeros(10, 1))
        assert len(memory) == 1976 + 10 - 20 and memory.alive[slots].all()
        memory.tick(0)
        assert len(memory) == 1966 - 1024

    def test_who_makes_room_leaves_neither_name_nor_hits(self):
        memory = DifferentiableNeuralDictionary(1, 1, 2, k=1)
        memory.write(torch.tensor([[0.0], [9.0]]), torch.zeros(2, 1), identity=torch.tensor([5, 6]))
        memory.lookup(torch.tensor([[0.0], [0.0]]))
        memory.lookup(torch.tensor([[9.0]]))
        assert memory.usage.hits.tolist() == [2, 1]
        memory.write(torch.tensor([[1.0]]), torch.zeros(1, 1))
        assert memory.find(torch.tensor([5, 6])).tolist() == [-1, 1] and memory.usage.hits.tolist() == [0, 1]
        assert memory.evictions == 1 and memory.to_arrays()["has_identity"].tolist() == [False, True]

    def test_rows_that_make_room_at_once_leave_the_names_of_the_others(self):
        memory = DifferentiableNeuralDictionary(1, 1, 3, k=1, forgetting="priority")
        keys = torch.arange(3.0)[:, None]
        memory.write(keys, keys, torch.tensor([1.0, 5.0, 9.0]), torch.tensor([1, 2, 3]))
        slots = memory.write(keys[:2], keys[:2], torch.tensor([2.0, 2.5]), torch.tensor([10, 11]))
        assert slots.tolist() == [-1, 0]
        assert memory.find(torch.tensor([1, 2, 3, 10, 11])).tolist() == [-1, 1, 2, -1, 0]
        assert memory.generation.tolist() == [3, 1, 1] and memory.evictions == 2

    def test_a_single_subset_has_no_evidence_and_two_have(self):
        memory = DifferentiableNeuralDictionary([Modality("a", 1), Modality("b", 1)], 1, 9, k=2)
        memory.write(torch.rand(5, 2), torch.rand(5, 1))
        query = torch.rand(3, 2)
        one = memory.lookup(query, references=[("a",)])
        assert one.evidence is None and one.slots.shape == (3, 2)
        assert torch.equal(one.value, memory.lookup({"a": query[:, :1]}).value)
        two = memory.lookup(query, references=[("a",), ("a",)])
        assert two.evidence.tolist() == [[0.5, 0.5]] * 3 and two.slots.shape == (3, 4)
        many = DifferentiableNeuralDictionary([Modality(f"m{i}", 1) for i in range(6)], 1, 9, k=1)
        many.write(torch.rand(2, 6), torch.rand(2, 1))
        assert many.lookup(torch.rand(1, 6), references="all").evidence.shape == (1, 63)

    def test_only_slots_have_a_strength_and_only_a_strength_is_weakened(self):
        memory, slots = filled(forgetting=Decay(4.0, unit="ticks"))
        memory.forget(slots[2:3])
        memory.contradict(torch.tensor([0, 0, -1, 2]), 0.25)
        assert memory.strength(slots[:3]).tolist() == [0.25, 1, 0] and len(memory) == 19
        memory.contradict(torch.tensor([0, -1]))
        assert not memory.alive[0] and len(memory) == 18
        for wrong in (-1, 32):
            with pytest.raises(ValueError, match=rf"slots holds {wrong}; slots go from 0 to 31"):
                memory.strength(torch.tensor([wrong]))
        for call in (memory.forget, memory.contradict):
            with pytest.raises(ValueError, match="and -1 stands for none"):
                call(torch.tensor([-2]))

    def test_parts_of_a_key_that_are_left_out_stay_when_written_again(self):
        space = [Modality("a", 2), Modality("c", 2, "discrete"), Modality("b", 1)]
        memory = DifferentiableNeuralDictionary(space, 1, 9, k=2, write_rule="mean")
        keys = {"a": torch.ones(3, 2), "c": torch.tensor([[1, 2], [3, 4], [5, 6]]), "b": torch.full((3, 1), 7.0)}
        names = torch.tensor([4, 5, 6])
        memory.write(keys, torch.ones(3, 1), identity=names, present={"b": torch.tensor([True, False, True])})
        again = {"a": torch.full((3, 2), 2.0), "c": torch.zeros(3, 2, dtype=torch.int64)}
        has = {"a": torch.tensor([True, False, True]), "c": torch.tensor([False, True, False])}
        memory.write(again, torch.full((3, 1), 4.0), identity=torch.tensor([6, 5, 9]), present=has)
        columns = memory.to_arrays()
        assert columns["a"].tolist() == [[1, 1], [1, 1], [2, 2], [2, 2]]
        assert columns["c"].tolist() == [[1, 2], [0, 0], [5, 6], [0, 0]]
        assert columns["b"][[0, 2], 0].tolist() == [7, 7] and memory.store.present.tolist()[:4] == [
            [True, True, True],
            [True, True, False],
            [True, True, True],
            [True, False, False],
        ]
        assert columns["value"].flatten().tolist() == [1, 2.5, 2.5, 4]

    def test_the_penalty_of_one_part_is_the_stated_one(self):
        assert DifferentiableNeuralDictionary(2, 1, 3).store.penalties().tolist() == [0]
        stated = DifferentiableNeuralDictionary([Modality("a", 2, penalty=3.0)], 1, 3)
        assert stated.store.penalties().tolist() == [3]

    @pytest.mark.parametrize("weight", [1.0, 4.0])
    def test_distances_are_weighed_with_and_without_gradients(self, weight):
        memory = DifferentiableNeuralDictionary([Modality("a", 2, weight=weight)], 1, 3, k=2)
        memory.write(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[1.0], [2.0]]))
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                found = memory.lookup(torch.tensor([[0.0, 1.0]]))
                assert found.distances.tolist() == [[weight, 18 * weight]]
                shares = torch.tensor([1 / (weight + 1e-3), 1 / (18 * weight + 1e-3)])
                torch.testing.assert_close(found.weights[0], shares / shares.sum())
                few = memory.lookup(torch.tensor([[0.0, 1.0]]), exclude=torch.tensor([0]))
                assert few.distances.tolist() == [[18 * weight, 0]] and few.value.tolist() == [[2.0]]
        twice = memory.lookup(torch.tensor([[0.0, 1.0]]), references=[("a",), ("a",)])
        assert twice.distances.tolist() == [[weight, 18 * weight] * 2]

    def test_key_spaces_are_equal_if_their_parts_are(self):
        space = KeySpace([Modality("a", 2), Modality("c", 3, "discrete"), Modality("b", 1)])
        same = KeySpace(space)
        assert space == same and hash(space) == hash(same) and space != KeySpace(6) and space != "a"
        assert (len(space), space.dim, space.vector_size, space.code_size) == (3, 6, 3, 3)
        assert space.columns == {"a": slice(0, 2), "b": slice(2, 3), "c": slice(0, 3)}
        assert KeySpace(2) == KeySpace([Modality("key", 2)])
        keys = space.pack(torch.arange(24.0).reshape(4, 6))
        assert keys.vectors[1].tolist() == [6, 7, 11] and keys.codes[1].tolist() == [8, 9, 10] and len(keys) == 4
        assert len(keys[torch.tensor([1, 3])]) == 2 and keys.reshape(2, 2).codes.shape == (2, 2, 3)
        assert keys.reshape(2, 2).vectors[1, 0].tolist() == keys.vectors[2].tolist()
        for wrong in ("a", [1], None):
            with pytest.raises(TypeError, match="give its size, or a list of Modality"):
                KeySpace(wrong)
        with pytest.raises(ValueError, match="at least one modality"):
            KeySpace([])
