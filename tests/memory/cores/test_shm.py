"""The stable Hadamard memory: its equations, and draws that acting, learning and another process share."""

import numpy as np
import torch

from engram_rl.memory.cores import make_core
from engram_rl.memory.cores.shm import drawn
from tests.memory.cores.slow_steps import agrees, layer_norm, relu, sigmoid, stays_finite


def splitmix(step, rows):
    """The mixing of splitmix64 in Python's whole numbers, its remainder taken of the signed result."""
    mask = 2**64 - 1
    z = (step + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    z ^= z >> 31
    return (z - 2**64 if z >> 63 else z) % rows


def test_it_is_its_equations():
    def slow_step(p, x, state):
        e = layer_norm(p["embed.0.weight"] @ x + p["embed.0.bias"], p["embed.1.weight"], p["embed.1.bias"])
        k, q = relu(p["keys.weight"] @ e), relu(p["queries.weight"] @ e)
        k, q = k / (k.sum() + 1e-5), q / (q.sum() + 1e-5)
        written = sigmoid(p["strength.weight"] @ e) * (p["values.weight"] @ e)
        theta = p["theta"][splitmix(int(state["steps"]), 7)]
        factor = 1 + np.tanh(np.outer(theta, p["calibration.weight"] @ e))
        memory = np.clip(state["memory"] * factor + np.outer(written, k), -0.15, 0.15)
        output = p["read_out.weight"] @ np.concatenate([memory @ q, x]) + p["read_out.bias"]
        return output, {"memory": memory, "steps": state["steps"] + 1}

    agrees("shm", slow_step, memory_size=5, rows=7, limit=0.15)


def test_rows_are_drawn_evenly_and_without_a_pattern():
    rows = drawn(torch.arange(128_000), 128)
    assert rows.min() == 0 and rows.max() == 127
    counts = torch.bincount(rows, minlength=128).double()
    assert ((counts - 1000) ** 2 / 1000).sum() < 200  # chi-squared, 127 degrees of freedom: 1 in 30,000
    assert (rows[1:] == rows[:-1]).double().mean() < 0.01  # 1 / 128 by chance


def test_the_same_draws_in_every_episode_and_after_a_reload():
    core, again = make_core("shm", 2, 4), make_core("shm", 2, 4)
    xs, reset = torch.randn(5, 1, 2).repeat(2, 1, 1), torch.zeros(10, 1, dtype=torch.bool)
    reset[5] = True
    outputs, state, _ = core(xs, core.initial_state(1), reset)
    torch.testing.assert_close(outputs[5:], outputs[:5])
    again.load_state_dict(core.state_dict())
    assert torch.equal(again(xs, again.initial_state(1), reset)[0], outputs)
    assert state["steps"].tolist() == [5]


def test_it_stays_finite():
    stays_finite("shm")
