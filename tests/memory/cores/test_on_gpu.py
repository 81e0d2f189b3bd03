"""Every core on an NVIDIA GPU answers, carries on and learns as on the processor."""

import pytest
import torch

from engram_rl.memory.cores import CORES, make_core
from tests.memory.cores.test_contract import ALL, B, begun, inputs, made, resets

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]

DOUBLE = torch.float64


TIES = {"sam"}
"""Cores that look up the best rows: of equally good ones another device may take others."""


def there(tensors):
    return {name: leaf.detach().cuda() for name, leaf in tensors.items()}


def close(actual, expected):
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-7, atol=1e-8)


@ALL
def test_outputs_states_losses_and_gradients_are_those_of_the_processor(name):
    if TIES & set(name.split()):
        pytest.skip("of rows that are equally good another device may take others")
    core, xs, reset = made(name, DOUBLE), inputs(dtype=DOUBLE), resets()
    twin, before = made(name, DOUBLE).cuda(), begun(core)
    outputs, state, losses = core(xs, {leaf: part.detach() for leaf, part in before.items()}, reset)
    found, after, told = twin(xs.cuda(), there(before), reset.cuda())
    close(found, outputs)
    assert all(leaf.is_cuda for leaf in after.values())
    for leaf, part in state.items():
        close(after[leaf], part)
    for loss, number in losses.items():
        close(told[loss], number)
    (outputs.square().sum() + sum(losses.values())).backward()
    (found.square().sum() + sum(told.values())).backward()
    for (of, parameter), other in zip(core.named_parameters(), twin.parameters(), strict=True):
        assert (parameter.grad is None) == (other.grad is None), of
        if parameter.grad is not None:
            close(other.grad, parameter.grad)


@ALL
def test_a_step_there_is_a_step_of_the_sequence(name):
    core, xs, reset = made(name).cuda(), inputs().cuda(), resets().cuda()
    outputs, last, _ = core(xs, core.initial_state(B), reset)
    state = core.initial_state(B)
    assert all(leaf.is_cuda for leaf in state.values())
    for t, x in enumerate(xs):
        output, state, _ = core.step(x, state, reset[t])
        torch.testing.assert_close(output, outputs[t], rtol=1e-4, atol=1e-5)
    assert {leaf: part.shape for leaf, part in state.items()} == {leaf: part.shape for leaf, part in last.items()}
    assert all(number.is_cuda for number in core.inspect(state).values())


@pytest.mark.parametrize("name", CORES)
def test_its_defaults_work_there(name):
    core = make_core(name, 16, 32).cuda()
    outputs, state, losses = core(torch.randn(3, B, 16, device="cuda"), core.initial_state(B))
    (outputs.sum() + sum(losses.values())).backward()
    assert outputs.is_cuda and outputs.isfinite().all() and all(leaf.is_cuda for leaf in state.values())
