"""The gated TransformerXL: its equations, its window, and gates that let the input pass at first."""

import numpy as np
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import H, agrees, layer_norm, linear, relu, sigmoid, softmax, stays_finite

N, HEADS = 3, 2
SMALL = {"window": N, "heads": HEADS}


def norm(p, name, x):
    return layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"])


def gate(p, name, x, y):
    told, kept = np.split(p[f"{name}.told.weight"] @ y, 3), np.split(p[f"{name}.kept.weight"] @ x, 2)
    r, z = sigmoid(told[0] + kept[0]), sigmoid(told[1] + kept[1] - p[f"{name}.bias"])
    return (1 - z) * x + z * np.tanh(told[2] + p[f"{name}.candidate.weight"] @ (r * x))


def sinusoid(age):
    rates = 10_000.0 ** (-np.arange(0, H, 2) / H)
    return np.concatenate([np.sin(age * rates), np.cos(age * rates)])[:H]


def attention(p, name, now, others):
    """What `now` reads of pairs of an entry and its age."""
    read, size = [], H // HEADS
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        query = (p[f"{name}.query.weight"] @ now)[part]
        scores, values = [], []
        for entry, age in others:
            by_content = (query + p[f"{name}.by_content"][head, 0]) @ (p[f"{name}.key.weight"] @ entry)[part]
            by_age = (query + p[f"{name}.by_age"][head, 0]) @ (p[f"{name}.age.weight"] @ sinusoid(age))[part]
            scores.append((by_content + by_age) / np.sqrt(size))
            values.append((p[f"{name}.value.weight"] @ entry)[part])
        read.append(softmax(scores) @ np.array(values))
    return p[f"{name}.output.weight"] @ np.concatenate(read)


def layer(p, name, e, others):
    others = [(norm(p, f"{name}.norm", entry), age) for entry, age in [*others, (e, 0)]]
    inner = gate(p, f"{name}.gate", e, relu(attention(p, f"{name}.attention", others[-1][0], others)))
    hidden = relu(linear(p, f"{name}.first", norm(p, f"{name}.norm_inner", inner)))
    return gate(p, f"{name}.gate_inner", inner, relu(linear(p, f"{name}.second", hidden)))


def slow_step(p, x, state):
    e, windows = linear(p, "embedding", x), []
    for level, window in enumerate(state["window"]):
        windows.append(np.concatenate([window[1:], [e]]))
        e = layer(p, f"layers.{level}", e, [(window[N - age], age) for age in range(1, state["count"] + 1)])
    return e, {"window": np.array(windows), "count": min(state["count"] + 1, N)}


def test_it_is_its_equations():
    agrees("gtrxl", slow_step, **SMALL)


def test_each_layer_reaches_back_by_one_window_and_no_further():
    core = make_core("gtrxl", 3, 8, window=3, layers=2).double()
    xs = torch.randn(12, 1, 3).double().requires_grad_()
    core(xs, core.initial_state(1))[0][-1].sum().backward()
    reached = xs.grad.abs().sum((1, 2)) > 0
    assert reached.tolist() == [False] * 5 + [True] * 7  # itself, and 2 layers of 3 steps


def test_at_first_the_gates_pass_most_of_the_input():
    core = make_core("gtrxl", 8, 32)
    xs = torch.randn(20, 4, 8)
    embedded = core.embedding(xs)
    similar = torch.nn.functional.cosine_similarity(core(xs, core.initial_state(4))[0], embedded, -1)
    assert similar.mean() > 0.7


def test_it_tells_how_full_its_window_is():
    core = make_core("gtrxl", 3, 8, window=4)
    state = core(torch.randn(3, 2, 3), core.initial_state(2))[1]
    assert core.inspect(state)["usage"].tolist() == [0.75, 0.75]


def test_large_inputs_and_long_sequences_leave_it_finite():
    stays_finite("gtrxl", **SMALL)


def test_gates_begin_as_closed_as_in_the_paper_and_every_part_of_a_weight_as_large_as_if_it_were_alone():
    layer = make_core("gtrxl", 5, 48).layers[0]
    gates = [module for module in layer.modules() if hasattr(module, "candidate")]
    assert len(gates) == 2
    for one in gates:
        assert one.bias.tolist() == [2.0] * 48
        for weight in (*one.told.weight.chunk(3), *one.kept.weight.chunk(2), one.candidate.weight):
            assert 0.9 * (6 / 96) ** 0.5 < weight.abs().max() <= (6 / 96) ** 0.5  # Glorot and Bengio 2010


def test_its_attention_reads_this_episode_alone_and_is_what_the_output_was_made_of():
    torch.manual_seed(0)
    core = make_core("gtrxl", 3, 8, window=4, layers=2, heads=2).double()
    xs, reset = torch.randn(7, 2, 3).double(), torch.zeros(7, 2, dtype=torch.bool)
    reset[3, 1] = True
    read = core.attention(xs, core.initial_state(2), reset)
    assert read.shape == (7, 2, 4, 5)
    torch.testing.assert_close(read.sum(-1), torch.ones(7, 2, 4).double())
    ages = torch.arange(5)
    for t in range(7):
        for b, begins in ((0, 0), (1, 3 if t >= 3 else 0)):
            assert (read[t, b][:, ages > t - begins] == 0).all() and (read[t, b][:, ages <= t - begins] > 0).all()
    layer, window = core.layers[0], core.embedding(xs[:5, 0])  # the first five steps of the first row
    normed = layer.norm(window)
    heads = [read[4, 0, h].flip(-1) @ layer.attention.value(normed)[:, 4 * h : 4 * h + 4] for h in range(2)]
    expected = layer.attention.output(torch.cat(heads))
    outside = torch.zeros(1, 1, 5, dtype=torch.bool)
    torch.testing.assert_close(layer.attention(normed[None, -1:], normed[None], outside)[0, 0], expected)
