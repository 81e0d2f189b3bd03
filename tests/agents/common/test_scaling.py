"""Pictures of every layout, grids, bytes and odd bounds: nothing is blind to them, and nothing is saturated by them."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.common.encoders import ImageEncoder, make_encoder, make_projection
from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.scaling import (
    SCALE_RULE,
    Scale,
    has_picture,
    is_picture,
    picture_divisor,
    require_rule,
    require_same_rule,
)
from engram_rl.agents.policy_gradient.perception import make_perception
from engram_rl.agents.policy_gradient.policies import make_policy

LARGEST = float(np.finfo(np.float32).max)
PICTURES = {
    "bytes": ((64, 64, 3), np.uint8, 0, 255, 255),
    "bytes, channels first": ((3, 64, 64), np.uint8, 0, 255, 255),
    "grey without channels": ((84, 84), np.uint8, 0, 255, 255),
    "a stack of colour": ((4, 64, 64, 3), np.uint8, 0, 255, 255),
    "a stack, channels first": ((4, 3, 64, 48), np.uint8, 0, 255, 255),
    "a stack of stacks": ((2, 2, 40, 40, 3), np.uint8, 0, 255, 255),
    "0 to 1": ((64, 64, 3), np.float32, 0, 1, 1),
    "-1 to 0": ((64, 64, 1), np.float32, -1, 0, -1),
    "0 to 255 in floats": ((48, 48), np.float32, 0, 255, 255),
    "no bounds": ((64, 64, 3), np.float32, -np.inf, np.inf, 1),
    "bounds of the type": ((64, 64, 3), np.float32, -LARGEST, LARGEST, 1),
    "depth": ((64, 64, 1), np.uint16, 0, 65535, 65535),
    "bits": ((64, 64, 3), np.bool_, 0, 1, 1),
    "voxels": ((40, 40, 40), np.uint8, 0, 1, 1),
    "signed": ((64, 64, 1), np.int8, -128, 127, 127),
    "grey, -1 to 1": ((64, 64), np.float32, -1, 1, 1),
}
NUMBERS = {
    "small picture": ((16, 16, 3), np.uint8, 0, 255, 255),
    "smaller than the convolutions": ((32, 32, 3), np.uint8, 0, 255, 255),
    "one side small": ((20, 200, 3), np.uint8, 0, 255, 255),
    "small and grey": ((20, 20), np.uint8, 0, 255, 255),
    "small, floats to 255": ((16, 16, 1), np.float32, 0, 255, 255),
    "small stack": ((4, 16, 16, 1), np.uint8, 0, 255, 255),
    "memory of a console": ((128,), np.uint8, 0, 255, 255),
    "counters": ((5,), np.int64, 0, 2**40, 1000),
    "wide": ((3,), np.float64, -1000, 1000, 1000),
    "negative bytes": ((6,), np.int16, -255, 0, -255),
    "equal bounds": ((4,), np.float32, 7, 7, 7),
    "all zero": ((4,), np.float32, 0, 0, 0),
    "unbounded": ((4,), np.float32, -np.inf, np.inf, 1),
    "bounds of the type": ((4,), np.float32, -LARGEST, LARGEST, 1),
    "half bounded": ((4,), np.float32, 0, np.inf, 1),
    "tiny": ((4,), np.float32, 0, 1e-3, 1e-3),
    "two axes a little below -1": ((64, 64), np.float32, -1.5, 1, 1),
    "two axes a little above 1": ((64, 64), np.float32, -1, 1.5, 1.5),
    "two axes above 255": ((64, 64), np.float32, 0, 256, 256),
    "tiny, on either side of 0": ((3,), np.float64, -1e-5, 1e-5, 1e-5),
    "one byte": ((1,), np.uint8, 0, 255, 255),
}


LIMITS = {
    "grey, within -1 to 1": ((64, 64), np.float32, -0.5, 0.5, True),
    "grey, within 0 to 255": ((64, 64), np.float32, 1, 200, True),
    "as small as can be": ((36, 36, 3), np.uint8, 0, 255, True),
    "as small as can be, channels first": ((3, 36, 36), np.uint8, 0, 255, True),
    "as small as can be, grey": ((36, 36), np.uint8, 0, 255, True),
    "as small as can be, stacked": ((4, 36, 36, 1), np.uint8, 0, 255, True),
    "bright": ((40, 40, 3), np.float32, 0, 0.5, True),
    "counts within a thousand millions": ((40, 40), np.int64, 1 - 10**9, 10**9 - 1, True),
    "two axes, -1 to 255": ((40, 40), np.float32, -1, 255, False),
    "two axes of large counts": ((40, 40), np.int64, 0, 10**9, False),
    "two axes of large debts": ((40, 40), np.int64, -(10**9), 0, False),
    "a pixel too small": ((35, 64, 3), np.uint8, 0, 255, False),
    "a pixel too small, channels first": ((3, 64, 35), np.uint8, 0, 255, False),
    "a pixel too small, grey": ((64, 35), np.uint8, 0, 255, False),
    "a pixel too small, stacked": ((4, 35, 64, 3), np.uint8, 0, 255, False),
    "long and narrow, grey": ((20, 200), np.uint8, 0, 255, False),
    "many small pictures": ((40, 40, 2, 3), np.uint8, 0, 255, False),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_just_a_picture_is_one_and_what_just_is_not_is_none(name):
    shape, dtype, low, high, is_one = LIMITS[name]
    assert is_picture(spaces.Box(low, high, shape, dtype)) == is_one


def space_of(case):
    shape, dtype, low, high, _ = case
    return spaces.Box(low, high, shape, dtype)


def batch(case, rows=32):
    shape, dtype, *_, top = case
    return (
        (np.random.default_rng(0).random((rows, *shape)) * top)
        .round(6 if np.dtype(dtype).kind == "f" else 0)
        .astype(dtype)
    )


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_every_layout_pass_convolutions(name):
    space = space_of(PICTURES[name])
    assert is_picture(space) and isinstance(make_encoder(space, 8), ImageEncoder)


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_too_small_or_no_picture_is_a_row(name):
    assert not has_picture(space_of(NUMBERS[name]))
    assert Flatten(space_of(NUMBERS[name])).size == int(np.prod(NUMBERS[name][0]))


@pytest.mark.parametrize("case", [*PICTURES.values(), *NUMBERS.values()], ids=[*PICTURES, *NUMBERS])
def test_nothing_is_blind_and_nothing_saturated(case):
    space, shown = space_of(case), batch(case)
    different = case[4] != 0 and case[2] != case[3]
    rows = Flatten(space)(torch.as_tensor(shown))
    assert rows.isfinite().all() and (not different or 0.05 < rows.abs().max() <= 8)
    for make in (make_encoder, lambda *given: make_projection(*given, 0)):
        torch.manual_seed(0)
        with torch.no_grad():
            found = make(space, 16)(torch.as_tensor(shown))
        assert found.isfinite().all()
        assert not different or found.std(0).mean() > 1e-4
    policy, perceive = make_policy(space, spaces.Discrete(4), 0, hidden=[64, 64]), make_perception(space, "cpu", False)
    with torch.no_grad():
        nothing = torch.zeros(1, len(shown), dtype=torch.bool)
        seen, state = perceive(shown, learn=False), policy.initial_state(len(shown))
        features = policy.features(seen, state, nothing, {}).features
        units = policy.actor(features) if has_picture(space) else torch.tanh(policy.actor[0](features))
    assert units.isfinite().all()
    if not has_picture(space) and different:
        assert (units.abs() > 0.99).float().mean() < 0.2


@pytest.mark.parametrize("shape", [(5, 5, 1), (3, 10, 10), (32, 32, 3), (25,), (9, 9), (2, 8, 8, 3)])
def test_symbols_are_told_apart_and_so_are_dark_and_bright(shape):
    """A cell of 1 from one of 2, 2 from 200, and everywhere 10 from everywhere 250."""
    space = spaces.Box(0, 255, shape, np.uint8)
    torch.manual_seed(0)

    def grid(value, at=None):
        numbers = np.zeros((1, *shape), np.uint8)
        numbers.reshape(-1)[slice(None) if at is None else at] = value
        return torch.as_tensor(numbers)

    for read in (Flatten(space), make_projection(space, 64, 0)):
        for one, other in ((grid(1, 7), grid(2, 7)), (grid(2, 7), grid(200, 7)), (grid(1, 7), grid(1, 9))):
            assert (read(one) - read(other)).square().sum() > 0.005
        assert (read(grid(10)) - read(grid(250))).square().sum() > 1
    encode = make_encoder(space, 64)
    with torch.no_grad():
        assert (encode(grid(10)) - encode(grid(250))).square().sum() > 1e-2
        assert (encode(grid(1, 7)) - encode(grid(2, 7))).square().sum() > 1e-6


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 100), (50, 200), (np.arange(6), 255), (0, np.arange(60, 66))])
def test_bytes_are_looked_up_as_they_would_be_worked_out(low, high):
    low, high = (np.broadcast_to(bound, 6).astype(np.uint8) for bound in (low, high))
    scale = Scale(spaces.Box(low, high, (6,), np.uint8))
    every = torch.arange(256, dtype=torch.uint8).unsqueeze(1).expand(-1, 6).contiguous()
    torch.testing.assert_close(scale(every), scale(every.float()), rtol=1e-6, atol=1e-7)
    origin = low.astype(np.float64)
    expected = 2 * np.log1p(np.abs(np.arange(256)[:, None] - origin)) / np.log1p(high - origin) - 1
    inside = np.arange(256)[:, None] >= origin
    np.testing.assert_allclose(np.where(inside, scale(every).numpy(), 0), np.where(inside, expected, 0), atol=1e-6)
    assert scale(every[:2].reshape(2, 2, 3)).shape == (2, 6)


def test_columns_are_scaled_each_by_its_own_bounds():
    space = spaces.Box(np.array([-1, 0, -np.inf, 10], np.float32), np.array([1, 1000, np.inf, 500], np.float32))
    rows = Flatten(space)(torch.tensor([[0.5, 0.0, 7.0, 10.0], [-0.5, 1000.0, -7.0, 500.0]]))
    assert rows.tolist() == [pytest.approx([0.5, -1, 7, -1]), pytest.approx([-0.5, 1, -7, 1])]


def test_what_is_too_small_is_as_large_as_its_bounds_allow():
    low, high = np.array([0, -2e-4, -0.07, -1e-3]), np.array([1e-3, 1e-4, 0.07, 1000])
    rows = Flatten(spaces.Box(low, high, dtype=np.float64))(torch.from_numpy(np.stack([low, high])))
    np.testing.assert_allclose(
        rows, [[0, -1, -0.07, -2 * np.log1p(1e-3) / np.log1p(1000) / 2], [1, 0.5, 0.07, 1]], rtol=1e-5
    )


BOUNDS = [  # dtype, low, high, what becomes of low and of high
    (np.int16, -255, 0, -1, 1),
    (np.int64, -500, -10, -1, 1),
    (np.int64, 10, 500, -1, 1),
    (np.int64, -100, 1000, -np.log1p(100) / np.log1p(1000), 1),
    (np.int64, -1000, 100, -1, np.log1p(100) / np.log1p(1000)),
    (np.float64, -30, 30, -30, 30),
    (np.float64, -30.5, 0, -1, 1),
    (np.float64, 0, 30.5, -1, 1),
    (np.int64, 0, 31, -1, 1),
    (np.float64, 100, 100, 100, 100),
    (np.float64, 0, 9e8, -1, 1),
    (np.float64, 0, 1e9, 0, 1e9),
    (np.int64, 0, 10**9, -1, 1),
    (np.int64, 0, 10**12, -1, 1),
    (np.float64, -1 / 30, 1 / 30, -1 / 30, 1 / 30),
    (np.float64, -0.033, 0.033, -1, 1),
    (np.float64, -0.01, 0.02, -0.5, 1),
    (np.float64, 0, 2e-30, 0, 1),
    (np.float64, 0, 1e-30, 0, 1e-30),
    (np.float64, 0, 1e308, 0, np.inf),
    (np.float64, 1e300, np.inf, np.inf, np.inf),
]


@pytest.mark.parametrize(("dtype", "low", "high", "least", "most"), BOUNDS)
def test_bounds_become_what_networks_take_alone_and_beside_others(dtype, low, high, least, most):
    alone = Scale(spaces.Box(low, high, (1,), dtype))(torch.tensor([[low], [high]]))
    assert alone[:, 0].tolist() == pytest.approx([least, most])
    beside = Scale(spaces.Box(np.array([low, 0.0]), np.array([high, 1000.0]), dtype=np.float64))
    if np.dtype(dtype).kind == "f":
        assert beside(torch.tensor([[low, 0.0], [high, 1000.0]])).tolist() == [
            [pytest.approx(least), -1],
            [pytest.approx(most), pytest.approx(1)],
        ]


@pytest.mark.parametrize(
    ("low", "high", "divisor"),
    [(0, 255, 255), (-3, 2, 3), (0, 0.5, 0.5), (0, 0, 1), (0, 1e9, 1), (0, 9e8, 9e8), (-1e9, 0, 1), (-np.inf, 1, 1)],
)
def test_pictures_are_divided_by_their_largest_number_where_bounds_say_it(low, high, divisor):
    space = spaces.Box(low, high, (40, 40, 3), np.float64)
    assert picture_divisor(space) == divisor
    assert Scale(space)(torch.full((1, 40, 40, 3), 7.0))[0].tolist() == pytest.approx([7 / divisor] * 4800)


def test_what_has_no_pixels_is_no_picture():
    assert not is_picture(spaces.Box(0, 255, (64, 64, 0), np.uint8))
    assert not is_picture(spaces.Discrete(4))


def test_a_picture_among_the_parts_is_found():
    picture, speed = spaces.Box(0, 255, (84, 84), np.uint8), spaces.Box(-1, 1, (2,))
    assert has_picture(spaces.Dict(a=speed, b=spaces.Tuple((speed, picture))))
    assert not has_picture(spaces.Dict(a=speed, b=spaces.Tuple((speed,))))
    assert not has_picture(spaces.Dict(a=picture), 1)


@pytest.mark.parametrize("rule", [0, 1, 2])
def test_rules_that_there_are_may_be_chosen_and_agree_with_themselves_alone(rule):
    assert require_rule(rule) == rule and SCALE_RULE == 2
    for saved in (0, 1, 2):
        if saved == rule:
            require_same_rule(saved, rule)
        else:
            with pytest.raises(ValueError, match=f"by rule {saved}, and .* by rule {rule}: .*scale_rule={saved}"):
                require_same_rule(saved, rule)


@pytest.mark.parametrize("rule", [-1, 3, "two"])
def test_other_rules_are_refused(rule):
    with pytest.raises(ValueError, match=f"scale_rule is {rule!r}; it must be 2, or 1"):
        require_rule(rule)


def test_without_a_rule_all_numbers_are_as_they_are():
    for space in (spaces.Box(0, 255, (64, 64, 3), np.uint8), spaces.Box(0, 1000, (5,)), spaces.Box(0, 1e-3, (5,))):
        shown = torch.as_tensor(space.sample()[None])
        assert torch.equal(Scale(space, 0)(shown), shown.float().reshape(1, -1))


def test_what_the_first_version_learned_is_scaled_as_it_was():
    for shape, expected in (((64, 64, 3), 1.0), ((16, 16, 3), 255.0), ((128,), 255.0), ((84, 84), 255.0)):
        space = spaces.Box(0, 255, shape, np.uint8)
        assert Flatten(space, 1)(torch.full((1, *shape), 255, dtype=torch.uint8)).max() == expected


NAMES = ("items", "keys", "values", "arm.pos", "", "forward", "training", "0", "_parts")


def test_parts_may_bear_any_name():
    space = spaces.Dict({name: spaces.Box(-1, 1, (2,), np.float32) for name in NAMES})
    shown = {name: torch.full((3, 2), float(at)) for at, name in enumerate(space)}
    encoder = make_encoder(space, 8)
    assert encoder(shown).shape == (3, 8)
    again = make_encoder(space, 8)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(shown), encoder(shown))
    assert Flatten(space)(shown)[0].tolist() == [float(at) for at in range(len(NAMES)) for _ in range(2)]


def test_weights_saved_under_the_names_of_parts_are_found():
    space = spaces.Dict(camera=spaces.Box(0, 255, (40, 40, 3), np.uint8), speed=spaces.Box(-1, 1, (2,)))
    encoder, again = make_encoder(space, 8), make_encoder(space, 8)
    named = {
        place.replace("_parts.0.", "_parts.camera.").replace("_parts.1.", "_parts.speed."): weights
        for place, weights in encoder.state_dict().items()
    }
    again.load_state_dict(named)
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))


def test_a_tuple_is_read_as_a_dict_of_numbered_parts():
    part, code = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)
    shown = (torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))
    named = {"0": shown[0], "1": shown[1]}
    of_tuple, of_dict = (Flatten(space) for space in (spaces.Tuple((part, code)), spaces.Dict({"0": part, "1": code})))
    assert torch.equal(of_tuple(shown), of_dict(named)) and torch.equal(of_tuple(named), of_dict(named))
    assert make_encoder(spaces.Tuple((part, spaces.Tuple((code, part)))), 8)(
        (shown[0], (shown[1], shown[0]))
    ).shape == (4, 8)
