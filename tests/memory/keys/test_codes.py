"""Entries by their codes: lists by the latest write, and groups, against plain Python."""

from itertools import product

import numpy as np
import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, KeySpace, Modality
from engram_rl.memory.keys import coded
from engram_rl.memory.keys.chains import Chains, words_of
from engram_rl.memory.keys.coded import Codes
from engram_rl.memory.keys.space import Keys


@pytest.mark.parametrize(("capacity", "words"), [(1, 1), (9, 2), (40, 3), (40, 100)])
def test_chains_are_lists_from_which_slots_come_and_go(capacity, words):
    draw = np.random.default_rng(capacity + words)
    names = np.r_[0, draw.integers(0, 2**62, words - 1)]
    chains, slow = Chains(capacity), {int(name): [] for name in names}
    for turn in range(150):
        slots = draw.permutation(capacity)[: draw.integers(0, capacity + 1)]
        for held in slow.values():
            held[:] = [slot for slot in held if slot not in set(slots.tolist())]
        if turn % 3 == 2:
            chains.remove(slots)
        else:
            given = names[draw.integers(words, size=len(slots))]
            chains.put(slots, given)
            for slot, name in zip(slots.tolist(), given.tolist(), strict=True):
                slow[name].insert(0, slot)
        for k in (1, 3, capacity + 1):
            expected = [(slow[int(name)] + [-1] * k)[:k] for name in names]
            assert chains.latest(names, k).tolist() == expected
    assert chains.latest(np.array([77]), 2).tolist() == [[-1, -1]]


def test_a_word_is_that_of_the_codes_that_are_there_and_never_that_of_nobody():
    codes = np.array(list(product([-1, 0, 1, 2**62], repeat=3)), np.int64)
    seen = {}
    for absent in product([False, True], repeat=3):
        mask = np.tile(np.array(absent), (len(codes), 1))
        words = words_of(codes, mask)
        assert words.dtype == np.int64 and (words >= 0).all()
        for word, row in zip(words.tolist(), codes.tolist(), strict=True):
            told = tuple(None if lacks else code for code, lacks in zip(row, absent, strict=True))
            assert seen.setdefault(told, word) == word
    assert len(set(seen.values())) == len(seen) == 5**3


SPACE = KeySpace([Modality("a", 1, "discrete"), Modality("v", 2), Modality("b", 2, "discrete")])


def filled(n, lacking, seed=0):
    """Codes of n entries in the order of their slots; some lack a part, some are gone."""
    draw = torch.Generator().manual_seed(seed)
    present = torch.ones(n, 3, dtype=torch.bool)
    if lacking:
        present[:, 0] = torch.rand(n, generator=draw) < 0.7
        present[:, 2] = torch.rand(n, generator=draw) < 0.7
        present[::7] = False
    codes = torch.randint(2, (n, 3), generator=draw) * present[:, [0, 2, 2]]
    store = Codes(SPACE, n + 3, torch.cat([present, torch.zeros(3, 3, dtype=torch.bool)]), torch.device("cpu"))
    store.put(torch.arange(n), codes)
    return store, codes, present


def fits(wanted, asked, codes, present):
    """Whether an entry has, or lacks, each code that is asked for; no entry has none."""
    columns = [[0], [1, 2]]
    if not any(present):
        return False
    return all(
        not given or not there or all(wanted[c] == codes[c] for c in mine)
        for given, there, mine in zip(asked, (present[0], present[2]), columns, strict=True)
    )


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("lacking", [False, True])
def test_queries_are_grouped_by_code_with_all_entries_that_fit(lacking, many, monkeypatch):
    if many:
        monkeypatch.setattr(coded, "FEW", 1)
    store, codes, present = filled(60, lacking)
    draw = torch.Generator().manual_seed(5)
    wanted = torch.randint(3, (40, 3), generator=draw)
    asked = torch.rand(40, 3, generator=draw) < 0.6
    query = Keys(torch.zeros(40, 2), wanted, asked)
    groups = store.groups(query, 60, everyone=not lacking)
    seen = []
    for group in groups:
        for row in group.queries.tolist():
            seen.append(row)
            want = asked[row, 0], asked[row, 2]
            if any(want):
                entries = zip(codes.tolist(), present.tolist(), strict=True)
                fit = [slot for slot, entry in enumerate(entries) if fits(wanted[row].tolist(), want, *entry)]
                assert sorted(group.slots.tolist()) == fit
            else:
                assert group.slots.tolist() == list(range(60))
    assert sorted(seen) == list(range(40))
    nobody = Keys(query.vectors, wanted, asked & torch.tensor([False, True, False]))
    assert store.groups(nobody, 60, everyone=not lacking) is None


@pytest.mark.parametrize("lacking", [False, True])
@pytest.mark.parametrize("parts", [[0], [0, 2], [2]])
def test_the_latest_of_each_code_come_first_and_then_those_that_lack_it(lacking, parts):
    store, codes, present = filled(30, lacking)
    asked = torch.zeros(8, 3, dtype=torch.bool)
    asked[:, parts] = True
    wanted = torch.tensor(list(product([0, 1], repeat=3)))
    query = Keys(torch.zeros(8, 2), wanted, asked)
    for turn in range(3):
        found = store.latest(query, 30, 30)
        order = store._written[:30].argsort(descending=True).tolist()
        for row in range(8):
            expected = []
            for lacks in product([False, True], repeat=len(parts)):
                for slot in order:
                    held = [bool(present[slot, part]) for part in parts]
                    if held == [not lack for lack in lacks] and present[slot].any():
                        want = [part in parts for part in (0, 2)]
                        if fits(wanted[row].tolist(), want, codes[slot].tolist(), present[slot].tolist()):
                            expected.append(slot)
            assert [slot for slot in found[row].tolist() if slot >= 0] == expected
        again = torch.tensor([turn + 1, 11, 5])
        codes[again] = 1 * present[again][:, [0, 2, 2]]
        store.put(again, codes[again])
        store.erase(torch.tensor([20 + turn]))
        store.present[20 + turn] = False
        present[20 + turn] = False


def test_queries_that_are_not_for_codes_alone_are_left_to_others():
    store, codes, _ = filled(10, False)
    asked = torch.zeros(2, 3, dtype=torch.bool)
    for parts, answered in (([], False), ([0], True), ([0, 1], False), ([1], False), ([0, 2], True)):
        asked[:] = False
        asked[:, parts] = True
        answer = store.latest(Keys(torch.zeros(2, 2), codes[:2], asked), 5, 10)
        assert (answer is not None) is answered
    asked[:] = torch.tensor([[True, False, False], [False, False, True]])
    assert store.latest(Keys(torch.zeros(2, 2), codes[:2], asked), 5, 10) is None
    asked[:] = torch.tensor([True, False, False])
    assert store.latest(Keys(torch.zeros(2, 2), codes[:2], asked), 512, 10) is not None
    assert store.latest(Keys(torch.zeros(2, 2), codes[:2], asked), 513, 10) is None


def test_the_order_of_writes_is_saved_and_goes_on():
    store, codes, present = filled(6, False)
    store.put(torch.tensor([2, 0]), codes[[2, 0]])
    assert store.latest_first(torch.arange(6)).tolist() == [0, 2, 5, 4, 3, 1]
    twin = Codes(SPACE, 9, present, torch.device("cpu"))
    twin.load_state_dict(store.state_dict(6), 6)
    twin.put(torch.tensor([4]), codes[[4]])
    assert twin.latest_first(torch.arange(6)).tolist() == [4, 0, 2, 5, 3, 1]
    twin.load_state_dict(store.state_dict(0), 0)
    assert Codes(KeySpace(3), 9, present, torch.device("cpu")).state_dict(5) == {}


class TestCentre:
    SPACE = (Modality("a", 2), Modality("b", 1))

    def test_it_is_looked_for_once_for_as_many_changes_as_there_are_entries(self, monkeypatch):
        memory = DifferentiableNeuralDictionary(list(self.SPACE), 1, 30)
        store = memory.store
        memory.write(100 + torch.rand(10, 3), torch.zeros(10, 1))
        torch.testing.assert_close(store.centre, store.spread.mean.float())
        assert store._until_centred == 10
        first = store.centre.clone()
        memory.move(torch.arange(9), keys=-100 - torch.rand(9, 3))
        assert torch.equal(store.centre, first) and store._until_centred == 1
        memory.move(torch.tensor([9]), keys=-100 - torch.rand(1, 3))
        torch.testing.assert_close(store.centre, store.spread.mean.float())
        assert store._until_centred == 10 and (store.centre < -99).all()
        near = store.centre.clone()
        memory.write(-100 - torch.rand(10, 3), torch.zeros(10, 1))
        assert torch.equal(store.centre, near) and store._until_centred == 20  # still amid the keys

    @pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1.0, 300.0), (1e-3, 30.0), (100.0, 1e4)])
    @pytest.mark.parametrize("lacking", [False, True])
    def test_no_search_ranks_wrong_by_more_than_it_says(self, scale, offset, lacking):
        draw = torch.Generator().manual_seed(0)
        memory = DifferentiableNeuralDictionary([Modality("a", 9), Modality("b", 4, weight=3.0)], 1, 300, k=300)
        keys = offset + scale * torch.randn(300, 13, generator=draw)
        present = {"b": torch.rand(300, generator=draw) < 0.8} if lacking else None
        memory.write(keys, torch.zeros(300, 1), present=present)
        query = memory.store.pack(keys[:50] + scale * torch.randn(50, 13, generator=draw))
        store = memory.store
        slots = torch.arange(300).expand(50, -1)
        entries = Keys(store.vectors[slots].double(), store.codes[slots], store.present[slots])
        parts = (query.vectors.double().unsqueeze(1) - entries.vectors).square()
        by_part = torch.stack([parts[..., :9].sum(-1), parts[..., 9:].sum(-1)], -1)
        by_part = torch.where(entries.present, by_part, store.penalties().double())
        true = (by_part * torch.tensor([1.0, 3.0])).sum(-1)
        torch.testing.assert_close(store.distances_at(query, slots).double(), true, rtol=1e-5, atol=0)
        score = (store.queries(query) @ store.rows[:300].T).double() + true  # the same for all, but for rounding
        error = score.amax(1) - score.amin(1)
        said = store.rounding(query, true.amax(1).float()).double()
        assert (error <= said).all()
        assert (said <= 100 * error.mean()).all()
