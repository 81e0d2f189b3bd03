"""The throughput benchmark times full memories, beside a naive reference that computes the same values."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.naive_nec import NaiveNEC
from benchmarks.throughput import main, stored
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.training.errors import UsageError


def naive(entries, actions=2, k=5):
    keys, values = zip(*[stored(entries, 3, seed) for seed in range(actions)], strict=True)
    return NaiveNEC(nn.Linear(3, 3), list(keys), list(values), k=k, batch_size=8, learn_every=1, n_step=2, seed=0)


def finish(loop, reward):
    """An episode of one step."""
    loop.observe(torch.randn(1, 3).numpy(), np.array([0]), np.array([reward]), np.array([True]))


def test_every_agent_has_a_row_at_every_size(tmp_path):
    out = tmp_path / "rows.jsonl"
    arguments = ["agents=[nec,mfec]", "entries=[60,120]", "seconds=0.2", "threads=1", f"out={out}"]
    assert main(arguments) == 0

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["agent"], row["entries"]) for row in rows] == [
        (agent, entries) for entries in (60, 120) for agent in ("naive", "nec", "mfec")
    ]
    assert all(row["steps_per_second"] > 0 for row in rows)


def test_the_naive_reference_reads_the_values_that_the_dictionary_reads():
    loop = naive(300)
    memory = DifferentiableNeuralDictionary(3, 1, 300, 5)
    memory.write(loop.keys[0], loop.values[0].unsqueeze(1))
    query = torch.randn(7, 3, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(loop._value(query, 0)[0], memory.lookup(query).value[:, 0], rtol=1e-3, atol=1e-4)


def test_the_naive_reference_learns_what_it_replays():
    loop = naive(50)
    for reward in range(3):
        finish(loop, float(reward))
    before = [parameter.clone() for parameter in loop.encoder.parameters()]
    keys = loop.keys[0].clone()
    finish(loop, 9.0)
    assert all(not torch.equal(a, b) for a, b in zip(before, loop.encoder.parameters(), strict=True))
    assert not torch.equal(keys, loop.keys[0])
    torch.testing.assert_close(loop.searches[0].norms, loop.keys[0].square().sum(dim=1), rtol=1e-4, atol=1e-4)


def test_stored_keys_lie_along_walks():
    keys, values = stored(250, 4, seed=0)
    assert keys.shape == (250, 4) and values.shape == (250,)
    within = (keys[1:100] - keys[:99]).norm(dim=1).mean()
    assert within < 0.2 * (keys[0] - keys[200]).norm()


def test_an_unknown_agent_is_refused():

    with pytest.raises(UsageError, match="no agent 'necc'"):
        main(["agents=[necc]"])


def test_fewer_entries_than_neighbours_are_refused():
    with pytest.raises(UsageError, match="50 neighbours"):
        main(["entries=[10]"])
