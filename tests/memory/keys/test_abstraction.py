"""What the abstractions promise: fixed keys, one coarse-graining at every scale, and a learned key that keeps up."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.memory.keys.abstraction import RandomProjection, RecursivePooling, Reencoder, SlowCopy


class TestRandomProjection:
    def test_keeps_squared_distances_on_average(self):
        torch.manual_seed(0)
        project = RandomProjection(300, 64)
        a, b = torch.randn(2, 500, 300)
        ratio = (project(a) - project(b)).square().sum(1) / (a - b).square().sum(1)
        assert ratio.mean() == pytest.approx(1, abs=0.05)
        assert ratio.std() == pytest.approx((2 / 64) ** 0.5, rel=0.15)

    def test_is_the_same_for_the_same_seed_and_survives_saving(self):
        x = torch.randint(0, 255, (4, 5, 6), dtype=torch.uint8)
        project, other = RandomProjection(30, 8, seed=1), RandomProjection(30, 8, seed=2)
        assert torch.equal(project(x), RandomProjection(30, 8, seed=1)(x))
        assert not torch.equal(project(x), other(x))
        other.load_state_dict(project.state_dict())
        assert torch.equal(project(x), other(x))

    def test_refuses_observations_of_another_size(self):
        with pytest.raises(ValueError, match="31 numbers each, the projection takes 30"):
            RandomProjection(30, 8)(torch.zeros(2, 31))
        with pytest.raises(ValueError, match="at least 1"):
            RandomProjection(0, 8)


def slow_pool(grid, rule):
    """One step of coarse-graining over lists of lists."""
    coarse = []
    for y in range(0, len(grid), 2):
        coarse.append([])
        for x in range(0, len(grid[0]), 2):
            block = [cell for row in grid[y : y + 2] for cell in row[x : x + 2]]
            if rule == "majority":
                counts = Counter(block)
                coarse[-1].append(max(block, key=lambda cell: counts[cell]))  # the first of equals
            else:
                coarse[-1].append(max(block) if rule == "max" else sum(block) / len(block))
    return coarse


class TestRecursivePooling:
    @settings(max_examples=60, deadline=None)
    @given(
        shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        rule=st.sampled_from(["majority", "mean", "max"]),
        seed=st.integers(0, 99),
    )
    def test_every_scale_is_the_same_coarse_graining_of_the_one_before(self, shape, rule, seed):
        grid = np.random.default_rng(seed).integers(-1, 3, shape)
        levels = RecursivePooling(shape, rule).pyramid(torch.from_numpy(grid).unsqueeze(0))
        expected = grid.tolist()
        for level in levels:
            assert np.allclose(level[0, :, :, 0].numpy(), expected, atol=1e-6)
            expected = slow_pool(expected, rule)
        assert levels[-1].shape[1:3] == (1, 1)

    def test_cells_of_several_numbers_are_compared_as_a_whole(self):
        grid = torch.tensor([[[[1, 5], [2, 5]], [[1, 6], [1, 6]]]])
        assert RecursivePooling((2, 2, 2)).pyramid(grid)[1].tolist() == [[[[1, 6]]]]

    def test_there_is_one_discrete_modality_per_scale_for_symbols_and_one_vector_for_images(self):
        assert list(RecursivePooling((8, 8)).space) == [Modality(f"scale_{i}", 1, "discrete") for i in range(4)]
        assert list(RecursivePooling((5, 3), "mean", scales=3).space) == [
            Modality("scale_0", 15, weight=1 / 15),
            Modality("scale_1", 6, weight=1 / 6),
            Modality("scale_2", 2, weight=1 / 2),
        ]

    def test_a_coarse_query_finds_what_looks_the_same_from_afar(self):
        torch.manual_seed(0)
        pool = RecursivePooling((8, 8))
        memory = DifferentiableNeuralDictionary(pool.space, 1, 10, k=1)
        stored = torch.zeros(2, 8, 8, dtype=torch.long)
        stored[1, :4] = 1
        memory.write(pool(stored), torch.tensor([[0.0], [1.0]]))
        seen = stored[1:].clone()
        seen[0, 0, 0] = 7  # a speck, gone at the next scale
        key = pool(seen)
        assert not memory.lookup({"scale_0": key["scale_0"]}).valid.any()
        assert memory.lookup({"scale_1": key["scale_1"]}).value.item() == 1

    def test_images_are_near_at_the_scale_at_which_they_are_alike(self):
        pool = RecursivePooling((4, 4), "mean")
        memory = DifferentiableNeuralDictionary(pool.space, 1, 10, k=1)
        board = (torch.arange(4).unsqueeze(1) + torch.arange(4)).remainder(2).float()
        memory.write(pool(torch.stack([board, board.T * 0 + 0.9])), torch.zeros(2, 1))
        inverse = pool((1 - board).unsqueeze(0))
        assert memory.lookup({"scale_0": inverse["scale_0"]}).slots.item() == 1
        found = memory.lookup({"scale_1": inverse["scale_1"]})
        assert found.slots.item() == 0 and found.distances.item() == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (((8,),), "shape"),
            (((8, 8), "median"), "unknown pooling rule 'median'"),
            (((8, 8), "mean", 5), "has 1 to 4"),
        ],
    )
    def test_impossible_settings_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            RecursivePooling(*arguments)

    def test_grids_of_another_shape_are_refused(self):
        with pytest.raises(ValueError, match=r"expected \['batch', 8, 8\]"):
            RecursivePooling((8, 8))(torch.zeros(1, 8, 7))


class TestSlowCopy:
    def test_goes_the_given_share_of_the_way(self):
        fast = nn.Linear(3, 2)
        slow = SlowCopy(fast, rate=0.25)
        start = fast.weight.detach().clone()
        with torch.no_grad():
            fast.weight += 1
        for _ in range(2):
            slow.update()
        torch.testing.assert_close(slow.slow.weight, start + 1 - 0.75**2)

    def test_copies_buffers_and_never_trains(self):
        fast = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
        slow = SlowCopy(fast)
        fast(torch.randn(8, 3))
        slow.train()
        slow.update()
        assert torch.equal(slow.slow[1].running_mean, fast[1].running_mean)
        x = torch.randn(4, 3)
        assert torch.equal(slow(x), slow(x)) and not slow(x).requires_grad
        assert not any(p.requires_grad for p in slow.parameters())

    def test_saves_the_copy_only(self):
        assert set(SlowCopy(nn.Linear(3, 2)).state_dict()) == {"slow.weight", "slow.bias"}

    def test_refuses_a_rate_that_never_arrives(self):
        with pytest.raises(ValueError, match="rate is 0"):
            SlowCopy(nn.Linear(1, 1), rate=0)


def encoded_memory(n=10, capacity=12, **options):
    torch.manual_seed(0)
    encoder = nn.Linear(3, 2).requires_grad_(False)
    memory = DifferentiableNeuralDictionary(2, 1, capacity, k=1, forgetting="fifo", **options)
    reencoder = Reencoder(memory, encoder, (3,))
    observations = torch.randn(n, 3)
    slots = memory.write(encoder(observations), torch.zeros(n, 1))
    reencoder.remember(slots, observations)
    return memory, encoder, reencoder, observations, slots


class TestReencoder:
    def test_after_one_round_every_key_is_what_the_encoder_makes_now(self):
        memory, encoder, reencoder, observations, slots = encoded_memory()
        old = memory.key_vectors[slots].clone()
        encoder.weight *= 2
        moved = torch.cat([reencoder.refresh(4) for _ in range(3)])
        torch.testing.assert_close(memory.key_vectors[slots], encoder(observations))
        torch.testing.assert_close(moved[:10], (encoder(observations) - old).norm(dim=1))
        assert memory.lookup(encoder(observations)).slots.squeeze(1).tolist() == slots.tolist()

    def test_a_call_touches_no_more_than_it_was_allowed_to(self):
        memory, encoder, reencoder, _, slots = encoded_memory()
        old = memory.key_vectors[slots].clone()
        encoder.weight *= 2
        assert len(reencoder.refresh(4)) == 4
        assert (memory.key_vectors[slots] != old).any(1).sum() == 4
        assert len(reencoder.refresh(1000)) == 10

    def test_an_entry_whose_observation_is_not_known_stays_as_it_is(self):
        memory, encoder, reencoder, _, _ = encoded_memory(n=12)
        slots = memory.write(torch.full((2, 2), 5.0), torch.zeros(2, 1))  # takes the slots of the oldest two
        memory.forget(torch.tensor([7]))
        encoder.weight *= 2
        assert len(reencoder.refresh(12)) == 9
        assert (memory.key_vectors[slots] == 5).all()

    def test_only_its_own_part_of_the_key_moves(self):
        space = [Modality("view", 2), Modality("place", 1), Modality("action", 1, "discrete")]
        memory = DifferentiableNeuralDictionary(space, 1, 4)
        reencoder = Reencoder(memory, lambda x: x * 3, (2,), modality="view")
        key = {"view": torch.ones(1, 2), "place": torch.ones(1, 1), "action": torch.ones(1, 1, dtype=torch.long)}
        reencoder.remember(memory.write(key, torch.zeros(1, 1)), torch.ones(1, 2))
        reencoder.refresh()
        assert memory.key_vectors[0].tolist() == [3, 3, 1]
        with pytest.raises(ValueError, match="say which"):
            Reencoder(memory, nn.Identity(), (2,))
        with pytest.raises(ValueError, match="did you mean 'view'"):
            Reencoder(memory, nn.Identity(), (2,), modality="vieu")

    def test_of_an_entry_written_twice_in_a_batch_the_last_observation_counts(self):
        _, _, reencoder, _, _ = encoded_memory()
        reencoder.remember(torch.tensor([3, 3]), torch.tensor([[1.0, 1, 1], [2, 2, 2]]))
        assert reencoder.observations[3].tolist() == [2, 2, 2]

    def test_continues_after_saving_and_an_empty_memory_has_nothing_to_do(self):
        memory, encoder, reencoder, _, slots = encoded_memory()
        reencoder.refresh(4)
        twin_memory, _, twin, _, _ = encoded_memory(n=1)
        twin.encoder = encoder
        twin_memory.load_state_dict(memory.state_dict())
        twin.load_state_dict(reencoder.state_dict())
        encoder.weight *= 2
        assert torch.equal(reencoder.refresh(3), twin.refresh(3))
        assert torch.equal(memory.key_vectors[slots], twin_memory.key_vectors[slots])
        empty = DifferentiableNeuralDictionary(2, 1, 4)
        assert len(Reencoder(empty, encoder, (3,)).refresh()) == 0
        with pytest.raises(ValueError, match="do not fit"):
            Reencoder(empty, encoder, (3,)).load_state_dict(reencoder.state_dict())

    def test_refuses_observations_of_another_shape(self):
        _, _, reencoder, _, slots = encoded_memory()
        with pytest.raises(ValueError, match=r"expected \[10, 3\]"):
            reencoder.remember(slots, torch.zeros(10, 4))
        with pytest.raises(ValueError, match="at least 1"):
            reencoder.refresh(0)
