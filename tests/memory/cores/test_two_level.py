"""Two modules at different rates: their equations, which ticks when, and what decoupling cuts and teaches."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import GRU, MNM, Lifelong, make_core
from engram_rl.memory.cores.two_level import foretold
from tests.memory.cores.slow_steps import D, H, agrees, linear, sigmoid

EVERY = 3


def gru(p, name, x, hidden):
    told = p[f"{name}.weight_ih_l0"] @ x + p[f"{name}.bias_ih_l0"]
    again = p[f"{name}.weight_hh_l0"] @ hidden + p[f"{name}.bias_hh_l0"]
    (r, z, n), (r2, z2, n2) = np.split(told, 3), np.split(again, 3)
    r, z = sigmoid(r + r2), sigmoid(z + z2)
    return (1 - z) * np.tanh(n + r * n2) + z * hidden


def slow_step(p, x, state):
    fast = gru(p, "fast.unit", np.concatenate([x, state["told"]]), state["fast_hidden"])
    tick, told = (int(state["tick"]) + 1) % EVERY, state["told"]
    if tick == 0:
        told = gru(p, "slow.unit", fast, state["slow_hidden"])
    slow = told if tick == 0 else state["slow_hidden"]
    output = linear(p, "output", np.concatenate([fast, told]))
    return output, {"fast_hidden": fast, "slow_hidden": slow, "told": told, "tick": tick}


@pytest.mark.parametrize("decoupled", [False, True])
def test_two_levels_are_their_equations(decoupled):
    agrees("two_level", slow_step, every=EVERY, decoupled=decoupled)


def test_the_gradient_of_a_message_is_what_was_guessed_and_the_guess_learns_from_the_true_one():
    message, guessed = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    weights = torch.randn(2, 3)
    passed = foretold(message, guessed)
    assert torch.equal(passed, message)
    (weights * passed).sum().backward()
    torch.testing.assert_close(message.grad, guessed)
    torch.testing.assert_close(guessed.grad, 2 * (guessed - weights))  # of |guessed - weights|^2


def test_decoupled_neither_module_hears_of_the_others_loss_until_it_is_foretold():
    """The loss is of the slow module's word alone, so that all that the fast one learns is foretold."""
    torch.manual_seed(0)
    core = make_core("two_level", D, H, every=2, decoupled=True)
    xs, wanted = torch.randn(2, 64, D), torch.randn(64, H)

    def descend():
        core.zero_grad()
        state = core(xs, core.initial_state(64))[1]
        (state["told"] * wanted).sum().backward()
        return core.fast.unit.weight_ih_l0.grad

    assert not descend().any() and core.slow.unit.weight_ih_l0.grad.any() and core.up[2].weight.grad.any()
    joined = make_core("two_level", D, H, every=2)
    joined.load_state_dict(core.state_dict(), strict=False)
    (joined(xs, joined.initial_state(64))[1]["told"] * wanted).sum().backward()
    true = joined.fast.unit.weight_ih_l0.grad
    optimiser = torch.optim.Adam(core.up.parameters(), 1e-2)
    for _ in range(100):
        descend()
        optimiser.step()
    assert torch.cosine_similarity(descend().flatten(), true.flatten(), 0) > 0.8


def test_the_slow_module_ticks_at_every_third_step_of_each_row():
    core = make_core("two_level", D, H, every=3)
    state, changed = core.initial_state(2), []
    for t in range(9):
        reset = torch.tensor([False, t == 4])
        _, after, _ = core.step(torch.randn(2, D), state, reset)
        before = core._where(reset, core.initial_state(2), state)
        changed.append((after["slow_hidden"] != before["slow_hidden"]).any(1).tolist())
        state = after
    changed = np.array(changed)
    assert changed[:, 0].nonzero()[0].tolist() == [2, 5, 8] and changed[:, 1].nonzero()[0].tolist() == [2, 6]


def test_losses_of_the_slow_core_are_a_mean_over_all_steps():
    core = make_core("two_level", D, H, slow=MNM, every=2)
    state = core.initial_state(2)
    first = core.step(torch.ones(2, D), state)
    assert first[2] == {}
    _, _, second = core.step(torch.ones(2, D), first[1])
    torch.testing.assert_close(core(torch.ones(2, 2, D), state)[2]["slow_writing"], second["slow_writing"] / 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "TwoLevel's every is 0"),
        ({"fast": Lifelong}, "whose memory ends with an episode; Lifelong's does not"),
        ({"slow": Lifelong}, "whose memory ends with an episode; Lifelong's does not"),
        ({"fast": lambda inputs, _: GRU(inputs, 2)}, "is to hear 6 numbers; fast=... puts out 2"),
    ],
)
def test_what_cannot_be_a_level_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_core("two_level", D, H, **settings)
