"""IndRNN: each unit remembers itself alone, and never more than doubles over its horizon."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import agrees, relu, stays_finite


def test_it_is_its_equation():
    def slow_step(p, x, state):
        hidden = []
        for i in range(3):
            u = np.clip(p[f"recurrent.{i}"], -(2 ** (1 / 4)), 2 ** (1 / 4))
            x = relu(p[f"inputs.{i}.weight"] @ x + u * state["hidden"][i] + p[f"inputs.{i}.bias"])
            hidden.append(x)
        return x, {"hidden": np.array(hidden)}

    agrees("indrnn", slow_step, layers=3, horizon=4)


def test_a_weight_beyond_the_bound_counts_as_the_bound_and_can_come_back():
    core = make_core("indrnn", 1, 1, layers=1, horizon=10)
    with torch.no_grad():
        core.recurrent[0].fill_(3.0)
        core.inputs[0].weight.fill_(1.0)
    outputs, _, _ = core(torch.eye(11)[0].reshape(11, 1, 1), core.initial_state(1))
    assert outputs[-1].item() == pytest.approx(2.0, rel=1e-5)
    outputs.sum().backward()
    assert core.recurrent[0].item() == 3.0
    assert core.recurrent[0].grad > 0


def test_it_stays_finite():
    stays_finite("indrnn")
