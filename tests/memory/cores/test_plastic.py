"""Plastic nets: their equations, traces that stay bounded, and a net without a trace is a plain one."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import D, H, agrees, stays_finite


def moved(p, x, state):
    """The activity after a step, and the products of activities before and after it."""
    before, after = state["hidden"], p["inputs.weight"] @ x + p["inputs.bias"]
    for i in range(H):
        for j in range(H):
            after[j] += (p["fixed"][i, j] + p["plasticity"][i, j] * state["trace"][i, j]) * before[i]
    after = np.tanh(after)
    return before, after, np.outer(before, after)


def modulation(p, y):
    return p["fan_out.weight"][:, 0] * np.tanh(p["modulator.weight"] @ y + p["modulator.bias"]) + p["fan_out.bias"]


def hebb(p, x, state):
    _, y, products = moved(p, x, state)
    return y, {"hidden": y, "trace": (1 - p["rate"]) * state["trace"] + p["rate"] * products}


def oja(p, x, state):
    before, y, _ = moved(p, x, state)
    trace = state["trace"].copy()
    for i in range(H):
        for j in range(H):
            trace[i, j] += p["rate"] * y[j] * (before[i] - y[j] * state["trace"][i, j])
    return y, {"hidden": y, "trace": trace}


def neuromodulated(p, x, state):
    _, y, products = moved(p, x, state)
    return y, {"hidden": y, "trace": np.clip(state["trace"] + modulation(p, y) * products, -0.02, 0.02)}


def retroactive(p, x, state):
    _, y, products = moved(p, x, state)
    trace = np.clip(state["trace"] + modulation(p, y) * state["eligibility"], -0.02, 0.02)
    eligibility = (1 - p["rate"]) * state["eligibility"] + p["rate"] * products
    return y, {"hidden": y, "trace": trace, "eligibility": eligibility}


@pytest.mark.parametrize(
    ("name", "slow_step", "settings"),
    [
        ("plastic", hebb, {}),
        ("plastic", oja, {"rule": "oja", "rate": 0.2}),
        ("neuromodulated", neuromodulated, {"limit": 0.02}),
        ("retroactive", retroactive, {"limit": 0.02}),
    ],
)
def test_it_is_its_equations(name, slow_step, settings):
    agrees(name, slow_step, **settings)


@pytest.mark.parametrize("name", ["plastic", "neuromodulated", "retroactive"])
def test_without_plasticity_it_is_a_plain_recurrent_net(name):
    core, plain = make_core(name, D, H), torch.nn.RNN(D, H)
    with torch.no_grad():
        core.plasticity.zero_()
        plain.weight_ih_l0.copy_(core.inputs.weight)
        plain.bias_ih_l0.copy_(core.inputs.bias)
        plain.weight_hh_l0.copy_(core.fixed.T)
        plain.bias_hh_l0.zero_()
    xs = torch.randn(8, 2, D)
    torch.testing.assert_close(core(xs, core.initial_state(2))[0], plain(xs)[0])


@pytest.mark.parametrize(
    ("name", "settings", "bound"),
    [("plastic", {}, 1.0), ("neuromodulated", {"limit": 0.1}, 0.1), ("retroactive", {"limit": 0.1}, 0.1)],
)
def test_a_trace_stays_bounded(name, settings, bound):
    core = make_core(name, D, H, **settings)
    with torch.no_grad():
        for parameter in (core.inputs.weight, *(p for n, p in core.named_parameters() if n.startswith("fan_out"))):
            parameter.mul_(20)
    _, state, _ = core(torch.ones(1000, 1, D), core.initial_state(1))
    assert 0.5 * bound < state["trace"].abs().max() <= bound


def test_an_unknown_rule_is_named_with_its_neighbours():
    with pytest.raises(ValueError, match="did you mean 'hebb'"):
        make_core("plastic", D, H, rule="heb")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("plastic", {}), ("plastic", {"rule": "oja"}), ("neuromodulated", {}), ("retroactive", {})],
)
def test_it_stays_finite(name, settings):
    stays_finite(name, **settings)
