"""minGRU: its equations, with a hidden state that is given."""

import numpy as np
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import H, agrees, sigmoid, stays_finite


def test_it_is_its_equations():
    def slow_step(p, x, state):
        hidden = []
        for i in range(2):
            mapped = p[f"maps.{i}.weight"] @ x + p[f"maps.{i}.bias"]
            z, candidate = sigmoid(mapped[:H]), mapped[H:]
            x = (1 - z) * state["hidden"][i] + z * candidate
            hidden.append(x)
        return x, {"hidden": np.array(hidden)}

    agrees("min_gru", slow_step)


def test_a_reset_holds_from_the_step_that_it_names():
    core = make_core("min_gru", 2, 4)
    xs, reset = torch.randn(6, 1, 2), torch.zeros(6, 1, dtype=torch.bool)
    reset[3] = True
    fresh, _, _ = core.step(xs[3], core.initial_state(1))
    torch.testing.assert_close(core(xs, core.initial_state(1), reset)[0][3], fresh)


def test_it_stays_finite():
    stays_finite("min_gru")
