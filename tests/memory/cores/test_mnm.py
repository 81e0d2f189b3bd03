"""Metalearned neural memory: its equations, and that what is written at full rate is what is read."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from engram_rl.memory.cores.mnm import activities
from tests.memory.cores.slow_steps import D, H, agrees, linear, lstm, sigmoid, stays_finite

W, LAYERS = 4, 3


def net(weights, key):
    active = [key]
    for layer in weights:
        active.append(np.tanh(layer @ active[-1]))
    return active


def slow_gradient(weights, key, value):
    """Of |f(k) - v|^2, weight by weight, from differences."""
    found, small = np.zeros_like(weights), 1e-6
    for at in np.ndindex(weights.shape):
        ends = []
        for side in (1, -1):
            moved = weights.copy()
            moved[at] += side * small
            ends.append(((net(moved, key)[-1] - value) ** 2).sum())
        found[at] = (ends[0] - ends[1]) / (2 * small)
    return found


def slow_step(heads, rule):
    def step(p, x, state):
        hidden, cell = lstm(p, "controller", np.concatenate([x, state["read"]]), state["hidden"], state["cell"])
        pairs = np.tanh(linear(p, "pairs", hidden)).reshape(heads, 3, W)
        rates, moves = sigmoid(linear(p, "rates", hidden)), np.zeros((LAYERS, W, W))
        for key, value, _ in pairs:
            if rule == "gradient":
                moves += slow_gradient(state["weights"], key, value) / 2
                continue
            active = net(state["weights"], key)
            targets = [*(np.tanh(linear(p, f"feedback.{layer}", value)) for layer in range(LAYERS - 1)), value]
            for layer in range(LAYERS):
                moves[layer] += np.outer(active[layer + 1] - targets[layer], active[layer])
        weights = state["weights"] - 2 / (heads * W) * rates[:, None, None] * moves
        read = np.concatenate([net(weights, query)[-1] for _, _, query in pairs])
        after = {"hidden": hidden, "cell": cell, "read": read, "weights": weights}
        return linear(p, "output", np.concatenate([hidden, read])), after

    return step


@pytest.mark.parametrize("heads", [1, 2])
def test_targets_are_its_equations(heads):
    agrees("mnm", slow_step(heads, "targets"), width=W, layers=LAYERS, heads=heads)


def test_its_gradient_form_descends_the_error():
    torch.manual_seed(0)
    core = make_core("mnm", D, H, width=W, layers=LAYERS, heads=2, rule="gradient").double()
    xs, state = torch.randn(6, 1, D).double(), core.initial_state(1)
    slow = {leaf: part[0].detach().numpy() for leaf, part in state.items()}
    numbers = {leaf: value.detach().numpy() for leaf, value in core.named_parameters()}
    step = slow_step(2, "gradient")
    for x in xs:
        output, state, _ = core.step(x.unsqueeze(0) if x.dim() == 1 else x, state)
        expected, slow = step(numbers, x[0].numpy(), slow)
        np.testing.assert_allclose(output[0].detach().numpy(), expected, atol=1e-7)
        np.testing.assert_allclose(state["weights"][0].detach().numpy(), slow["weights"], atol=1e-7)


@pytest.mark.parametrize("rule", ["targets", "gradient"])
def test_writing_again_and_again_is_learning(rule):
    torch.manual_seed(0)
    core = make_core("mnm", D, H, width=16, rule=rule).double()
    key, value = torch.randn(2, 1, 1, 16).double().tanh().unbind(0)
    weights, missed = core.initial_state(1)["weights"], []
    for _ in range(40):
        weights = core._write(weights, key, value, torch.ones(1, 3).double())
        missed.append(float((activities(weights, key)[-1] - value).detach().square().mean()))
    assert missed[-1] < 0.1 * missed[0]


def test_its_loss_is_what_was_written_and_not_what_was_read():
    core = make_core("mnm", D, H, width=W).double()
    _, state, losses = core.step(torch.randn(2, D).double(), core.initial_state(2))
    key, value, _ = core.pairs(state["hidden"]).tanh().unflatten(1, (1, 3, W)).unbind(2)
    torch.testing.assert_close(losses["writing"], (activities(state["weights"], key)[-1] - value).square().mean())


def test_its_loss_does_not_reward_values_that_say_nothing():
    """At a rate of 0 nothing is written, so the value is a target alone."""
    core = make_core("mnm", D, H, width=W, heads=1)
    with torch.no_grad():
        core.rates.bias.fill_(-200.0)
    core.step(torch.randn(2, D), core.initial_state(2))[2]["writing"].backward()
    key, value, _ = core.pairs.weight.grad.split(W)
    assert key.any() and not value.any()


def test_an_unknown_rule_is_named_with_its_neighbours():
    with pytest.raises(ValueError, match="did you mean 'targets'"):
        make_core("mnm", D, H, rule="target")


@pytest.mark.parametrize("rule", ["targets", "gradient"])
def test_large_inputs_and_long_sequences_leave_it_finite(rule):
    stays_finite("mnm", width=W, rule=rule)
