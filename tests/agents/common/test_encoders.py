"""Every supported space gets an encoder of the right width; others are refused with a remedy."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.common.encoders import make_encoder, make_projection
from engram_rl.agents.common.flattening import OneHot
from engram_rl.agents.common.observations import hash_observations, map_observation, to_tensors

IMAGE = spaces.Box(0, 255, (84, 84, 4), np.uint8)
GRID = spaces.Box(0, 255, (7, 7, 3), np.uint8)
SPACES = {
    "vector": spaces.Box(-1, 1, (5,)),
    "scalar box": spaces.Box(-1, 1, ()),
    "matrix": spaces.Box(-1, 1, (3, 4)),
    "image": IMAGE,
    "image, channels first": spaces.Box(0, 255, (3, 64, 48), np.uint8),
    "symbols": GRID,
    "discrete": spaces.Discrete(5, start=2),
    "multidiscrete": spaces.MultiDiscrete([3, 4]),
    "multibinary": spaces.MultiBinary(6),
    "dict": spaces.Dict({"image": GRID, "direction": spaces.Discrete(4)}),
}


def batch(space, rows=3, seed=0):
    space.seed(seed)
    samples = [space.sample() for _ in range(rows)]
    return map_observation(lambda *parts: np.stack(parts), *samples)


@pytest.mark.parametrize("name", SPACES)
def test_encoder_width_and_gradient(name):
    encoder = make_encoder(SPACES[name], 16)
    keys = encoder(to_tensors(batch(SPACES[name])))
    assert keys.shape == (3, 16)
    keys.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())


def test_text_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"Text.*FilterObservation"):
        make_encoder(spaces.Text(5), 16)


def test_one_hot_counts_from_each_start():
    codes = torch.tensor([[2, 0], [4, 1]])
    assert OneHot([3, 2], [2, 0])(codes).tolist() == [[1, 0, 0, 1, 0], [0, 0, 1, 0, 1]]


def test_symbol_grids_of_the_first_version_do_not_depend_on_the_range_they_use():
    encoder = make_encoder(GRID, 8, scale_rule=1)
    grid = torch.randint(0, 10, (4, 7, 7, 3), dtype=torch.uint8)
    assert torch.allclose(encoder(grid), encoder(grid * 20), atol=1e-3)


@pytest.mark.parametrize("name", SPACES)
def test_equal_observations_share_a_fingerprint_and_others_do_not(name):
    rows = batch(SPACES[name], rows=2)
    again = map_observation(lambda part: np.concatenate([part, part]), rows)
    first, second, third, fourth = hash_observations(again).tolist()
    assert (first, second) == (third, fourth)
    same = all(np.array_equal(*part) for part in (rows.values() if isinstance(rows, dict) else [rows]))
    assert (first == second) == same


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(10**7),
        spaces.MultiDiscrete([60_000, 60_000]),
        spaces.Dict(place=spaces.Box(-1, 1, (2,)), cell=spaces.Discrete(100_001)),
        spaces.Tuple((spaces.Discrete(200_000),)),
    ],
)
@pytest.mark.parametrize("make", [make_encoder, lambda space, size: make_projection(space, size, 0)])
def test_more_codes_than_can_have_a_column_each_are_refused(space, make):
    with pytest.raises(ValueError, match=r"codes, each of which .* at most 100000 .*TransformObservation"):
        make(space, 8)
    assert make(spaces.Discrete(100_000), 8) is not None


def test_pictures_of_the_atari_size_leave_the_convolutions_as_64_maps_of_7_by_7():
    encoder = make_encoder(spaces.Box(0, 255, (84, 84, 4), np.uint8), 16)
    convolutions = [layer for layer in encoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == [
        (32, 8, 4),
        (64, 4, 2),
        (64, 3, 1),
    ]
    assert [layer.in_features for layer in encoder.modules() if isinstance(layer, torch.nn.Linear)] == [64 * 7 * 7]
