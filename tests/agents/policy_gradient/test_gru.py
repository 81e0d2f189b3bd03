"""The recurrent core against its equations, step by step in float64."""

import pytest
import torch

from engram_rl.agents.policy_gradient.gru import ResettingGRU


def slow_unroll(core, inputs, state, starts):
    """Cho et al. (2014), as PyTorch orders the gates: reset, update, new."""
    weights = {name: parameter.double() for name, parameter in core._gru.named_parameters()}
    outputs = []
    state = state.double()
    for x, begins in zip(inputs.double(), starts, strict=True):
        rows = []
        for b in range(len(x)):
            h = torch.zeros_like(state[b]) if begins[b] else state[b]
            a = weights["weight_ih_l0"] @ x[b] + weights["bias_ih_l0"]
            c = weights["weight_hh_l0"] @ h + weights["bias_hh_l0"]
            (ar, az, an), (cr, cz, cn) = a.chunk(3), c.chunk(3)
            r, z = torch.sigmoid(ar + cr), torch.sigmoid(az + cz)
            rows.append((1 - z) * torch.tanh(an + r * cn) + z * h)
        state = torch.stack(rows)
        outputs.append(state)
    return torch.stack(outputs), state


def case(steps=9, rows=3, seed=0):
    torch.manual_seed(seed)
    core = ResettingGRU(4, 5)
    for parameter in core.parameters():
        torch.nn.init.normal_(parameter)
    return core, torch.randn(steps, rows, 4), torch.randn(rows, 5)


STARTS = {
    "nothing begins": [],
    "at the first step": [(0, 0), (0, 2)],
    "in the middle, in one row": [(4, 1)],
    "in several rows at once": [(3, 0), (3, 2)],
    "at every step": [(t, b) for t in range(9) for b in range(3)],
    "at the last step": [(8, 1)],
}


@pytest.mark.parametrize("where", STARTS.values(), ids=STARTS)
def test_it_is_the_equations_with_the_state_emptied_where_an_episode_begins(where):
    core, inputs, state = case()
    starts = torch.zeros(9, 3, dtype=torch.bool)
    for at in where:
        starts[at] = True
    output, last = core(inputs, state, starts)
    expected, expected_last = slow_unroll(core, inputs, state, starts)
    torch.testing.assert_close(output.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last.double(), expected_last, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_equations_and_do_not_cross_a_beginning():
    core, inputs, state = case()
    starts = torch.zeros(9, 3, dtype=torch.bool)
    starts[4, 1] = True
    inputs.requires_grad_()
    output, _ = core(inputs, state, starts)
    (gradient,) = torch.autograd.grad(output[-1].square().sum(), inputs)
    expected, _ = slow_unroll(core, inputs, state, starts)
    (slow,) = torch.autograd.grad(expected[-1].square().sum(), inputs)
    torch.testing.assert_close(gradient, slow, rtol=1e-3, atol=1e-6)
    assert (gradient[:4, 1] == 0).all() and (gradient[:4, 0] != 0).all()


def test_step_by_step_is_the_same_as_all_at_once():
    core, inputs, state = case()
    starts = torch.rand(9, 3, generator=torch.Generator().manual_seed(1)) < 0.3
    together, last = core(inputs, state, starts)
    for t in range(9):
        output, state = core(inputs[t : t + 1], state, starts[t : t + 1])
        torch.testing.assert_close(output[0], together[t])
    torch.testing.assert_close(state, last)
