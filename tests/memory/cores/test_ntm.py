"""The neural Turing machine: its equations, and that a head can walk along the tape."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import agrees, cosine, linear, lstm, sigmoid, softmax, softplus, stays_finite

N, W = 5, 4
SMALL = {"slots": N, "width": W}


def slow_step(reads, writes, reach):
    def step(p, x, state):
        hidden, cell = lstm(p, "controller", np.concatenate([x, state["read"]]), state["hidden"], state["cell"])
        told = linear(p, "heads", hidden).reshape(reads + writes, -1)
        weights = np.zeros((reads + writes, N))
        for head, row in enumerate(told):
            key, beta, gate, shift, gamma = np.split(row, np.cumsum([W, 1, 1, 2 * reach + 1]))
            content = softmax([softplus(beta[0]) * cosine(np.tanh(key), slot) for slot in state["memory"]])
            gated = sigmoid(gate) * content + (1 - sigmoid(gate)) * state["weights"][head]
            shift = softmax(shift)
            moved = np.zeros(N)
            for slot in range(N):
                for move in range(-reach, reach + 1):
                    moved[slot] += gated[(slot + move) % N] * shift[move + reach]
            powers = (moved + 1e-6) ** (1 + softplus(gamma[0]))
            weights[head] = powers / powers.sum()
        memory, kept = state["memory"].copy(), np.ones(N)
        contents = linear(p, "contents", hidden).reshape(writes, 2 * W)
        for head in range(writes):
            w = weights[reads + head]
            for slot in range(N):
                erase, add = sigmoid(contents[head, :W]), np.tanh(contents[head, W:])
                memory[slot] = memory[slot] * (1 - w[slot] * erase) + w[slot] * add
            kept *= 1 - w
        read = np.concatenate([weights[head] @ memory for head in range(reads)])
        after = {"hidden": hidden, "cell": cell, "memory": memory, "weights": weights, "read": read}
        return linear(p, "output", np.concatenate([hidden, read])), after | {"ages": (state["ages"] + 1) * kept}

    return step


@pytest.mark.parametrize(("reads", "writes", "reach"), [(1, 1, 1), (2, 2, 2)])
def test_it_is_its_equations(reads, writes, reach):
    agrees("ntm", slow_step(reads, writes, reach), reads=reads, writes=writes, reach=reach, **SMALL)


def test_weightings_are_shares():
    core = make_core("ntm", 3, 6, **SMALL).double()
    _, state, _ = core(torch.randn(20, 2, 3).double(), core.initial_state(2))
    torch.testing.assert_close(state["weights"].sum(-1), torch.ones(2, 2).double())


def test_a_head_that_is_told_to_move_walks_along_the_tape_and_around_it():
    core = make_core("ntm", 3, 6, **SMALL).double()
    with torch.no_grad():
        core.heads.weight.zero_()
        bias = core.heads.bias.view(2, -1)
        bias[:, W + 1], bias[:, -1] = -50.0, 20.0  # stay with the place, be sharp
        bias[:, W + 2] = 50.0  # from the slot before
    state, places = core.initial_state(1), []
    for _ in range(N + 1):
        _, state, _ = core.step(torch.randn(1, 3).double(), state)
        places.append(int(state["weights"][0, 0].argmax()))
    assert places == [1, 2, 3, 4, 0, 1]
    told = core.inspect(state)
    assert told["read_entropy"] < 0.01 and told["write_strength"] > 0.99 and told["read_age"] < 0.01


def test_more_slots_may_be_given_after_training():
    core = make_core("ntm", 3, 6, **SMALL)
    core.slots = 9
    assert core(torch.randn(4, 2, 3), core.initial_state(2))[1]["memory"].shape == (2, 9, W)


def test_large_inputs_and_long_sequences_leave_it_finite():
    stays_finite("ntm", **SMALL)


@pytest.mark.parametrize("reach", [1, 2])
def test_heads_begin_as_those_of_a_tape_do(reach):
    core = make_core("ntm", 3, 8, slots=16, width=4, reads=2, reach=reach)
    state = core.initial_state(1)
    for _ in range(5):
        _, state, _ = core.step(torch.zeros(1, 3), state)
    assert state["weights"].argmax(-1).tolist() == [[5, 5, 5]]


def test_a_head_reaches_no_farther_than_around_the_tape():
    core = make_core("ntm", 3, 4, slots=2, reach=2)
    assert core(torch.randn(3, 2, 3), core.initial_state(2))[0].isfinite().all()
    with pytest.raises(ValueError, match="reach=3 goes beyond all of slots=2"):
        make_core("ntm", 3, 4, slots=2, reach=3)
