"""The compressive transformer: its equations, what leaves and when, and whom the loss of compression teaches."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import agrees, layer_norm, linear, softmax, stays_finite
from tests.memory.cores.test_gtrxl import HEADS, layer

N, C, RATE, LEAVING = 4, 2, 2, 2
SMALL = {"window": N, "compressed": C, "compression": RATE, "leaving": LEAVING, "heads": HEADS}


def convolve(p, name, rows):
    """`[S, H]` -> `[S / c, H]`"""
    blocks = rows.reshape(-1, RATE, rows.shape[1])
    return np.einsum("oik,bki->bo", p[f"{name}.weight"], blocks) + p[f"{name}.bias"]


def slow_step(p, x, state):
    e, windows, compressed = linear(p, "embedding", x), [], []
    count, entries = int(state["count"]), int(state["entries"])
    for level, window in enumerate(state["window"]):
        recent = [(window[N - age], age) for age in range(1, count + 1)]
        mean = N - (LEAVING - 1) / 2 + (RATE + 1) / 2
        older = [(state["compressed"][level][C - 1 - i], mean + RATE * i) for i in range(entries)]
        windows.append(np.concatenate([window[1:], [e]]))
        kept = state["compressed"][level]
        if count == N:
            kept = np.concatenate([kept[1:], convolve(p, f"compressors.{level}", window[:LEAVING])])
        compressed.append(kept)
        e = layer(p, f"layers.{level}", e, recent + older)
    after = {"window": np.array(windows), "compressed": np.array(compressed)}
    full = count == N
    after["count"] = count - LEAVING * full + 1
    return e, after | {"entries": min(entries + full, C)}


def test_it_is_its_equations():
    agrees("compressive", slow_step, length=14, **SMALL)


def test_the_loss_is_what_attention_loses_by_compression_and_reaches_the_compressors_alone():
    torch.manual_seed(0)
    core = make_core("compressive", 3, 6, **SMALL).double()
    xs = torch.randn(N + 1, 1, 3).double().requires_grad_()
    _, state, losses = core(xs, core.initial_state(1))
    losses["compression"].backward()
    assert xs.grad is None or not xs.grad.any()
    reached = {name for name, p in core.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {f"compressors.{level}.{kind}" for level in (0, 1) for kind in ("weight", "bias")}

    p = {name: value.detach().numpy() for name, value in core.named_parameters()}
    _, full, _ = core(xs[:N], core.initial_state(1))
    expected = 0.0
    for level in range(2):
        stored = [part[0, level].detach().numpy() for part in (full["window"], state["window"])]
        old, queries = stored[0][:LEAVING], np.concatenate([stored[0][LEAVING:], stored[1][-1:]])
        short = convolve(p, f"compressors.{level}", old)
        wanted, got = (content(p, f"layers.{level}", queries, rows) for rows in (old, short))
        expected += np.square(wanted - got).mean()
    assert losses["compression"].item() == pytest.approx(expected / (N + 1), abs=1e-12)  # a mean over the steps


def content(p, name, queries, rows):
    normed = [
        [layer_norm(x, p[f"{name}.norm.weight"], p[f"{name}.norm.bias"]) for x in part] for part in (queries, rows)
    ]
    query, key, value = (
        np.array(part) @ p[f"{name}.attention.{kind}.weight"].T
        for kind, part in (("query", normed[0]), ("key", normed[1]), ("value", normed[1]))
    )
    size = query.shape[1] // HEADS
    parts = [slice(head * size, (head + 1) * size) for head in range(HEADS)]
    return np.array([[softmax(q @ key[:, h].T / np.sqrt(size)) @ value[:, h] for q in query[:, h]] for h in parts])


def test_it_reaches_back_beyond_its_window():
    core = make_core("compressive", 3, 6, layers=1, **SMALL).double()
    xs = torch.randn(9, 1, 3).double().requires_grad_()
    core(xs, core.initial_state(1))[0][-1].sum().backward()
    assert (xs.grad.abs().sum((1, 2)) > 0).tolist() == [True] * 9  # 2 or more in the window, 2 times 2 compressed
    assert [core.inspect(core(xs[:t], core.initial_state(1))[1])["usage"] for t in (4, 5, 9)] == [0, 0.5, 1]


@pytest.mark.parametrize("wrong", [{"leaving": 3}, {"leaving": 6}, {"leaving": 4, "compressed": 1}])
def test_what_leaves_must_fit(wrong):
    with pytest.raises(ValueError, match=f"leaving={wrong['leaving']} steps at once; that must be a multiple"):
        make_core("compressive", 3, 6, **SMALL | wrong)


def test_large_inputs_and_long_sequences_leave_it_finite():
    stays_finite("compressive", **SMALL)
