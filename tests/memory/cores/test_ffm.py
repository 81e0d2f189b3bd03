"""Fast and forgetful memory: its equations, with no longest sequence."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import H, agrees, layer_norm, sigmoid, stays_finite


def slow_step(p, x, state):
    mapped = p["inputs.weight"] @ x + p["inputs.bias"]
    written = mapped[:5] * sigmoid(mapped[5:])
    sums = state["sums"][0] + 1j * state["sums"][1]
    for j in range(5):
        for k in range(3):
            gamma = np.exp(-abs(p["alpha"][j])) * np.exp(-1j * p["omega"][k])
            sums[j, k] = gamma * sums[j, k] + written[j]
    sums = np.array([sums.real, sums.imag])
    bypass = p["bypass.weight"] @ x + p["bypass.bias"]
    gate, around = sigmoid(bypass[:H]), bypass[H:]
    read = layer_norm(p["read.weight"] @ sums.flatten() + p["read.bias"])
    return gate * read + (1 - gate) * around, {"sums": sums}


def test_it_is_its_equations():
    agrees("ffm", slow_step, traces=5, contexts=3)


def test_chunks_are_joined():
    agrees("ffm", slow_step, length=75, traces=5, contexts=3, horizon=10)


def test_what_was_written_fades_and_turns_at_the_rates_that_the_parameters_say():
    core = make_core("ffm", 1, 4, traces=1, contexts=1, horizon=8).double()
    with torch.no_grad():
        core.alpha.fill_(-0.25)  # its size counts
        core.omega.fill_(torch.pi / 2)
    core.inputs.bias.data.zero_()
    xs = torch.eye(5)[0].reshape(5, 1, 1).double()
    sums = core(xs, core.initial_state(1))[1]["sums"].flatten()  # four quarter turns on
    written = core._written(xs[0]).item()
    torch.testing.assert_close(sums.tolist(), [written * np.exp(-1.0), 0.0], atol=1e-12, rtol=1e-12)
    assert core.alpha.item() == -0.25


def test_its_traces_and_contexts_are_spread_from_short_to_the_horizon():
    core = make_core("ffm", 1, 4, traces=3, contexts=4, horizon=10)
    steps = torch.tensor([1.0, 4.0, 7.0, 10.0])
    torch.testing.assert_close(core.omega * steps, torch.full((4,), 2 * torch.pi))  # one turn in so many steps
    torch.testing.assert_close(torch.exp(-core.alpha[[0, 2]] * torch.tensor([7.0, 10.0])), torch.full((2,), 0.01))
    assert core.alpha[1].item() == pytest.approx((core.alpha[0] + core.alpha[2]).item() / 2)
    short = make_core("ffm", 1, 4, traces=2, contexts=1, horizon=5)
    torch.testing.assert_close(torch.exp(-short.alpha * 5), torch.full((2,), 0.01))


def test_it_stays_finite():
    stays_finite("ffm")
