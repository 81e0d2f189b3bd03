"""Kanerva machines as cores: their equations, and that all that was written counts, not the last of it."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import D, H, agrees, linear, softplus, stays_finite

K, W = 5, 4
RIDGE = 0.7


def unit(x):
    return x / np.sqrt(x @ x)


def inferred(state, w, z, noise):
    """R and U by the inverse of the precision, not by the gain."""
    mean, covariance = state["mean"], state["covariance"]
    after = np.linalg.inv(np.linalg.inv(covariance) + np.outer(w, w) / noise)
    return {"mean": after @ (np.linalg.inv(covariance) @ mean + np.outer(w, z) / noise), "covariance": after}


def sought(rows, z):
    return np.linalg.inv(rows @ rows.T + RIDGE * np.eye(K)) @ rows @ z


def fixed(p, x, state):
    noise = softplus(linear(p, "noise", x))[0] + 1e-6
    after = inferred(state, unit(linear(p, "addresses", x)), linear(p, "items", x), noise)
    found = after["mean"].T @ unit(linear(p, "queries", x))
    return linear(p, "output", np.concatenate([found, x])), after


def dynamic(p, x, state):
    noise = softplus(linear(p, "noise", x))[0] + 1e-6
    item = np.concatenate([unit(linear(p, "keys", x)), linear(p, "values", x)])
    after = inferred(state, sought(state["mean"], item), item, noise)
    w = sought(after["mean"][:, :W], unit(linear(p, "queries", x)))
    return linear(p, "output", np.concatenate([after["mean"][:, W:].T @ w, x])), after


@pytest.mark.parametrize(
    ("name", "slow_step", "settings"),
    [("kanerva", fixed, {}), ("dynamic_kanerva", dynamic, {"key_size": W, "ridge": RIDGE, "noise": 1.0})],
)
def test_it_is_its_equations(name, slow_step, settings):
    agrees(name, slow_step, slots=K, **settings)


def test_the_mean_is_the_least_squares_answer_to_all_that_was_written():
    torch.manual_seed(0)
    core = make_core("kanerva", D, H, slots=K).double()
    xs = torch.randn(20, 1, D).double()
    with torch.no_grad():
        core.noise.weight.zero_()
        core.noise.bias.fill_(0.5413)  # softplus of it is 1
        _, state, _ = core(xs, core.initial_state(1))
        w = torch.nn.functional.normalize(core.addresses(xs[:, 0]), dim=-1)
        ridge = torch.eye(K).double() * (torch.nn.functional.softplus(core.noise.bias) + 1e-6)
        expected = torch.linalg.solve(w.T @ w + ridge, w.T @ core.items(xs[:, 0]))
    torch.testing.assert_close(state["mean"][0], expected, rtol=0, atol=1e-8)


def test_what_is_known_grows_and_is_told():
    core = make_core("kanerva", D, H)
    _, state, _ = core(torch.randn(5, 2, D), core.initial_state(2))
    told = core.inspect(state)["usage"]
    assert ((told > 0) & (told < 1)).all()
    assert (core.inspect(core(torch.randn(5, 2, D), state)[1])["usage"] > told).all()


@pytest.mark.parametrize("name", ["kanerva", "dynamic_kanerva"])
@pytest.mark.parametrize("noise", [0, -1.0, float("nan"), float("inf"), "1"])
def test_a_noise_that_is_none_is_refused(name, noise):
    with pytest.raises(ValueError, match=r"noise is .*; it must be a number above 0"):
        make_core(name, D, H, noise=noise)


@pytest.mark.parametrize("ridge", [0, -1.0, float("nan"), float("inf"), "1"])
def test_a_ridge_that_is_none_is_refused(ridge):
    with pytest.raises(ValueError, match=r"ridge is .*; it must be a number above 0"):
        make_core("dynamic_kanerva", D, H, ridge=ridge)


@pytest.mark.parametrize("name", ["kanerva", "dynamic_kanerva"])
def test_whole_numbers_and_small_ones_are_numbers_too(name):
    assert make_core(name, D, H, noise=1).noise.bias.item() == pytest.approx(np.log(np.expm1(1)))
    assert make_core("dynamic_kanerva", D, H, ridge=1).ridge == 1
    assert make_core("dynamic_kanerva", D, H, ridge=1e-3).ridge == 1e-3


@pytest.mark.parametrize(("name", "settings"), [("kanerva", {}), ("dynamic_kanerva", {"key_size": W})])
def test_large_inputs_and_long_sequences_leave_it_finite(name, settings):
    stays_finite(name, slots=K, **settings)
