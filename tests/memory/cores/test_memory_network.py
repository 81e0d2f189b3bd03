"""The end-to-end memory network: its equations, and what it tells of what it reads."""

import numpy as np
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import agrees, linear, softmax, stays_finite

N, K = 4, 2


def slow_step(p, x, state):
    entries = np.concatenate([state["entries"][1:], [x]])
    count = min(state["count"] + 1, N)
    u = linear(p, "question", x)
    for hop in range(K):
        asked, told = [], []
        for age in range(count):
            entry = entries[N - 1 - age]
            asked.append(u @ (entry @ p["embeddings"][hop] + p["times"][hop, age]))
            told.append(entry @ p["embeddings"][hop + 1] + p["times"][hop + 1, age])
        u = u + softmax(asked) @ np.array(told)
    return linear(p, "output", u), {"entries": entries, "count": count}


def test_it_is_its_equations():
    agrees("memory_network", slow_step, slots=N, hops=K)


def test_it_tells_how_old_what_it_reads_is():
    core = make_core("memory_network", 3, 6, slots=N, hops=1).double()
    with torch.no_grad():
        core.question.weight.zero_()
        core.question.bias.fill_(10.0)
        core.embeddings.zero_()
        core.times.zero_()
        core.times[0, 2] = 10.0  # what was two steps ago
    reset = torch.zeros(9, 2, dtype=torch.bool)
    reset[7, 0] = True
    read = core.attention(torch.randn(9, 2, 3).double(), core.initial_state(2), reset)
    assert read.shape == (9, 2, 1, N)
    assert read[2:, 1, 0].argmax(-1).tolist() == [2] * 7
    torch.testing.assert_close(read[8, 0, 0], torch.tensor([0.5, 0.5, 0, 0]).double())  # the episode is two steps old
    told = core.inspect(core(torch.randn(9, 2, 3).double(), core.initial_state(2))[1])
    torch.testing.assert_close(told["read_age"], torch.full((2,), 2.0).double())
    assert (told["read_entropy"] < 1e-6).all() and (told["usage"] == 1).all()


def test_large_inputs_and_long_sequences_leave_it_finite():
    stays_finite("memory_network", slots=N)
