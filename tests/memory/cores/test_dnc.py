"""The differentiable neural computer: its equations in their order, with and without each repair."""

from itertools import product

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import agrees, cosine, linear, lstm, sigmoid, softmax, softplus, stays_finite

N, W, R = 5, 4, 2
SMALL = {"slots": N, "width": W, "reads": R}


def slow_allocation(usage):
    usage = usage * (1 - 1e-6) + 1e-6
    allocated, product = np.zeros(len(usage)), 1.0
    for slot in np.argsort(np.round(usage / 1e-5), kind="stable"):
        allocated[slot] = (1 - usage[slot]) * product
        product *= usage[slot]
    return allocated


def slow_step(masked, erase_freed, sharpened):
    def content(memory, key, mask, beta):
        return softmax([beta * cosine(key * mask, row * mask) for row in memory])

    def sharp(way, s, direction, head):
        if s is None:
            return way
        way = way + 1e-6
        way = (way / way.max()) ** s[direction, head]
        return way / way.sum()

    def step(p, x, state):
        hidden, cell = lstm(p, "controller", np.concatenate([x, state["read"]]), state["hidden"], state["cell"])
        told = iter(linear(p, "heads", hidden))
        taken = lambda *shape: np.array([next(told) for _ in range(int(np.prod(shape)))]).reshape(shape)  # noqa: E731
        masks = sigmoid(taken(1 + R, W)) if masked else np.ones((1 + R, W))
        erase, free, allocate, write = (sigmoid(taken(size)) for size in (W, R, 1, 1))
        betas = 1 + softplus(taken(1 + R))
        s = 1 + softplus(taken(2, R)) if sharpened else None
        keys, vector, modes = taken(1 + R, W), taken(W), taken(R, 3)

        psi = np.ones(N)
        for head in range(R):
            psi *= 1 - free[head] * state["read_weights"][head]
        before = state["write_weights"]
        usage = (state["usage"] + before - state["usage"] * before) * psi
        a, c = slow_allocation(usage), content(state["memory"], keys[0], masks[0], betas[0])
        w = write * (allocate * a + (1 - allocate) * c)
        kept = (1 - np.outer(w, erase)) * (psi[:, None] if erase_freed else 1)
        memory = state["memory"] * kept + np.outer(w, vector)

        link = np.zeros((N, N))
        for i, j in product(range(N), repeat=2):
            if i != j:
                link[i, j] = (1 - w[i] - w[j]) * state["link"][i, j] + w[i] * state["precedence"][j]
        precedence = (1 - w.sum()) * state["precedence"] + w

        weights = np.zeros((R, N))
        for head in range(R):
            old, (back, by_content, on) = state["read_weights"][head], softmax(modes[head])
            weights[head] = back * sharp(link.T @ old, s, 0, head) + on * sharp(link @ old, s, 1, head)
            weights[head] += by_content * content(memory, keys[1 + head], masks[1 + head], betas[1 + head])
        read = (weights @ memory).flatten()
        after = {"hidden": hidden, "cell": cell, "memory": memory, "usage": usage, "precedence": precedence}
        after |= {"link": link, "write_weights": w, "read_weights": weights, "read": read}
        after["ages"] = (state["ages"] + 1) * (1 - w)
        return linear(p, "output", np.concatenate([hidden, read])), after

    return step


@pytest.mark.parametrize(("masked", "erase_freed", "sharpened"), list(product([False, True], repeat=3)))
def test_it_is_its_equations(masked, erase_freed, sharpened):
    repairs = {"masked": masked, "erase_freed": erase_freed, "sharpened": sharpened}
    agrees("dnc", slow_step(**repairs), **SMALL, **repairs)


def test_no_slot_comes_after_itself_and_shares_stay_shares():
    core = make_core("dnc", 3, 6, **SMALL).double()
    _, state, _ = core(3 * torch.randn(40, 2, 3).double(), core.initial_state(2))
    assert not state["link"].diagonal(dim1=1, dim2=2).any()
    for shares in (
        state["link"].sum(1),
        state["link"].sum(2),
        state["precedence"].sum(1),
        state["write_weights"].sum(1),
    ):
        assert (shares <= 1 + 1e-9).all() and (shares >= -1e-9).all()
    torch.testing.assert_close(state["read_weights"].sum(-1), torch.ones(2, R).double())
    assert (state["usage"] >= 0).all() and (state["usage"] <= 1).all()
    told = core.inspect(state)
    assert told.keys() == {"write_strength", "read_entropy", "read_age", "usage"}
    assert all(number.shape == (2,) for number in told.values())


def test_what_is_read_is_fed_back_at_every_step():
    core = make_core("dnc", 3, 6, **SMALL).double()
    state = core(torch.randn(3, 1, 3).double(), core.initial_state(1))[1]
    x = torch.randn(1, 3).double()
    other = state | {"read": state["read"] + 1}
    assert not torch.allclose(core.step(x, state)[1]["hidden"], core.step(x, other)[1]["hidden"])


def test_more_slots_may_be_given_after_training():
    core = make_core("dnc", 3, 6, **SMALL)
    core.slots = 9
    assert core(torch.randn(4, 2, 3), core.initial_state(2))[1]["link"].shape == (2, 9, 9)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_heads_are_told_lies_within_twenty(sign):
    def after(bias):
        torch.manual_seed(0)
        core = make_core("dnc", 3, 6, **SMALL).double()
        with torch.no_grad():
            core.heads.weight.zero_()
            core.heads.bias.fill_(sign * bias)
        return core(torch.randn(5, 2, 3).double(), core.initial_state(2))[1]

    assert all(torch.equal(leaf, after(1000)[name]) for name, leaf in after(20).items())
    assert not torch.equal(after(19.5)["memory"], after(20)["memory"])


def test_large_inputs_and_long_sequences_leave_it_finite():
    stays_finite("dnc", **SMALL)
