"""One query, matched under several subsets of its parts."""

import math
from itertools import combinations

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, Modality, RowSGD

SPACE = [Modality("a", 3), Modality("b", 2, weight=2.0), Modality("c", 2)]
ALL = [c for n in (1, 2, 3) for c in combinations("abc", n)]


@pytest.fixture
def memory():
    g = torch.Generator().manual_seed(0)
    memory = DifferentiableNeuralDictionary(SPACE, 2, 64, k=5, dtype=torch.float64)
    memory.write(random_query(40, 0), torch.randn(40, 2, generator=g))
    return memory


def random_query(n, seed):
    g = torch.Generator().manual_seed(seed)
    return {m.name: torch.randn(n, m.size, generator=g, dtype=torch.float64) for m in SPACE}


def slow_answer(memory, query, chosen):
    """Values under each subset, averaged by the product of likelihood ratios, for the one query."""
    typical = memory.store.penalties().tolist()
    answers, evidence = [], []
    for names in chosen:
        found = memory.lookup({name: query[name] for name in names}, touch=False)
        ratio = 1.0
        for name in names:
            t = typical["abc".index(name)]
            columns = memory.space.columns[name]
            squared = (memory.key_vectors[found.slots[0]][:, columns] - query[name]).square().sum(1)
            near = sum(w * d for w, d in zip(found.weights[0].tolist(), squared.tolist(), strict=True))
            ratio *= (t + 0.01 * t) / (near + 0.01 * t)
        answers.append(found.value[0])
        evidence.append(ratio)
    shares = [e / math.fsum(evidence) for e in evidence]
    return sum(s * v for s, v in zip(shares, answers, strict=True)), shares


@pytest.mark.parametrize(("references", "chosen"), [("all", ALL), ([("a", "c"), ("b",)], [("a", "c"), ("b",)])])
def test_the_value_is_the_average_of_the_subsets_by_evidence(memory, references, chosen):
    for seed in range(3):
        query = random_query(1, 5 + seed)
        with torch.no_grad():
            found = memory.lookup(query, references=references)
            value, shares = slow_answer(memory, query, chosen)
        torch.testing.assert_close(found.evidence[0], torch.tensor(shares).double())
        torch.testing.assert_close(found.value[0], value)


def test_weights_and_slots_tell_where_the_value_came_from(memory):
    found = memory.lookup(random_query(4, 1), references="all")
    assert found.slots.shape == (4, 7 * 5)
    torch.testing.assert_close(found.weights.sum(1), torch.ones(4).double())
    torch.testing.assert_close(found.weights.unflatten(1, (7, 5)).sum(2), found.evidence)
    torch.testing.assert_close((found.weights.unsqueeze(2) * memory.values[found.slots]).sum(1), found.value)


@pytest.mark.parametrize("corrupted", "abc")
def test_a_corrupted_part_is_outvoted_by_those_that_agree(memory, corrupted):
    query = {name: memory.key_vectors[7:8, columns].clone() for name, columns in memory.space.columns.items()}
    query[corrupted] = memory.key_vectors[20:21, memory.space.columns[corrupted]].clone()  # as of another entry
    found = memory.lookup(query, references="all")
    intact = tuple(name for name in "abc" if name != corrupted)
    assert ALL[found.evidence[0].argmax()] in (intact, ("a", "b", "c"))
    torch.testing.assert_close(found.value[0], memory.values[7], rtol=0, atol=0.1)


def test_gradients_reach_query_keys_and_values(memory):
    query = random_query(2, 3)

    def value(*parts):
        return memory.lookup(dict(zip("abc", parts, strict=True)), references="all", touch=False).value

    parts = [query[name].requires_grad_() for name in "abc"]
    assert torch.autograd.gradcheck(value, parts)
    found = memory.lookup(query, references="all")
    found.value.sum().backward()
    before = memory.key_vectors.clone()
    RowSGD(memory, lr=0.1).step(found)
    assert not torch.equal(before, memory.key_vectors)


def test_a_subset_a_query_cannot_ask_for_has_no_say(memory):
    query = random_query(2, 3)
    given = {"c": torch.tensor([True, False])}
    found = memory.lookup(query, references="all", present=given)
    assert (found.evidence[0] > 0).all()
    assert (found.evidence[1] > 0).tolist() == ["c" not in names for names in ALL]
    without = memory.lookup({"a": query["a"][1:], "b": query["b"][1:]}, references="all")
    torch.testing.assert_close(found.value[1], without.value[0])


def test_an_empty_memory_gives_zeros():
    empty = DifferentiableNeuralDictionary(SPACE, 2, 64, k=5)
    found = empty.lookup({"a": torch.randn(2, 3), "b": torch.randn(2, 2)}, references="all")
    assert (found.value == 0).all() and (found.evidence == 0).all() and not found.valid.any()


def test_excluded_slots_are_left_out_of_every_subset(memory):
    found = memory.lookup(random_query(3, 2), references="all", exclude=torch.arange(30).expand(3, 30))
    assert (found.slots[found.valid] >= 30).all() and found.valid.all()


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ([("a", "d")], "'d'"),
        ([("c",)], "must give it"),
        ([], "empty"),
        (["a"], "tuple of names"),
        ([()], "tuple of names"),
    ],
)
def test_a_subset_that_cannot_be_matched_is_refused(memory, references, message):
    query = random_query(1, 1)
    del query["c"]
    with pytest.raises(ValueError, match=message):
        memory.lookup(query, references=references)


def test_all_subsets_of_very_many_parts_are_refused():
    memory = DifferentiableNeuralDictionary([Modality(f"m{i}", 1) for i in range(7)], 1, 8)
    with pytest.raises(ValueError, match="127 subsets"):
        memory.lookup(torch.zeros(1, 7), references="all")
