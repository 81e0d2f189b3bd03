"""Every supported space gets an encoder of the right width; others are refused with a remedy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional

from engram_rl.agents.common.encoders import ImageEncoder, PartsEncoder, SymbolEncoder, make_encoder, make_projection
from engram_rl.agents.common.flattening import Flatten, OneHot
from engram_rl.agents.common.observations import hash_observations, map_observation, to_tensors
from engram_rl.agents.common.scaling import RULES

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


def test_one_hot_is_that_of_each_code_by_itself():
    sizes, starts = [11, 6, 4, 1, 250], [0, -3, 2, 7, 5]
    parts = [torch.randint(start, start + size, (9,)) for size, start in zip(sizes, starts, strict=True)]
    expected = [functional.one_hot(part - start, size) for part, size, start in zip(parts, sizes, starts, strict=True)]
    for kind in (torch.int64, torch.int32, torch.int16):
        found = OneHot(sizes, starts)(torch.stack(parts, 1).to(kind))
        assert torch.equal(found, torch.cat(expected, 1).float()) and found.dtype == torch.float32
    assert not OneHot(sizes, starts).state_dict()


def test_one_hot_takes_a_code_for_each_part_and_no_codes_at_all():
    assert OneHot([3, 2], [0, 0])(torch.zeros(0, 2)).shape == (0, 5)
    for codes in (torch.zeros(2, 1), torch.zeros(2, 3)):
        with pytest.raises(RuntimeError, match="shape"):
            OneHot([3, 2], [0, 0])(codes)


@pytest.mark.parametrize("code", [1, 5, -1])
def test_a_code_out_of_its_space_is_refused(code):
    with pytest.raises(ValueError, match=rf"code 1 of an observation or action is {code}; its space has 2 to 4"):
        OneHot([9, 3], [0, 2])(torch.tensor([[0, 3], [8, code]]))


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


def layers_of(encoder):
    return [
        (layer.in_features, layer.out_features) for layer in encoder.modules() if isinstance(layer, torch.nn.Linear)
    ]


def test_a_row_passes_one_layer_of_64_units_unless_told_otherwise():
    assert layers_of(make_encoder(SPACES["vector"], 16)) == [(5, 64), (64, 16)]
    assert layers_of(make_encoder(SPACES["vector"], 16, (9, 8))) == [(5, 9), (9, 8), (8, 16)]


@pytest.mark.parametrize("rule", RULES)
def test_only_grids_of_the_first_versions_agents_are_normalised(rule):
    kinds = {
        "grid": (GRID, SymbolEncoder if rule < 2 else torch.nn.Sequential),
        "matrix": (SPACES["matrix"], torch.nn.Sequential),
        "row": (SPACES["discrete"], torch.nn.Sequential),
        "picture": (IMAGE, ImageEncoder),
        "parts": (SPACES["dict"], PartsEncoder),
    }
    made = {name: make_encoder(space, 8, (6,), rule) for name, (space, _) in kinds.items()}
    assert {name: type(encoder) for name, encoder in made.items()} == {name: kind for name, (_, kind) in kinds.items()}
    assert layers_of(made["grid"]) == [(7 * 7 * 3, 6), (6, 8)]
    assert [p.shape for p in made["grid"].parameters()] == [(6, 147), (6,), (8, 6), (8,)]  # the norm learns nothing


def test_symbols_of_the_first_version_are_normalised_over_the_grid():
    encoder, grid = make_encoder(GRID, 8, scale_rule=1), torch.randint(0, 10, (4, 7, 7, 3), dtype=torch.uint8)
    assert encoder[0](grid).max() == 9  # as they are
    rows = grid.reshape(4, -1).double()
    expected = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, correction=0, keepdim=True).square() + 1e-5).sqrt()
    torch.testing.assert_close(encoder[1](encoder[0](grid)).double(), expected, rtol=1e-4, atol=1e-5)


PICTURES = {
    "channels last": ((64, 48, 3), lambda shown: shown.permute(0, 3, 1, 2)),
    "channels first": ((3, 64, 48), lambda shown: shown),
    "grey": ((48, 48), lambda shown: shown.unsqueeze(1)),
    "stack, channels last": ((2, 40, 40, 3), lambda shown: shown.permute(0, 1, 4, 2, 3).reshape(-1, 6, 40, 40)),
    "stack, channels first": ((2, 3, 40, 40), lambda shown: shown.reshape(-1, 6, 40, 40)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_reach_the_convolutions_upright_and_divided_by_their_largest_number(name):
    shape, upright = PICTURES[name]
    encoder = make_encoder(spaces.Box(0, 255, shape, np.uint8), 5)
    shown = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    features = upright(shown).float() / 255
    for layer in [layer for layer in encoder.modules() if isinstance(layer, torch.nn.Conv2d)]:
        features = torch.relu(layer(features))
    expected = encoder._head(features.reshape(3, -1))
    torch.testing.assert_close(encoder(shown), expected)


@pytest.mark.parametrize(
    ("low", "high", "first", "now"),
    [(0, 255, 255, 255), (-2, 1, 1, 2), (0, np.inf, 1, 1), (-np.inf, 4, 4, 1), (0, 0.5, 0.5, 0.5)],
)
def test_the_first_version_divides_pictures_by_their_upper_bound_and_todays_by_the_larger_one(low, high, first, now):
    space, shown = spaces.Box(low, high, (40, 40, 3), np.float32), torch.rand(2, 40, 40, 3)
    plain = make_encoder(spaces.Box(0, 1, (40, 40, 3), np.float32), 5)
    for rule, divisor in ((0, first), (1, first), (2, now)):
        encoder = make_encoder(space, 5, scale_rule=rule)
        encoder.load_state_dict(plain.state_dict())
        torch.testing.assert_close(encoder(shown), plain(shown / divisor))


@pytest.mark.parametrize(("hidden", "inside", "width"), [((9, 6), [9], 6), ((6,), [], 6), ((), [], 8)])
def test_parts_are_encoded_each_to_the_width_of_the_last_hidden_layer_and_joined(hidden, inside, width):
    space = spaces.Dict(a=spaces.Box(-1, 1, (5,)), b=spaces.Discrete(3))
    encoder = make_encoder(space, 8, hidden)
    sizes = [[5, *inside, width], [3, *inside, width], [2 * width, 8]]
    assert layers_of(encoder) == [pair for one in sizes for pair in pairwise(one)]
    shown = to_tensors(batch(space))
    joined = torch.cat([torch.relu(part(shown[name])) for name, part in zip("ab", encoder._parts, strict=True)], dim=1)
    torch.testing.assert_close(encoder(shown), encoder._head(joined))


def test_weights_of_parts_that_bear_numbers_are_found_by_their_place():
    space = spaces.Dict({"1": spaces.Box(-1, 1, (2,)), "2": spaces.Box(-1, 1, (2,))})
    encoder, again = (make_encoder(space, 8) for _ in range(2))
    again.load_state_dict(encoder.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))


def test_a_projection_is_that_of_its_seed_and_takes_numbers_by_the_rule():
    space, shown = spaces.Box(0, 255, (9,), np.uint8), torch.randint(0, 256, (4, 9), dtype=torch.uint8)
    first, again, other = (make_projection(space, 6, seed)(shown) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    for rule in RULES:
        project = make_projection(space, 6, 3, rule)
        torch.testing.assert_close(project(shown), Flatten(space, rule)(shown) @ project[1].matrix)
    assert not torch.allclose(make_projection(space, 6, 3, 1)(shown), first)


def test_bits_of_any_shape_and_codes_stand_side_by_side_in_the_order_of_their_parts():
    space = spaces.Dict(bits=spaces.MultiBinary((2, 2)), room=spaces.MultiDiscrete([[2, 3]], start=[[5, 0]]))
    shown = {"bits": torch.tensor([[[1, 0], [0, 1]]]), "room": torch.tensor([[[6, 2]]])}
    assert Flatten(space)(shown).tolist() == [[1, 0, 0, 1, 0, 1, 0, 0, 1]]
    assert Flatten(space).size == 9
