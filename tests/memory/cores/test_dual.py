"""Dual memories: their equations, by early and late fusion, and a decoder that changes nothing."""

from functools import partial

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import LSTM, SAM, make_core
from engram_rl.memory.cores.dual import CONTROLLER, part_of
from tests.memory.cores import test_sam
from tests.memory.cores.slow_steps import D, H, agrees, cosine, linear, lstm, softmax, softplus

SMALL = partial(SAM, **test_sam.SMALL)
N, W = test_sam.N, test_sam.W


def slow_step(shared, reads):
    core = test_sam.slow_step(1)

    def step(p, x, state):
        first, second = part_of(state, "first_"), part_of(state, "second_")
        told, first = core(part_of(p, "one."), x[:1], first)
        memory = {name: leaf for name, leaf in first.items() if name not in CONTROLLER}
        told_too, second = core(part_of(p, "other."), x[1:], second | memory if shared else second)
        if shared:
            first, second = first | {n: second[n] for n in memory}, {n: second[n] for n in CONTROLLER}
        seen = np.concatenate([told, told_too, state["read"]])
        hidden, cell = lstm(p, "decoder", seen, state["hidden"], state["cell"])
        heads, read = linear(p, "heads", hidden).reshape(2, reads, W + 1), []
        for told_heads, rows in zip(heads, (first["memory"], (first if shared else second)["memory"]), strict=True):
            for head in told_heads:
                beta = 1 + softplus(head[W])
                read.append(softmax(np.array([beta * cosine(np.tanh(head[:W]), row) for row in rows])) @ rows)
        read = np.concatenate(read)
        after = {f"first_{n}": leaf for n, leaf in first.items()} | {f"second_{n}": leaf for n, leaf in second.items()}
        output = linear(p, "output", np.concatenate([hidden, read]))
        return output, after | {"hidden": hidden, "cell": cell, "read": read}

    return step


@pytest.mark.parametrize("shared", [False, True])
def test_it_is_its_equations(shared):
    agrees("dual", slow_step(shared, 2), core=SMALL, first=1, shared=shared, reads=2)


@pytest.mark.parametrize("shared", [False, True])
def test_the_second_view_reaches_the_first_memory_only_where_it_is_shared(shared):
    torch.manual_seed(0)
    core = make_core("dual", D, H, core=SMALL, first=1, shared=shared)
    xs = torch.randn(3, 1, D)
    other = xs.clone()
    other[:, :, 1:] += 1
    one, two = (core(x, core.initial_state(1))[1]["first_memory"] for x in (xs, other))
    assert torch.equal(one, two) != shared


def test_what_is_remembered_once_is_not_kept_twice():
    late, early = (make_core("dual", D, H, core=SMALL, shared=shared).initial_state(1) for shared in (False, True))
    assert {"first_memory", "second_memory"} <= late.keys() and "second_memory" not in early


def test_the_second_view_may_be_one_column():
    core = make_core("dual", D, H, core=SMALL, first=D - 1)
    assert (core.one.input_size, core.other.input_size) == (D - 1, 1)
    with pytest.raises(ValueError, match="first=1 of 1 columns"):
        make_core("dual", 1, H, core=SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first": 0}, "DualMemory's first is 0"),
        ({"first": 3}, "first=3 of 3 columns leave none to the second view"),
        ({"core": LSTM}, "DualMemory wraps a core such as DNC, NTM or SAM, got LSTM"),
        ({"reads": 0}, "DualMemory's reads is 0"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        make_core("dual", D, H, **settings)
