"""The delta rule, plain and gated: the equations a step at a time, and exact writes."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import H, agrees, sigmoid, stays_finite


def unit(x):
    x = x * sigmoid(x)
    return x / np.linalg.norm(x)


def slow_step(heads, gated):
    def linear(p, name, x):
        return p[f"{name}.weight"] @ x + p[f"{name}.bias"]

    def step(p, x, state):
        keys, queries = linear(p, "keys", x).reshape(heads, -1), linear(p, "queries", x).reshape(heads, -1)
        values, beta = linear(p, "values", x).reshape(heads, -1), sigmoid(linear(p, "strength", x))
        fast, read = [], []
        for n in range(heads):
            S, k, v, b = state["fast"][n], unit(keys[n]), values[n], beta[n]
            if gated:
                a, b = sigmoid(linear(p, "stays", x))[n], 2 * b
                S = a * S @ (np.eye(len(k)) - b * np.outer(k, k)) + b * np.outer(v, k)
            else:
                S = S + b * np.outer(v - S @ k, k)
            fast.append(S)
            read.append(S @ unit(queries[n]))
        return linear(p, "read_out", np.concatenate([*read, x])), {"fast": np.array(fast)}

    return step


@pytest.mark.parametrize("name", ["delta", "gated_delta"])
@pytest.mark.parametrize(("heads", "key_size", "length"), [(1, None, 9), (2, 5, 9), (1, None, 140)])
def test_it_is_its_equations(name, heads, key_size, length):
    agrees(name, slow_step(heads, name == "gated_delta"), length, heads=heads, key_size=key_size)


def test_a_full_write_is_exact_and_replaces_what_the_key_had():
    core = make_core("delta", 4, H).double()
    with torch.no_grad():
        core.strength.weight.zero_()
        core.strength.bias.fill_(50.0)  # beta = 1
    state = core.initial_state(1)
    for seed in range(5):
        x = torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)).double()
        _, state, _ = core.step(x, state)
        k, _, v, _ = core._written(x)
        torch.testing.assert_close(state["fast"] @ k.unsqueeze(-1), v.unsqueeze(-1))


def test_an_input_that_writes_nothing_changes_nothing():
    core = make_core("delta", 4, H)
    with torch.no_grad():
        core.strength.weight.zero_()
        core.strength.bias.fill_(-200.0)  # beta = 0
    state = {"fast": torch.randn(2, 1, H, H)}
    _, after, _ = core(torch.randn(100, 2, 4), state)
    assert torch.equal(after["fast"], state["fast"])


def test_the_gated_one_forgets_at_will():
    core = make_core("gated_delta", 4, H)
    with torch.no_grad():
        core.strength.bias.fill_(-200.0)
        core.strength.weight.zero_()
        core.stays.weight.zero_()
        core.stays.bias.zero_()  # alpha = 1/2
    state = {"fast": torch.randn(2, 1, H, H)}
    _, after, _ = core(torch.randn(3, 2, 4), state)
    torch.testing.assert_close(after["fast"], state["fast"] / 8)


def test_heads_must_divide_the_hidden_size():
    with pytest.raises(ValueError, match="does not divide into heads=4"):
        make_core("delta", 3, 6, heads=4)


@pytest.mark.parametrize("name", ["delta", "gated_delta"])
def test_it_stays_finite(name):
    stays_finite(name)
