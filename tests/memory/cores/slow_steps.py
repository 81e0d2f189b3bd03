"""What the slow steps of the cores share: NumPy in float64, parameters read from the module, resets by hand."""

import numpy as np
import torch

from engram_rl.memory.cores import make_core

D, H, B, T = 3, 6, 2, 9
RESET = np.zeros((T, B), bool)
RESET[5, 1] = True


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def softplus(x):
    return np.log1p(np.exp(x))


def softmax(x):
    powers = np.exp(x - np.max(x))
    return powers / powers.sum()


def linear(p, name, x):
    return p[f"{name}.weight"] @ x + (p.get(f"{name}.bias", 0))


def lstm(p, name, x, hidden, cell):
    told = p[f"{name}.weight_ih"] @ x + p[f"{name}.bias_ih"] + p[f"{name}.weight_hh"] @ hidden + p[f"{name}.bias_hh"]
    i, f, g, o = np.split(told, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def cosine(a, b):
    return a @ b / np.sqrt((a @ a + 1e-6) * (b @ b + 1e-6))


def layer_norm(x, weight=1.0, bias=0.0):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias


def agrees(name, slow_step, length=T, **settings):
    """Both ways of a core against `slow_step(parameters, x [D], state) -> (output, state)`, row by row.

    Parameters are moved a little from where they begin, so that no term hides behind a 0.
    """
    torch.manual_seed(0)
    core = make_core(name, D, H, **settings).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    numbers = {leaf: value.detach().numpy() for leaf, value in core.named_parameters()}
    xs = torch.randn(length, B, D, dtype=torch.float64)
    reset = np.resize(RESET, (length, B))
    outputs, last, _ = core(xs, core.initial_state(B), torch.tensor(reset))
    for row in range(B):
        fresh = {leaf: part[row].detach().numpy() for leaf, part in core.initial_state(B).items()}
        state = fresh
        for t in range(length):
            output, state = slow_step(numbers, xs[t, row].numpy(), fresh if reset[t, row] else state)
            np.testing.assert_allclose(outputs[t, row].detach().numpy(), output, rtol=0, atol=1e-10)
        for leaf, part in state.items():
            np.testing.assert_allclose(last[leaf][row].detach().numpy(), part, rtol=0, atol=1e-10)
    stepped = core.initial_state(B)
    for t in range(length):
        output, stepped, _ = core.step(xs[t], stepped, torch.tensor(reset[t]))
        torch.testing.assert_close(output, outputs[t], rtol=0, atol=1e-10)


def stays_finite(name, **settings):
    """A thousand steps of inputs up to 1e4 in single precision; gradients through the last two hundred."""
    torch.manual_seed(0)
    core = make_core(name, D, H, **settings)
    for xs in (1e4 * (2 * torch.rand(1000, B, D) - 1), torch.full((1000, B, D), 1e4), torch.zeros(1000, B, D)):
        with torch.no_grad():
            first, state, _ = core(xs[:800], core.initial_state(B))
        outputs, state, _ = core(xs[800:], state)
        outputs.mean().backward()
        assert torch.isfinite(first).all() and torch.isfinite(outputs).all()
        assert all(torch.isfinite(leaf).all() for leaf in state.values())
        assert all(torch.isfinite(one.grad).all() for one in core.parameters() if one.grad is not None)
        core.zero_grad()
