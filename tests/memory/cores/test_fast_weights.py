"""Ba's fast weights: the equations, and a matrix that is the decayed sum of past hidden states."""

import numpy as np
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import agrees, layer_norm, relu, stays_finite


def test_it_is_its_equations():
    def slow_step(p, x, state):
        h = state["hidden"]
        A = 0.9 * state["fast"] + 0.3 * np.outer(h, h)
        driven = p["slow.weight"] @ h + p["inputs.weight"] @ x + p["inputs.bias"]
        h = relu(layer_norm(driven, p["norm.weight"], p["norm.bias"]))
        for _ in range(2):
            h = relu(layer_norm(driven + A @ h, p["norm.weight"], p["norm.bias"]))
        return h, {"hidden": h, "fast": A}

    agrees("fast_weights", slow_step, decay=0.9, rate=0.3, steps=2)


def test_the_matrix_is_attention_to_the_recent_past():
    core = make_core("fast_weights", 2, 5).double()
    outputs, state, _ = core(torch.randn(6, 1, 2).double(), core.initial_state(1))
    h = outputs[:, 0]
    expected = sum(0.5 * 0.95 ** (4 - t) * torch.outer(h[t], h[t]) for t in range(5))
    torch.testing.assert_close(state["fast"][0], expected)


def test_it_stays_finite():
    stays_finite("fast_weights")
