"""What the abstractions promise: fixed keys, one coarse-graining at every scale, and a learned key that keeps up."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.memory.keys.abstraction import RandomProjection, RecursivePooling, SlowCopy


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

    @pytest.mark.parametrize(
        ("dtype", "worst"),
        [(torch.int64, 2**24 + 1), (torch.int64, -(2**24) - 1), (torch.int32, 2**30), (torch.int64, -(2**63))],
    )
    def test_whole_numbers_that_would_be_rounded_are_refused(self, dtype, worst):
        observation = torch.tensor([[0, worst, 3]], dtype=dtype)
        with pytest.raises(ValueError, match=rf"hold {worst}, but whole numbers beyond {2**24} .*float32.*double"):
            RandomProjection(3, 8)(observation)

    def test_whole_numbers_with_a_place_of_their_own_are_told_apart(self):
        project = RandomProjection(3, 8)
        assert torch.isfinite(project(torch.tensor([[2**24, -(2**24), 0]]))).all()
        near = torch.tensor([[2**24 + 1, 0, 0], [2**24, 0, 0]])
        one, other = project.double()(near)
        assert (one - other).abs().max() > 0.01
        with pytest.raises(ValueError, match=rf"beyond {2**53} .*float64: take off"):
            project(near * 2**30)

    def test_whole_numbers_of_a_narrower_projection_are_held_to_its_precision(self):
        project = RandomProjection(1, 8).half()
        project(torch.tensor([[2048], [-5]]))
        with pytest.raises(ValueError, match=r"hold 2049, but whole numbers beyond 2048 .*float16"):
            project(torch.tensor([[2049]], dtype=torch.int16))
        project(torch.tensor([[255]], dtype=torch.uint8))
        project(torch.zeros(0, 1, dtype=torch.int64))

    def test_autocast_rounds_no_key(self):
        project, x = RandomProjection(30, 8), torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
        keys = project(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(project(x), keys)


@pytest.mark.parametrize("make", [RandomProjection(16, 8), RecursivePooling((4, 4)), RecursivePooling((4, 4), "mean")])
def test_no_rows_have_no_keys_and_arrays_are_named(make):
    keys = make(torch.zeros(0, 4, 4))
    assert all(len(part) == 0 for part in (keys.values() if isinstance(keys, dict) else [keys]))
    with pytest.raises(TypeError, match=r"ndarray .* torch\.as_tensor"):
        make(np.zeros((2, 4, 4)))


def test_a_shape_may_be_a_list_as_configurations_give_it():
    assert len(RecursivePooling([4, 4])(torch.zeros(2, 4, 4))["scale_1"]) == 2


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

    @pytest.mark.parametrize("rule", ["mean", "max"])
    def test_whole_numbers_that_would_be_rounded_are_refused(self, rule):
        pool = RecursivePooling((1, 2), rule)
        assert pool(torch.tensor([[[2**24, 0]]]))["scale_0"].tolist() == [[2**24, 0]]
        with pytest.raises(ValueError, match="grids holds the integer 16777217"):
            pool(torch.tensor([[[2**24 + 1, 0]]]))

    @pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
    def test_symbols_have_one_code_in_any_type(self, dtype):
        pool, grids = RecursivePooling((2, 2)), torch.tensor([[[7, 3], [3, 300]]])
        for one, other in zip(pool(grids.to(dtype)).values(), pool(grids).values(), strict=True):
            assert torch.equal(one, other)

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
        assert torch.equal(slow(x), slow(x)) and not slow(x.requires_grad_()).requires_grad
        assert not any(p.requires_grad for p in slow.parameters())

    def test_saves_the_copy_only(self):
        assert set(SlowCopy(nn.Linear(3, 2)).state_dict()) == {"slow.weight", "slow.bias"}

    def test_refuses_a_rate_that_never_arrives(self):
        with pytest.raises(ValueError, match="rate is 0"):
            SlowCopy(nn.Linear(1, 1), rate=0)


@pytest.mark.parametrize(
    ("shape", "scales"), [((1, 1), 1), ((2, 1), 2), ((1, 3), 3), ((4, 4), 3), ((5, 5), 4), ((3, 9, 2), 5)]
)
@pytest.mark.parametrize("rule", ["majority", "mean", "max"])
def test_there_are_scales_until_one_cell_is_left(shape, scales, rule):
    pool = RecursivePooling(shape, rule)
    grids = torch.arange(2 * int(np.prod(shape))).reshape(2, *shape) % 3
    levels = pool.pyramid(grids)
    assert pool.scales == len(levels) == len(pool.space) == scales and levels[-1].shape[1:3] == (1, 1)
    assert scales == 1 or max(levels[-2].shape[1:3]) == 2
    keys = pool(grids)
    for part, cells in zip(pool.space, levels, strict=True):
        assert keys[part.name].shape == (2, part.size)
        assert part.size == (1 if rule == "majority" else cells[0].numel())
        assert part.weight == (1 if rule == "majority" else 1 / part.size)


def test_a_slow_copy_starts_as_the_encoder_is_and_counts_as_trained_itself():
    fast = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    slow = SlowCopy(fast)
    assert not slow.slow.training and slow.rate == 0.01
    assert slow.train() is slow and slow.training and not slow.slow.training
    assert slow.train(False) is slow and not slow.training and not slow.slow.training
    assert slow.eval().slow[0].weight is not fast[0].weight and torch.equal(slow.slow[0].weight, fast[0].weight)
    whole = SlowCopy(fast, rate=1)
    with torch.no_grad():
        fast[0].weight += 1
    whole.update()
    assert torch.equal(whole.slow[0].weight, fast[0].weight)


@pytest.mark.parametrize("value", [2.0**53, -(2.0**53), 2.0**54, 0.5, -0.5])
def test_symbols_that_are_whole_have_the_code_of_the_integer_however_large(value):
    pool = RecursivePooling((1, 1))
    code = pool(torch.tensor([[[value]]], dtype=torch.float64))["scale_0"]
    integer = pool(torch.tensor([[[int(value)]]]))["scale_0"]
    assert torch.equal(code, integer) is (abs(value) <= 2.0**53 and value == int(value))


def test_a_slow_copy_in_another_precision_follows_still():
    encoder = torch.nn.Linear(2, 2)
    slow = SlowCopy(encoder, rate=1.0).double()
    with torch.no_grad():
        encoder.weight += 1
    slow.update()
    assert torch.equal(slow.slow.weight, encoder.weight.double())
