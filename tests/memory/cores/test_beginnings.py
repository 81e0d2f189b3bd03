"""How a core begins: the settings that it has by default, its parameters, and the state before a first step."""

import math
import re
from functools import partial
from inspect import Parameter, signature

import pytest
import torch
from torch import nn
from torch.nn.init import _calculate_fan_in_and_fan_out as fans

from engram_rl.memory.cores import CORES, DNC, GRU, NTM, WRAPPERS, StoreCore, SyntheticGradients, make_core

D, H = 24, 48

DEFAULTS = {
    "adaptive_computation": {"core": GRU, "limit": 8, "ponder_cost": 0.01, "halting_bias": -3.0},
    "cached_uniform_writing": {"core": DNC, "write_every": 4, "attention": 16},
    "compressive": {
        "window": 32,
        "compressed": 32,
        "compression": 4,
        "leaving": None,
        "layers": 2,
        "heads": 4,
        "gate_bias": 2.0,
    },
    "delta": {"heads": 1, "key_size": None},
    "dnc": {"slots": 64, "width": 16, "reads": 1, "masked": True, "erase_freed": True, "sharpened": True},
    "dual": {"core": DNC, "first": None, "shared": False, "reads": 1},
    "dynamic_kanerva": {"slots": 32, "key_size": 16, "noise": 0.1, "ridge": 1.0},
    "fast_weights": {"decay": 0.95, "rate": 0.5, "steps": 1},
    "ffm": {"traces": 32, "contexts": 4, "horizon": 1024},
    "gated_delta": {"heads": 1, "key_size": None},
    "gru": {},
    "gtrxl": {"window": 64, "layers": 2, "heads": 4, "gate_bias": 2.0},
    "indrnn": {"layers": 2, "horizon": 1024},
    "kanerva": {"slots": 32, "noise": 1.0},
    "lifelong": {"heads": 4, "key_size": 16},
    "lmu": {"order": None, "theta": 64},
    "lstm": {},
    "memory_network": {"slots": 64, "hops": 3},
    "min_gru": {"layers": 2},
    "mnm": {"width": 32, "layers": 3, "heads": 1, "rule": "targets", "writing_weight": 0.0},
    "multigrid": {"levels": 2, "layers": 3, "channels": 8, "base": 3},
    "neuromodulated": {"limit": 2.0, "gain": 1.0},
    "ntm": {"slots": 128, "width": 20, "reads": 1, "writes": 1, "reach": 1},
    "plastic": {"rule": "hebb", "rate": 0.01, "gain": 1.0, "plasticity": 0.0, "recurrent": 1.0},
    "retroactive": {"limit": 1.0, "rate": 0.1, "gain": 1.0},
    "sam": {"slots": 128, "width": 16, "reads": 1, "k": 4},
    "shm": {"memory_size": None, "rows": 128, "limit": 100.0},
    "store": {
        "capacity": 512,
        "heads": 4,
        "queries": None,
        "parts": None,
        "period": None,
        "frequencies": 16,
        "key_size": 16,
        "top": None,
        "clock": False,
        "choices": 0,
        "choice_columns": (),
    },
    "stored_programs": {"core": NTM, "programs": 2, "key_size": 2},
    "tiers": {
        "registers": GRU,
        "ram": StoreCore,
        "rows": 16,
        "prices": (0.0, 0.01, 0.1),
        "heads": 4,
        "key_size": 16,
    },
    "two_level": {"fast": GRU, "slow": GRU, "every": 4, "decoupled": False},
    "uniform_writing": {"core": DNC, "write_every": 4},
}
"""What results were published with, here or by those whose cores they are."""

EVERY = sorted({**CORES, **WRAPPERS})


@pytest.mark.parametrize("name", EVERY)
def test_settings_have_the_defaults_with_which_results_were_published(name):
    given = signature({**CORES, **WRAPPERS}[name]).parameters.values()
    defaults = {one.name: one.default for one in given if one.default is not Parameter.empty}
    if name in ("lifelong", "tiers"):
        memory = defaults.pop("memory")(3, 2)
        assert (memory.capacity, memory.k, memory.values.shape[1]) == (10_000, 8, 2)
    assert defaults == DEFAULTS[name]


def test_a_net_that_foretells_gradients_has_64_units_by_default():
    assert SyntheticGradients(GRU(2, 3)).foretells[0].weight.shape == (64, 3)


def is_(value):
    """Every number is this one."""
    return lambda part: torch.testing.assert_close(part, torch.full_like(part, value))


def uniform(bound):
    def law(part):
        assert (0.85 if part.numel() > 30 else 0.2) * bound < part.abs().max() <= bound * (1 + 1e-6)

    return law


def normal(std, mean=0.0):
    def law(part):
        assert abs(part.mean() - mean) < 0.3 * std and 0.75 * std < (part - mean).square().mean().sqrt() < 1.25 * std
        assert (part - mean).abs().max() < 5 * std

    return law


def glorot(weight):
    uniform(math.sqrt(6 / sum(fans(weight))))(weight)


def lecun(weight):
    """As torch begins a map of so many inputs, and Voelker et al. their encoders but for a factor."""
    uniform(1 / math.sqrt(fans(weight)[0]))(weight)


def orthogonal(gain=1.0):
    def law(weight):
        weight = weight if weight.shape[0] <= weight.shape[1] else weight.T
        torch.testing.assert_close(weight @ weight.T, gain**2 * torch.eye(len(weight)), rtol=0, atol=1e-4)

    return law


def equal_parts(*laws):
    """Of parts one below the other, as the gates of an LSTM are, each by its own law."""

    def law(part):
        for one, own in zip(part.chunk(len(laws)), laws, strict=True):
            own(one)

    return law


def anything(part):
    """What a test of its own holds, or torch."""


def rows(*numbers):
    def law(part):
        expected = torch.tensor(numbers, dtype=part.dtype)
        torch.testing.assert_close(part.view(-1, len(numbers)), expected.expand(part.numel() // len(numbers), -1))

    return law


def square_of(diagonal):
    return lambda part: torch.testing.assert_close(part, diagonal * torch.eye(*part.shape))


OF_TORCH = r"(.*\.)?(%s)\.weight"
GATES = equal_parts(is_(0.0), is_(1.0), is_(0.0), is_(0.0))  # i, f, g, o: what is stored stays
PLASTIC = {
    "fixed": orthogonal(),
    "plasticity": normal(0.01),
    r"inputs\.weight": square_of(1.0),
    "modulator.*|fan_out.*": anything,
}
DELTA = {
    r"stays\.bias": is_(4.0),
    r"(keys|queries|values|strength|read_out|stays)\.weight": lecun,
    r"(keys|queries|values|strength|read_out)\.bias": anything,
}
STEERED = {
    r"(controller|decoder)\.weight_.h": equal_parts(*[glorot] * 4),
    r"(controller|decoder)\.bias_ih": GATES,
    r"(controller|decoder)\.bias_hh": is_(0.0),
}
READING = {
    r"answer\..\.weight": orthogonal(math.sqrt(2)),
    r"asked\.(0\.)?(weight|bias)": normal(0.01),
    r"keys\.0\.weight|key\.weight": lecun,
}
BEGIN = {
    "compressive": {r"compressors\..\.(weight|bias)": anything},
    "delta": DELTA,
    "gated_delta": DELTA,
    "dynamic_kanerva": {
        "prior": normal(1 / math.sqrt(16)),
        r"noise\.bias": is_(math.log(math.expm1(0.1))),
        r"(keys|queries)\.(weight|bias)|noise\.weight": anything,
    },
    "kanerva": {
        r"noise\.bias": is_(math.log(math.expm1(1.0))),
        r"(addresses|queries)\.(weight|bias)|noise\.weight": anything,
    },
    "fast_weights": {r"slow\.weight": square_of(0.05), r"inputs\.(weight|bias)": anything},
    "ffm": {"alpha|omega": anything, r"(inputs|read|bypass)\.(weight|bias)": anything},
    "gru": {r"unit\.weight_.h_l0": orthogonal(), r"unit\.bias_.h_l0": is_(0.0)},
    "lstm": {r"unit\.weight_.h_l0": orthogonal(), r"unit\.bias_ih_l0": GATES, r"unit\.bias_hh_l0": is_(0.0)},
    "gtrxl": {},
    "indrnn": {
        r"inputs\..\.weight": orthogonal(),
        r"recurrent\.0": lambda u: (uniform(1.0)(u), normal(0.29, mean=0.5)(u), is_(0.0)(u.clamp(max=0))),
        r"recurrent\.1": lambda u: (
            uniform(2 ** (1 / 1024))(u),
            is_(0.1 ** (1 / 1024))(u.clamp(max=0.1 ** (1 / 1024))),
        ),
    },
    "lifelong": READING | {"sharpness": is_(0.0)},
    "store": READING | {"strengths": is_(0.0), "ages|positions|places": normal(0.01)},
    "tiers": READING
    | {
        "sharpness": is_(0.0),
        "table": normal(1.0),
        r"gates\.bias": is_(1.0),
        r"(asked|key)_of_table\.weight": lecun,
        r"registers\.unit\.weight_.h_l0": orthogonal(),
        r"registers\.unit\.bias_.h_l0": is_(0.0),
        r"ram\.(ages|positions|places)": normal(0.01),
        r"ram\.(strengths)": is_(0.0),
        r"ram\.asked\.0\.(weight|bias)": normal(0.01),
        r"ram\.keys\.0\.weight": lecun,
        r"ram\.answer\..\.weight": orthogonal(math.sqrt(2)),
    },
    "two_level": {
        r"(fast|slow)\.unit\.weight_.h_l0": orthogonal(),
        r"(fast|slow)\.unit\.bias_.h_l0": is_(0.0),
    },
    "lmu": {
        "encode_x": uniform(math.sqrt(3 / D)),
        "encode_h": uniform(math.sqrt(3 / H)),
        "encode_m": is_(0.0),
        "W_x": normal(math.sqrt(2 / (D + H))),
        "W_h|W_m": normal(math.sqrt(2 / (H + H))),
    },
    "memory_network": {r"embeddings|times|question\.bias": normal(0.1)},
    "min_gru": {r"maps\..\.weight": lecun, r"maps\..\.bias": equal_parts(is_(-1.0), is_(0.0))},
    "mnm": STEERED | {"weights": normal(1 / math.sqrt(32))},
    "multigrid": {r"writers\..\..\.bias": GATES},
    "dnc": STEERED,
    "dual": STEERED,
    "sam": STEERED,
    "ntm": STEERED | {r"heads\.bias": rows(*[0.0] * 21, -2.0, 3.0, 0.0, 0.0, 0.0)},
    "plastic": PLASTIC | {"rate": is_(0.01)},
    "retroactive": PLASTIC | {"rate": is_(0.1)},
    "neuromodulated": PLASTIC,
    "shm": {
        "theta": glorot,
        r"(keys|queries|values)\.weight": orthogonal(),
        r"embed\.1\.weight": is_(1.0),
        r"(embed\.0|read_out)\.(weight|bias)|(calibration|strength)\.weight": anything,
    },
    "adaptive_computation": {r"halting\.bias": is_(-3.0), r"halting\.weight": lecun},
    "cached_uniform_writing": {r"score\.weight": lecun},
    "stored_programs": {
        r"(heads|contents)\.programs": anything,
        r"(heads|contents)\.keys": uniform(math.sqrt(6 / 4)),
        r"(heads|contents)\.ask\.(weight|bias)": anything,
    },
    "uniform_writing": {},
}
LIKE_ALL = {
    r"(.*\.)?norm(_inner)?\.weight": is_(1.0),
    r"(.*\.)?gate(_inner)?\.bias": is_(2.0),
    r"(.*\.)?gate(_inner)?\.told\.weight": equal_parts(*[glorot] * 3),
    r"(.*\.)?gate(_inner)?\.kept\.weight": equal_parts(*[glorot] * 2),
    r"(.*\.)?by_(content|age)": is_(0.0),
    r".*\.weight": glorot,
    r".*\.bias": is_(0.0),
}
"""Where nothing else is said: as Glorot and Bengio (2010) begin, and as the gated TransformerXL does."""

INSIDE = {
    "adaptive_computation": "gru",
    "cached_uniform_writing": "dnc",
    "dual": "dnc",
    "stored_programs": "ntm",
    "uniform_writing": "dnc",
}


@pytest.mark.parametrize("name", EVERY)
def test_parameters_begin_as_the_paper_has_them_or_as_is_said_to_differ(name):
    torch.manual_seed(0)
    for parameter, value in make_core(name, D, H).named_parameters():
        short = re.sub(r"^(core|one|other)\.", "", parameter)
        laws = BEGIN[name] | (BEGIN[INSIDE[name]] if name in INSIDE else {}) | LIKE_ALL
        law = next(law for pattern, law in laws.items() if re.fullmatch(pattern, short))
        try:
            law(value.detach())
        except AssertionError as error:
            raise AssertionError(f"{parameter}: {error}") from error


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("plastic", {"gain": 3.0}, {"inputs.weight": square_of(3.0)}),
        ("plastic", {"plasticity": 0.3}, {"plasticity": normal(0.01, mean=0.3)}),
        ("plastic", {"recurrent": 0.5, "rate": 0.2}, {"fixed": orthogonal(0.5), "rate": is_(0.2)}),
        ("neuromodulated", {"gain": 3.0}, {"inputs.weight": square_of(3.0)}),
        ("retroactive", {"gain": 3.0, "rate": 0.4}, {"inputs.weight": square_of(3.0), "rate": is_(0.4)}),
        ("kanerva", {"noise": 0.2}, {"noise.bias": is_(math.log(math.expm1(0.2)))}),
        ("dynamic_kanerva", {"noise": 3, "key_size": 64}, {"prior": normal(1 / 8)}),
        ("gtrxl", {"gate_bias": 1.5}, {"layers.1.gate.bias": is_(1.5), "layers.1.gate_inner.bias": is_(1.5)}),
        ("compressive", {"gate_bias": 1.5}, {"layers.1.gate.bias": is_(1.5)}),
        ("adaptive_computation", {"halting_bias": 0.5}, {"halting.bias": is_(0.5)}),
        ("indrnn", {"horizon": 2}, {"recurrent.1": uniform(math.sqrt(2))}),
        ("mnm", {"width": 64}, {"weights": normal(1 / 8)}),
    ],
)
def test_what_is_said_of_a_beginning_is_how_it_begins(name, settings, expected):
    torch.manual_seed(0)
    parameters = dict(make_core(name, D, H, **settings).named_parameters())
    for parameter, law in expected.items():
        law(parameters[parameter].detach())


def test_programs_begin_around_the_map_that_the_core_had():
    torch.manual_seed(0)
    core = make_core("stored_programs", 3, 6, core=partial(NTM, slots=5, width=4), programs=300).core.heads
    mean = core.programs.detach().mean(0)  # [2 heads of 10 numbers, 6 inputs and a bias]
    bias = torch.tensor([0.0] * 5 + [-2.0, 3.0, 0.0, 0.0, 0.0])
    bound = math.sqrt(6 / (20 * 7 + 300))
    torch.testing.assert_close(mean[:, -1], bias.repeat(2), rtol=0, atol=0.02)
    assert mean[:, :-1].abs().max() <= math.sqrt(6 / (6 + 20)) + 0.02
    uniform(bound + 0.02)(core.programs.detach() - mean)


def one_hot(leaf):
    expected = torch.zeros_like(leaf)
    expected[..., 0] = 1
    return expected


def identity(leaf):
    return torch.eye(leaf.shape[-1]).expand_as(leaf)


BEFORE = {
    ("ntm", "memory"): lambda leaf, _: torch.full_like(leaf, 1e-6),
    ("ntm", "weights"): lambda leaf, _: one_hot(leaf),
    ("sam", "idle"): lambda leaf, _: torch.arange(128, 0, -1).expand_as(leaf),
    ("kanerva", "covariance"): lambda leaf, _: identity(leaf),
    ("dynamic_kanerva", "covariance"): lambda leaf, _: identity(leaf),
    ("dynamic_kanerva", "mean"): lambda leaf, core: core.prior.expand_as(leaf),
    ("mnm", "weights"): lambda leaf, core: core.weights.expand_as(leaf),
}
"""Leaves of a first state that are not 0."""


@pytest.mark.parametrize("name", EVERY)
def test_a_first_state_is_empty(name):
    core = make_core(name, 2, 4)
    for leaf, value in core.initial_state(3).items():
        expected = BEFORE.get((INSIDE.get(name, name), leaf), lambda leaf, _: torch.zeros_like(leaf))(value, core)
        assert torch.equal(value, expected), leaf


@pytest.mark.parametrize(
    ("settings", "leaving"),
    [
        ({}, 16),
        ({"window": 10}, 4),
        ({"window": 4}, 4),
        ({"window": 26}, 12),
        ({"window": 7, "compression": 1, "compressed": 3}, 3),
        ({"window": 8, "compression": 2, "leaving": 8, "compressed": 4}, 8),
    ],
)
def test_half_the_window_leaves_the_compressive_transformer_at_once_in_whole_entries(settings, leaving):
    assert make_core("compressive", 3, 4, **settings).leaving == leaving


@pytest.mark.parametrize(("size", "first"), [(2, 1), (3, 1), (5, 2), (8, 4)])
def test_the_first_view_is_half_of_the_columns(size, first):
    assert make_core("dual", size, 4).first == first


@pytest.mark.parametrize(("name", "leaf", "shape"), [("lmu", "memory", (2, 5)), ("shm", "memory", (2, 5, 5))])
def test_a_memory_has_as_many_numbers_as_the_output_unless_told_otherwise(name, leaf, shape):
    assert make_core(name, 3, 5).initial_state(2)[leaf].shape == shape


@pytest.mark.parametrize(("hidden", "heads", "size"), [(6, 3, 2), (7, 3, 2), (3, 3, 1), (2, 4, 1)])
def test_heads_of_attention_share_the_numbers_and_have_one_at_least(hidden, heads, size):
    core = make_core("gtrxl", 3, hidden, heads=heads)
    assert core.layers[0].attention.by_age.shape == (heads, 1, size)
    assert core(torch.randn(3, 2, 3), core.initial_state(2))[0].isfinite().all()


def test_layers_are_as_many_as_asked_for():
    for name, maps in (("indrnn", "inputs"), ("min_gru", "maps"), ("gtrxl", "layers"), ("compressive", "layers")):
        for layers in (1, 3):
            assert isinstance(found := getattr(make_core(name, 2, 4, layers=layers), maps), nn.ModuleList)
            assert len(found) == layers
