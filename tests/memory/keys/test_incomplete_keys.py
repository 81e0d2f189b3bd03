"""Keys of several parts: what is asked for is matched, what is lacking is charged, and rounding hides nobody."""

import math
import random

import numpy as np
import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, KeySpace, Modality

SPACE = KeySpace(
    [
        Modality("view", 5, weight=0.5),
        Modality("place", 2),
        Modality("scent", 3, kind="cosine", weight=2.0, penalty=0.7),
        Modality("action", kind="discrete", penalty=0.25),
        Modality("cell", 2, kind="discrete", weight=3.0),
    ]
)


def random_parts(n, seed):
    g = torch.Generator().manual_seed(seed)
    return {
        "view": torch.randn(n, 5, generator=g),
        "place": torch.randn(n, 2, generator=g) + 3,
        "scent": torch.randn(n, 3, generator=g),
        "action": torch.randint(0, 2, (n, 1), generator=g),
        "cell": torch.randint(-1, 1, (n, 2), generator=g),
    }


def test_the_size_of_a_key_may_be_a_number_of_numpy():
    assert DifferentiableNeuralDictionary(np.prod((2, 3)), 1, 5).space == DifferentiableNeuralDictionary(6, 1, 5).space


def random_present(n, seed):
    chance = random.Random(seed)
    present = {m.name: [chance.random() < 0.7 for _ in range(n)] for m in SPACE}
    present["place"] = [p or not any(present[m][i] for m in present) for i, p in enumerate(present["place"])]
    return {name: torch.tensor(given) for name, given in present.items()}


@pytest.fixture
def memory():
    memory = DifferentiableNeuralDictionary(SPACE, 1, 400, k=6)
    memory.write(random_parts(300, 0), torch.arange(300.0).unsqueeze(1), present=random_present(300, 1))
    return memory


def slow_distance(query, entry, typical):
    """What the issue of a partial match costs, one modality after another; None if a code differs."""
    total = 0.0
    for m in SPACE:
        if query[m.name] is None:
            continue
        if entry[m.name] is None:
            total += m.weight * (typical[m.name] if m.penalty is None else m.penalty)
        elif m.kind == "discrete":
            if query[m.name] != entry[m.name]:
                return None
        else:
            a, b = query[m.name], entry[m.name]
            if m.kind == "cosine":
                a, b = ([x / math.hypot(*v) for x in v] for v in (a, b))
            total += m.weight * sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return total


def rows(parts, present):
    """One dict a row, with None for what it does not have."""
    given = [name for name in present if name in parts]
    return [
        {m.name: parts[m.name][i].tolist() if m.name in given and present[m.name][i] else None for m in SPACE}
        for i in range(len(present[given[0]]))
    ]


def typical_distances(entries):
    """Twice the variance of what is stored: the mean squared distance between two entries drawn at random."""
    typical = {"cell": 1.0}
    for name in ("view", "place"):
        columns = list(zip(*(e[name] for e in entries if e[name] is not None), strict=True))
        means = [sum(c) / len(c) for c in columns]
        variances = [sum((x - m) ** 2 for x in c) / len(c) for c, m in zip(columns, means, strict=True)]
        typical[name] = 2 * sum(variances)
    return typical


def assert_found(memory, query, present):
    entries = rows(random_parts(300, 0), random_present(300, 1))
    typical = typical_distances(entries)
    found = memory.lookup({name: query[name] for name in present}, present=present)
    for i, q in enumerate(rows(query, present)):
        distances = [slow_distance(q, entry, typical) for entry in entries]
        nearest = torch.tensor(sorted(d for d in distances if d is not None)[:6])
        near = found.valid[i].sum()
        torch.testing.assert_close(found.distances[i, :near], nearest, rtol=1e-4, atol=1e-5)
        own = torch.tensor([distances[slot] for slot in found.slots[i, :near]])
        torch.testing.assert_close(found.distances[i, :near], own, rtol=1e-4, atol=1e-5)


class TestMatching:
    @pytest.mark.parametrize("seed", range(5))
    def test_every_query_of_a_batch_may_ask_for_other_parts(self, memory, seed):
        query = {name: part[:40] for name, part in random_parts(40, 10 + seed).items()}
        assert_found(memory, query, random_present(40, 20 + seed))

    @pytest.mark.parametrize("name", SPACE.names)
    def test_one_part_alone_can_be_asked_for(self, memory, name):
        assert_found(memory, random_parts(10, 3), {name: torch.ones(10).bool()})

    def test_what_is_not_given_does_not_count(self, memory):
        place = random_parts(5, 4)["place"]
        alone = memory.lookup({"place": place})
        marked = memory.lookup(random_parts(5, 4), present={n: torch.tensor([n == "place"] * 5) for n in SPACE.names})
        assert torch.equal(alone.slots, marked.slots) and torch.equal(alone.distances, marked.distances)

    def test_flat_keys_are_the_parts_side_by_side(self, memory):
        parts = random_parts(5, 4)
        flat = torch.cat([parts[name].float() for name in SPACE.names], dim=1)
        assert torch.equal(memory.lookup(flat).slots, memory.lookup(parts).slots)

    def test_an_entry_that_lacks_what_is_asked_is_no_perfect_match(self):
        memory = DifferentiableNeuralDictionary([Modality("a", 2), Modality("b", 1)], 1, 10, k=3)
        memory.write({"a": torch.tensor([[0.0, 0.0], [2.0, 0.0]])}, torch.zeros(2, 1))
        memory.write({"a": torch.tensor([[0.1, 0.0]]), "b": torch.tensor([[5.0]])}, torch.zeros(1, 1))
        memory.write({"b": torch.tensor([[9.0]])}, torch.zeros(1, 1))
        found = memory.lookup({"a": torch.zeros(1, 2), "b": torch.tensor([[5.0]])})
        assert found.slots[0, 0] == 2  # both parts match nearly, against one that matches one part exactly
        torch.testing.assert_close(found.distances[0, 1], torch.tensor(2 * 4.0))  # variance of 5 and 9 is 4

    def test_codes_beyond_what_the_search_can_tell_apart_are_still_matched_exactly(self):
        memory = DifferentiableNeuralDictionary([Modality("hash", kind="discrete"), Modality("x", 1)], 1, 600, k=3)
        codes = torch.randint(-(2**62), 2**62, (500, 1), generator=torch.Generator().manual_seed(0))
        memory.write({"hash": codes, "x": torch.zeros(500, 1)}, torch.zeros(500, 1))
        found = memory.lookup({"hash": codes, "x": torch.ones(500, 1)})
        assert (found.slots[:, 0] == torch.arange(500)).all() and not found.valid[:, 1:].any()

    def test_many_entries_of_another_code_hide_none_of_the_right_one(self):
        memory = DifferentiableNeuralDictionary([Modality("x", 1), Modality("action", kind="discrete")], 1, 2000, k=2)
        x = torch.cat([torch.zeros(1500, 1), torch.tensor([[900.0], [-900.0]])])
        action = torch.cat([torch.zeros(1500, 1), torch.ones(2, 1)])
        memory.write({"x": x, "action": action}, torch.zeros(1502, 1))
        found = memory.lookup({"x": torch.zeros(1, 1), "action": torch.ones(1, 1)})
        assert sorted(found.slots[0].tolist()) == [1500, 1501]


class TestGradients:
    def test_they_reach_the_parts_that_are_asked_for_only(self):
        memory = DifferentiableNeuralDictionary(
            [Modality("a", 2), Modality("b", 3, kind="cosine")], 1, 50, k=4, dtype=torch.float64
        )
        g = torch.Generator().manual_seed(0)
        memory.write(
            {"a": torch.randn(30, 2, generator=g), "b": torch.randn(30, 3, generator=g)},
            torch.randn(30, 1, generator=g),
        )
        a, b = (torch.randn(2, n, generator=g, dtype=torch.float64, requires_grad=True) for n in (2, 3))
        assert torch.autograd.gradcheck(lambda a, b: memory.lookup({"a": a, "b": b}, touch=False).value, (a, b))
        found = memory.lookup({"a": a}, touch=False)
        found.value.sum().backward()
        assert found.keys.grad[..., :2].abs().sum() > 0 and (found.keys.grad[..., 2:] == 0).all()

    def test_a_moved_key_is_found_under_every_mask_where_it_is_now(self, memory):
        slot = torch.tensor([7])
        has = memory.store.present[7]
        moved = torch.randn(1, 10) * 3 + 20
        memory.move(slot, keys=moved)
        for m, (name, columns) in enumerate(list(SPACE.columns.items())[:3]):
            if has[SPACE.names.index(name)]:
                found = memory.lookup({name: moved[:, columns]})
                assert found.slots[0, 0] == 7 and found.distances[0, 0] < 1e-5, (m, name)
        lacking = [c for n, c in SPACE.columns.items() if n in SPACE.names[:3] and not has[SPACE.names.index(n)]]
        assert all((memory.key_vectors[7, columns] == 0).all() for columns in lacking)


class TestRounding:
    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
    def test_near_duplicates_far_from_the_origin_are_told_apart(self, masked, offset):
        g = torch.Generator().manual_seed(0)
        space = [Modality("a", 16)] + [Modality("b", 2)] * masked
        memory = DifferentiableNeuralDictionary(space, 1, 3000, k=5)
        centre = offset + torch.randn(10, 16, generator=g)
        a = centre.repeat(200, 1) + 1e-3 * (1 + offset / 10) * torch.randn(2000, 16, generator=g)
        parts = {"a": a} | ({"b": torch.randn(2000, 2, generator=g)} if masked else {})
        memory.write(parts, torch.zeros(2000, 1))
        query = a[:64] + 1e-4 * (1 + offset / 10) * torch.randn(64, 16, generator=g)
        found = memory.lookup({"a": query})
        exact = (query.double().unsqueeze(1) - a.double()).square().sum(-1).topk(5, largest=False)
        assert torch.equal(found.slots[:, 0], exact.indices[:, 0])
        torch.testing.assert_close(found.distances, exact.values.float(), rtol=2e-3, atol=0)


class TestRefusals:
    @pytest.fixture
    def memory(self):
        return DifferentiableNeuralDictionary(SPACE, 1, 10, k=2)

    @pytest.mark.parametrize(
        ("keys", "present", "message"),
        [
            ({"veiw": torch.zeros(1, 5)}, None, "did you mean 'view'"),
            ({"view": torch.zeros(1, 4)}, None, r"\[batch, 5\]"),
            ({}, None, "view, place"),
            ({"view": torch.zeros(1, 5), "place": torch.zeros(2, 2)}, None, "all with as many rows"),
            ({"scent": torch.zeros(1, 3)}, None, "zero vector"),
            ({"action": torch.tensor([[0.5]])}, None, "whole number"),
            ({"action": torch.tensor([[2.0**25]])}, None, "int64"),
            ({"view": torch.zeros(2, 5)}, {"view": torch.tensor([True, False])}, "no modality"),
            ({"view": torch.zeros(2, 5)}, {"view": torch.tensor([1, 0])}, "bool"),
            ({"view": torch.zeros(2, 5)}, {"place": torch.tensor([True, True])}, "present"),
            (torch.zeros(1, 5), None, r"\[batch, 13\]"),
        ],
    )
    def test_what_is_no_key_is_refused_with_the_remedy(self, memory, keys, present, message):
        with pytest.raises(ValueError, match=message):
            memory.lookup(keys, present=present)

    @pytest.mark.parametrize("wrong", [{"kind": "l3"}, {"size": 0}, {"weight": 0.0}, {"penalty": -1.0}])
    def test_a_modality_that_makes_no_sense_is_refused(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Modality("a", **wrong)


def test_codes_given_as_numbers_are_whole_and_no_larger_than_float32_has_all_of():
    memory = DifferentiableNeuralDictionary([Modality("code", 1, kind="discrete")], 1, 4)
    for code in (2.0**24, -(2.0**24)):
        slots = memory.write({"code": torch.tensor([[code]])}, torch.zeros(1, 1))
        assert memory.store.codes[slots].tolist() == [[code]]
    for code in (2.0**24 + 2, -(2.0**24) - 2, 0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no whole number up to 2"):
            memory.write({"code": torch.tensor([[code]])}, torch.zeros(1, 1))


@pytest.mark.parametrize("left", [1, 2, 3])
def test_what_is_typical_is_that_of_the_entries_that_are_left(left):
    torch.manual_seed(left)
    space = [Modality("near", 2), Modality("far", 1)]
    keys = {"near": 1e3 * torch.randn(9, 2) + 1e5, "far": torch.randn(9, 1)}
    memory, fresh = (DifferentiableNeuralDictionary(space, 1, 9) for _ in range(2))
    slots = memory.write(keys, torch.zeros(9, 1))
    memory.forget(slots[left:])
    fresh.write({name: part[:left] for name, part in keys.items()}, torch.zeros(left, 1))
    torch.testing.assert_close(memory.store.penalties(), fresh.store.penalties(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
@pytest.mark.parametrize("parts", [1, 2])
def test_short_directions_beside_long_ones_are_all_right(rows, parts):
    space = [Modality("scent", 3, kind="cosine"), Modality("view", 1)][:parts]
    memory = DifferentiableNeuralDictionary(space, 1, 9)
    chance = torch.Generator().manual_seed(rows)
    directions = torch.nn.functional.normalize(torch.randn(rows, 3, generator=chance))
    lengths = torch.tensor([1e-25, 1e3, 1e-16, 1.0, 1e-30])[:rows, None]
    slots = memory.write({"scent": directions * lengths}, torch.zeros(rows, 1))
    torch.testing.assert_close(memory.key_vectors[slots, :3], directions, rtol=1e-4, atol=1e-5)
