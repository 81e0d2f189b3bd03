"""Sparse access memory: its equations, and that a step touches few rows."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from engram_rl.memory.cores.sam import least_recent
from tests.memory.cores.slow_steps import agrees, cosine, linear, lstm, sigmoid, softmax, softplus, stays_finite

N, W, K = 9, 4, 3
SMALL = {"slots": N, "width": W, "k": K}


def slow_step(reads):
    def step(p, x, state):
        hidden, cell = lstm(p, "controller", np.concatenate([x, state["read"]]), state["hidden"], state["cell"])
        add, gates, heads = np.split(linear(p, "heads", hidden), [W, W + 2])
        alpha, gamma = sigmoid(gates)
        oldest = int(np.argmax(state["idle"]))
        w = np.zeros(N)
        for rows, weights in zip(state["rows"], state["weights"], strict=True):
            for row, weight in zip(rows, weights, strict=True):
                w[row] += alpha * gamma * weight / reads
        w[oldest] += alpha * (1 - gamma)
        memory = state["memory"].copy()
        memory[oldest] = 0
        memory += np.outer(w, np.tanh(add))
        rows, weights, read, touched = [], [], [], w.copy()
        for head in heads.reshape(reads, W + 1):
            like = np.array([cosine(np.tanh(head[:W]), row) for row in memory])
            nearest = torch.tensor(like)[None].topk(K).indices[0].numpy()  # slots of zeros tie, as torch will have it
            shares = softmax((1 + softplus(head[W])) * like[nearest])
            rows.append(nearest)
            weights.append(shares)
            read.append(shares @ memory[nearest])
            touched[nearest] += shares
        after = {"hidden": hidden, "cell": cell, "memory": memory, "rows": np.array(rows), "read": np.concatenate(read)}
        after |= {
            "weights": np.array(weights),
            "written": w.sum(),
            "idle": np.where(touched > 0.005, 0, state["idle"] + 1),
        }
        after["ages"] = np.where(w > 0.005, 0, state["ages"] + 1)
        return linear(p, "output", np.concatenate([hidden, after["read"]])), after

    return step


@pytest.mark.parametrize("reads", [1, 2])
def test_it_is_its_equations(reads):
    agrees("sam", slow_step(reads), reads=reads, **SMALL)


def test_gradients_reach_the_rows_that_were_read_and_no_others():
    core = make_core("sam", 3, 6, **SMALL).double()
    memory = torch.randn(2, N, W, dtype=torch.float64, requires_grad=True)
    state = core.initial_state(2)
    output, after, _ = core.step(torch.randn(2, 3).double(), state | {"memory": memory})
    output.square().sum().backward()
    touched = torch.zeros(2, N).scatter(1, after["rows"][:, 0], 1.0).bool()
    touched &= torch.arange(N) != least_recent(state["idle"])  # that one was set to 0 before
    assert torch.equal(memory.grad.abs().sum(-1) > 0, touched)


def test_the_slot_that_nobody_used_for_longest_is_the_next_to_be_written():
    assert least_recent(torch.tensor([[3, 7, 7, 1], [0, 0, 0, 0]])).tolist() == [[1], [0]]
    core = make_core("sam", 3, 6, **SMALL)
    with torch.no_grad():
        core.heads.weight.zero_()
        core.heads.bias[W : W + 2] = torch.tensor([20.0, -20.0])  # write, and to the unused
        core.heads.bias[:W] = 1.0
    state = core.initial_state(1)
    for step in range(4):
        _, state, _ = core.step(torch.randn(1, 3), state)
        assert state["ages"][0].argmin() == step or state["memory"][0, step].any()
    assert core.inspect(state)["write_strength"] == pytest.approx(1)


def test_only_so_many_rows_can_be_read_as_there_are():
    with pytest.raises(ValueError, match="k=4 most similar of slots=3"):
        make_core("sam", 3, 6, slots=3)
    assert make_core("sam", 3, 6, slots=4).k == 4


def test_more_slots_may_be_given_after_training():
    core = make_core("sam", 3, 6, **SMALL)
    core.slots = 20
    assert core(torch.randn(4, 2, 3), core.initial_state(2))[1]["memory"].shape == (2, 20, W)


def test_large_inputs_and_long_sequences_leave_it_finite():
    stays_finite("sam", **SMALL)
