"""The nearest by one matrix product, and put in order by differences: as faiss's passes find them, to the bit."""

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.memory.indexes import exact
from engram_rl.memory.indexes.exact import faiss_search, nearest_by_products, squared_by_faiss


@pytest.mark.parametrize("rows, k", [(700, 5), (333, 30), (40, 40), (1000, 1)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_products_find_the_nearest_in_float64(rows, k, scale):
    torch.manual_seed(rows)
    keys, queries = scale * torch.randn(rows, 7), scale * torch.randn(9, 7)
    slots = nearest_by_products(keys, keys.square().sum(1), queries, k)
    squared = torch.cdist(queries.double(), keys.double()).square()
    assert all(len(set(row)) == k for row in slots.tolist())
    farthest = squared.topk(k, largest=False).values[:, -1:]
    assert (squared.gather(1, slots) <= farthest * 1.001 + 1e-4 * scale**2).all()


@pytest.mark.parametrize("space", [6, [Modality("c", 6, weight=3.0)], [Modality("c", 6, kind="cosine")]])
@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("entries, k", [(500, 20), (30, 20), (20, 20), (10, 20)])
def test_a_few_queries_get_what_a_pass_by_differences_finds(space, offset, entries, k, monkeypatch):
    torch.manual_seed(entries)
    memory = DifferentiableNeuralDictionary(space, 1, 500, k=k)
    memory.write(torch.randn(entries, 6) + offset, torch.zeros(entries, 1))
    memory.forget(torch.arange(0, entries, 7))
    memory.move(torch.arange(1, entries, 7), torch.randn(len(range(1, entries, 7)), 6) + offset)
    query = memory.store.pack(torch.randn(8, 6) + offset)
    expected = faiss_search(memory.store.rows[: memory.used], query.vectors, min(k, memory.used), True)
    monkeypatch.setattr(exact, "FEWEST_SCORES", 0)
    found = memory.index.propose(query, k, memory.used)
    here = memory.alive[expected].all(1)  # behind all entries come holes, in any order
    assert torch.equal(found[here], expected[here])
    squared = squared_by_faiss(memory.store.rows, query.vectors, found.numpy())
    assert (squared[:, 1:] >= squared[:, :-1]).all()


def test_equally_near_ones_come_by_slot(monkeypatch):
    monkeypatch.setattr(exact, "FEWEST_SCORES", 0)
    memory = DifferentiableNeuralDictionary(2, 1, 300, k=4)
    memory.write(torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]).repeat(75, 1), torch.zeros(300, 1))
    assert memory.index.propose(memory.store.pack(torch.zeros(3, 2)), 4, 300).tolist() == [[0, 1, 2, 3]] * 3


def test_squares_follow_every_change_of_the_rows():
    memory = DifferentiableNeuralDictionary(3, 1, 20, k=2)
    memory.write(torch.randn(20, 3), torch.zeros(20, 1))
    memory.write(torch.randn(5, 3), torch.zeros(5, 1))
    memory.move(torch.tensor([3, 9]), torch.randn(2, 3))
    memory.forget(torch.tensor([1, 4]))
    other = DifferentiableNeuralDictionary(3, 1, 20, k=2)
    other.write(torch.randn(20, 3), torch.zeros(20, 1))
    other.load_state_dict(memory.state_dict())
    for one in (memory, other):
        torch.testing.assert_close(one.store.squares, one.store.rows.square().sum(1))
