"""What every index must do, on every kind of keys: the reference is a pass over all keys in double precision."""

import copy
import pickle

import pytest
import torch

from engram_rl.memory import AutoIndex, CachedIndex, DifferentiableNeuralDictionary, ExactIndex, IVFIndex

D, N, K = 8, 2000, 10


def clustered(n, g):
    centres = torch.randn(40, D, generator=torch.Generator().manual_seed(5))
    return centres[torch.randint(40, (n,), generator=g)] + 0.02 * torch.randn(n, D, generator=g)


KEYS = {
    "normal": lambda n, g: torch.randn(n, D, generator=g),
    "uncentred": lambda n, g: 1000 + torch.randn(n, D, generator=g),
    "minute": lambda n, g: 1e-6 * torch.randn(n, D, generator=g),
    "huge": lambda n, g: 1e6 * torch.randn(n, D, generator=g),
    "unscaled": lambda n, g: torch.randn(n, D, generator=g) * torch.logspace(-3, 3, D),
    "clustered": clustered,
    "duplicated": lambda n, g: torch.randn(n, D, generator=g).repeat_interleave(20, 0)[torch.randperm(n, generator=g)],
    "few": lambda n, g: torch.randint(3, (n, D), generator=g).float(),
    "equal": lambda n, g: torch.ones(n, D),
}

INDEXES = {
    "exact": ExactIndex,
    "cached": CachedIndex,
    "ivf": lambda: IVFIndex(lists=48, probes=24, start=500, check_every=2),
    "auto": lambda: AutoIndex(lists=48, probes=24, start=500, check_every=2),
}


@pytest.fixture(params=KEYS)
def keys(request):
    return KEYS[request.param]


@pytest.fixture(params=INDEXES)
def index(request):
    return INDEXES[request.param]()


def share_found(memory, query):
    """Of the k nearest, how many were found; equally near ones, but for rounding, count as well."""
    found = memory.lookup(query)
    assert found.valid.all() and memory.alive[found.slots].all()
    assert all(len(set(row)) == K for row in found.slots.tolist())
    stored = memory.key_vectors.double()
    true = (query.double().unsqueeze(1) - stored[memory.slots]).square().sum(2).topk(K, largest=False).values
    of_found = (query.double().unsqueeze(1) - stored[found.slots]).square().sum(2)
    torch.testing.assert_close(found.distances.double(), of_found, rtol=1e-4, atol=0)
    return float((of_found <= true[:, -1:] * (1 + 2e-3)).double().mean())


def filled(index, keys, g):
    memory = DifferentiableNeuralDictionary(D, 1, N, K, index=index)
    for _ in range(3):
        memory.write(keys(N // 3, g), torch.zeros(N // 3, 1))
    ivf = getattr(memory.index, "_ivf", memory.index)
    if isinstance(ivf, IVFIndex):
        ivf.build(memory.used)
    return memory


class TestEveryIndex:
    def test_finds_what_is_near_while_entries_come_move_and_go(self, index, keys):
        g = torch.Generator().manual_seed(0)
        memory = filled(index, keys, g)
        for _ in range(0 if index.exact else 200):
            memory.lookup(keys(6, g))
        shares = []
        for _ in range(15):
            shares.append(share_found(memory, keys(6, g)))
            some = memory.slots[torch.randperm(len(memory), generator=g)[:150]]
            memory.move(some[:100], keys(100, g))
            memory.forget(some[100:])
            memory.write(keys(40, g), torch.zeros(40, 1))
        mean = sum(shares) / len(shares)
        # Three in four entries are others within fifteen searches, faster than an estimate could tell.
        assert mean >= (1 if index.exact else 0.9), memory.index.report()

    def test_finds_entries_that_are_looked_for_where_they_moved(self, index, keys):
        g = torch.Generator().manual_seed(1)
        memory = filled(index, keys, g)
        memory.lookup(keys(6, g))
        middle, spread = memory.key_vectors.mean(0), memory.key_vectors.std(0).clamp(min=1e-3)
        far = middle + 50 * spread * torch.randn(20, D, generator=g).sign()
        moved = torch.arange(0, N, N // 20)[:20]
        memory.move(moved, far)
        assert torch.equal(memory.lookup(far).distances[:, 0], torch.zeros(20))

    def test_what_is_left_when_most_is_forgotten_is_found(self, index, keys):
        g = torch.Generator().manual_seed(2)
        memory = filled(index, keys, g)
        memory.forget(torch.randperm(N, generator=g)[: N - N // 5])
        assert share_found(memory, keys(30, g)) > 0.9

    def test_a_copy_finds_what_the_memory_does(self, index, keys):
        g = torch.Generator().manual_seed(3)
        memory = filled(index, keys, g)
        memory.lookup(keys(6, g))
        query = keys(20, g)
        for twin in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):
            assert share_found(twin, query) > 0.95
            twin.write(keys(50, g), torch.zeros(50, 1))
            assert share_found(twin, query) > 0.95


class TestEstimate:
    @pytest.mark.parametrize("sizes", [(8,), (1, 63), (64, 1, 1, 1)])
    def test_it_is_of_queries_however_they_come_in_batches(self, sizes):
        """Batches of one are easy here, and large ones hard: what counts is the share of queries."""
        g = torch.Generator().manual_seed(0)
        index = IVFIndex(lists=64, probes=1, start=500, target=0.0, check_every=1)
        memory = DifferentiableNeuralDictionary(D, 1, N, K, index=index)
        lone = torch.randn(64, D, generator=g) * 100
        keys = torch.cat([lone.repeat_interleave(20, 0), torch.randn(N - 1280, D, generator=g)])
        memory.write(keys, torch.zeros(N, 1))
        index.build(N)
        asked = []
        for turn in range(160):
            n = sizes[turn % len(sizes)]
            query = lone[torch.randint(64, (n,), generator=g)] if n == 1 else torch.randn(n, D, generator=g)
            asked.append(query)
            memory.lookup(query)
        true = sum(share_found(memory, query) * len(query) for query in asked) / sum(map(len, asked))
        assert index.report()["recall"] == pytest.approx(true, abs=0.05)
