"""Keys far from the origin: found by products seen from amid them, so that rounding hides nobody and costs no time."""

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.indexes import exact

N, D, K, QUERIES = 600, 24, 7, 40


@pytest.fixture
def passes(monkeypatch):
    """How often all keys were passed over without products."""
    made = []
    by_differences = exact.by_differences
    monkeypatch.setattr(exact, "by_differences", lambda *a, **k: made.append(1) or by_differences(*a, **k))
    return made


def filled(keys, **options):
    memory = DifferentiableNeuralDictionary(keys.shape[1], 1, len(keys), K, dtype=keys.dtype, **options)
    memory.write(keys, torch.zeros(len(keys), 1))
    return memory


def true_neighbours(memory, query):
    keys = memory.key_vectors[: memory.used].double()
    return (query.double().unsqueeze(1) - keys).square().sum(2).topk(K, largest=False).values.to(query.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("spread", "offset"), [(1, 0), (1, 100), (1e-4, 1), (300, 3e5), (1, -3000)])
@pytest.mark.parametrize("block", [2**22, 100 * D])
def test_who_is_near_is_found_by_products_wherever_keys_lie(passes, monkeypatch, dtype, spread, offset, block):
    monkeypatch.setattr(exact, "SEEN_FROM_AMID", block)
    torch.manual_seed(0)
    memory = filled(torch.randn(N, D, dtype=dtype) * spread + offset)
    for _ in range(3):
        query = torch.randn(QUERIES, D, dtype=dtype) * spread + offset
        with torch.no_grad():
            found = memory.lookup(query)
        torch.testing.assert_close(found.distances, true_neighbours(memory, query), rtol=1e-4, atol=0)
    assert not passes


def test_one_alone_far_from_all_others_moves_nothing(passes):
    torch.manual_seed(0)
    keys = torch.randn(N, D)
    keys[17] = 1e4
    memory = filled(keys)
    query = torch.randn(QUERIES, D)
    torch.testing.assert_close(memory.lookup(query).distances, true_neighbours(memory, query), rtol=1e-4, atol=1e-6)
    assert memory.store.centre is None and not passes


def test_the_centre_follows_keys_that_go_elsewhere(passes):
    torch.manual_seed(0)
    memory = filled(torch.randn(N, D) + 1000)
    memory.lookup(torch.randn(QUERIES, D) + 1000)
    torch.testing.assert_close(memory.store.centre, torch.full((D,), 1000.0), rtol=1e-3, atol=0)
    memory.move(torch.arange(N), torch.randn(N, D) - 5000)
    query = torch.randn(QUERIES, D) - 5000
    torch.testing.assert_close(memory.lookup(query).distances, true_neighbours(memory, query), rtol=1e-4, atol=0)
    torch.testing.assert_close(memory.store.centre, torch.full((D,), -5000.0), rtol=1e-3, atol=0)
    assert not passes


def test_where_rounding_hides_all_the_centre_moves_once_and_differences_decide(passes):
    torch.manual_seed(0)
    memory = filled(torch.randn(N, D) * 1e-3 + 1e5)  # of a spread that float32 cannot hold there
    query = memory.key_vectors[:QUERIES].clone()
    for _ in range(2):
        distances = memory.lookup(query).distances
        torch.testing.assert_close(distances, true_neighbours(memory, query), rtol=1e-4, atol=1e-6)
    assert not memory.store.see_from_amid(N)


def test_forgotten_rows_and_excluded_ones_are_not_found_from_amid_either():
    torch.manual_seed(0)
    memory = filled(torch.randn(N, D) + 1000)
    memory.forget(torch.arange(0, N, 2))
    query = memory.key_vectors[1 : 2 * QUERIES : 2].clone()
    own = memory.lookup(query).slots[:, 0]
    assert own.tolist() == list(range(1, 2 * QUERIES, 2)) and memory.store.centre is not None
    found = memory.lookup(query, exclude=own).slots
    assert (found % 2 == 1).all() and (found != own[:, None]).all()
