"""Lists are fitted a piece at a time, to keys that change meanwhile."""

import numpy as np
import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, IVFIndex
from engram_rl.memory.indexes import ivf
from engram_rl.memory.indexes.fitting import fitted

N, D = 3000, 20


def clustered(n, seed):
    random = torch.Generator().manual_seed(seed)
    centres = 8 * torch.randn(30, D, generator=random)
    return centres[torch.randint(30, (n,), generator=random)] + 0.1 * torch.randn(n, D, generator=random)


def lists_fitted(keys, meanwhile):
    job = fitted(lambda at: keys[torch.from_numpy(at)], np.random.default_rng(0).permutation(N), 60, N, 64)
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value
        meanwhile()


def spread(n, seed):
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


def recall_of(memory):
    query = spread(300, 5)
    true = (query[:, None] - memory.key_vectors).square().sum(2).topk(5, largest=False).indices
    found = memory.lookup(query, touch=False).slots
    return float((true[:, :, None] == found[:, None]).any(2).float().mean())


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_codes_are_as_fine_where_entries_are_rewritten_meanwhile(share):
    still = lists_fitted(clustered(N, 0), lambda: None)
    keys, others, random = clustered(N, 0), clustered(N, 0).flip(0), np.random.default_rng(1)

    def rewrite():
        at = torch.from_numpy(random.integers(N, size=int(share * N)))
        keys[at] = others[at]

    assert lists_fitted(keys, rewrite).blur == pytest.approx(still.blur, rel=0.1)


def test_what_changes_while_all_is_filed_is_filed_a_piece_at_a_time(monkeypatch):
    monkeypatch.setattr(ivf, "PIECE", 64)
    memory = DifferentiableNeuralDictionary(8, 1, N, 5, index=IVFIndex(lists=40, start=100, check_every=0))
    memory.write(spread(N, 0), torch.zeros(N, 1))
    index = memory.index
    index.build(N)
    index._job = index._refit(N, piece=64)
    filed, file = [], index._file
    index._file = lambda lists, slots: filed.append(len(slots)) or file(lists, slots)
    for turn in range(10_000):
        memory.write(spread(24, 10 + turn), torch.zeros(24, 1))
        memory.lookup(spread(2, turn), touch=False)
        if index._job is None:
            break
    assert index._job is None and max(filed) <= 64 + 24, filed
    recall = recall_of(memory)
    index.build(N)
    assert recall == pytest.approx(recall_of(memory), abs=0.05)


def test_what_moves_while_all_is_filed_is_found_where_it_went():
    memory = DifferentiableNeuralDictionary(8, 1, N, 5, index=IVFIndex(lists=40, start=100, check_every=0))
    memory.write(spread(N, 0), torch.zeros(N, 1))
    index = memory.index
    index.build(N)
    index._job = index._refit(N, piece=512)
    places = spread(N, 0).flip(0)
    for turn in range(40):
        at = torch.randperm(N, generator=torch.Generator().manual_seed(turn))[:100]
        memory.move(at, keys=places[at])
        memory.lookup(places[:1], touch=False)
    while index._job is not None:
        memory.lookup(places[:1], touch=False)
    recall = recall_of(memory)
    index.build(N)
    assert recall == pytest.approx(recall_of(memory), abs=0.05)


def test_where_all_is_forgotten_meanwhile_a_job_ends():
    memory = DifferentiableNeuralDictionary(8, 1, N, 5, index=IVFIndex(lists=40, start=100, check_every=0))
    memory.write(spread(N, 0), torch.zeros(N, 1))
    index = memory.index
    memory.lookup(spread(1, 1))
    memory.forget(torch.arange(N))
    for _ in range(1000):
        memory.lookup(spread(1, 1))
    assert index._job is None and not memory.lookup(spread(3, 1)).valid.any()
