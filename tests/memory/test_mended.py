"""What memories of codes, of moving keys, of long lives and in strange modes get wrong at first: the right values."""

import threading

import faiss
import numpy as np
import pytest
import torch

from engram_rl.memory import (
    Decay,
    DifferentiableNeuralDictionary,
    IVFIndex,
    KeySpace,
    LeastRecentlyUsed,
    Modality,
    Planner,
    Priority,
    RecursivePooling,
    RowRMSprop,
    RowSGD,
    TransitionMemory,
    identify,
)
from engram_rl.memory.forgetting.weakest import WeakestEntries
from engram_rl.memory.indexes.auto import AutoIndex
from engram_rl.memory.indexes.exact import BLAS_THRESHOLD, products_early, torch_search
from tests.memory.filled import assert_same, written_in_turn

CODED = [Modality("v", 2), Modality("a", kind="discrete")]
PAIR = [Modality("v", 2), Modality("p", 2)]


def made(space=2, capacity=20, **options):
    return DifferentiableNeuralDictionary(space, 1, capacity, **({"k": 2} | options))


def t(*rows):
    return torch.tensor(rows)


class TestSubsets:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
    @pytest.mark.parametrize("entries", [1, 3])
    def test_evidence_is_finite_with_codes_one_entry_and_at_any_scale(self, dtype, scale, entries, tmp_path):
        memory = made([*PAIR, Modality("a", kind="discrete")], dtype=dtype)
        part = scale * torch.eye(2, dtype=dtype)[[0, 1, 0]][:entries]
        memory.write({"v": part, "p": part, "a": t([0], [1], [0])[:entries]}, torch.ones(entries, 1, dtype=dtype))
        found = memory.lookup({"v": 3 * part, "p": part, "a": t([0], [1], [7])[:entries]}, references="all")
        torch.testing.assert_close(found.value, torch.ones(entries, 1, dtype=dtype))
        torch.testing.assert_close(found.evidence.sum(1), torch.ones(entries, dtype=dtype))
        memory.save(tmp_path / "m")
        DifferentiableNeuralDictionary.load(tmp_path / "m")

    def test_a_subset_that_a_query_lacks_finds_nobody_and_touches_nobody(self):
        memory = made(PAIR)
        memory.write({"v": torch.rand(5, 2), "p": torch.rand(5, 2)}, torch.ones(5, 1))
        query = {"v": torch.zeros(1, 2), "p": torch.zeros(1, 2)}
        found = memory.lookup(query, present={"p": t(False)}, references=[("p",), ("v",)])
        assert found.valid.tolist() == [[False, False, True, True]] and memory.usage.hits.sum() == 2
        alone = memory.lookup(query, present={"p": t(False)}, references=[("p",)])
        assert not alone.valid.any() and (alone.value == 0).all()


class TestModes:
    @pytest.mark.parametrize("space", [10, [Modality("v", 8), Modality("p", 2)]])
    def test_under_autocast_keys_are_stored_and_found_as_without(self, space):
        keys, memory = torch.randn(500, 10) + 30, made(space, 500, k=1)
        with torch.autocast("cpu", torch.bfloat16):
            memory.write(keys, torch.zeros(500, 1))
            found = memory.lookup(keys, references="all" if isinstance(space, list) else None)
        assert found.value.dtype == torch.float32 and torch.equal(memory.key_vectors[:500], keys)
        assert torch.equal(memory.lookup(keys).slots[:, 0], torch.arange(500))

    def test_lower_precision_of_products_is_left_to_the_caller(self):
        torch.set_float32_matmul_precision("medium")
        try:
            memory = made(PAIR)
            memory.write(torch.rand(9, 4) + 100, torch.zeros(9, 1))
            memory.lookup(torch.rand(9, 4))
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision("highest")

    @pytest.mark.parametrize("space", [2, PAIR, CODED])
    @pytest.mark.parametrize("index", ["exact", "cached"])
    def test_what_was_built_and_read_in_inference_mode_can_be_written_outside(self, space, index):
        size = KeySpace(space).dim
        with torch.inference_mode():
            memory = made(space, index=index)
            memory.write(torch.ones(3, size), torch.zeros(3, 1))
            memory.lookup(torch.ones(1, size))
            memory.forget(t(0))
        memory.write(torch.ones(3, size), torch.zeros(3, 1))
        found = memory.lookup(torch.ones(1, size))
        found.value.sum().backward()
        RowRMSprop(memory).step(found)

    def test_double_precision_by_default_changes_no_index(self):
        torch.set_default_dtype(torch.float64)
        try:
            memory = made(4, 900, index=IVFIndex(lists=8, start=100, check_every=1), dtype=torch.float32)
            memory.write(torch.randn(900, 4), torch.zeros(900, 1))
            memory.index.build(900)
            assert memory.lookup(torch.randn(3, 4)).valid.all()
            assert memory.lookup(torch.zeros(0, 4)).slots.shape == (0, 2)
        finally:
            torch.set_default_dtype(torch.float32)


class TestCodes:
    @pytest.mark.parametrize("how", ["move", "rmsprop"])
    def test_the_right_code_is_found_wherever_keys_have_gone(self, how):
        memory = made([Modality("v", 1), Modality("a", kind="discrete")], 100, k=1)
        codes = torch.zeros(100, 1, dtype=torch.int64)
        codes[0] = 1
        memory.write({"v": torch.rand(100, 1), "a": codes}, torch.zeros(100, 1))
        if how == "move":
            memory.move(t(0), keys=t([1e6]))
        else:
            query = {"v": torch.full((1, 1), 0.5), "a": t([1])}
            found = memory.lookup(query)
            found.keys.grad, found.values.grad = torch.full_like(found.keys, -1.0), torch.zeros_like(found.values)
            RowRMSprop(memory, lr=1e6).step(found)
        assert memory.lookup({"v": torch.zeros(1, 1), "a": t([1])}).slots.tolist() == [[0]]

    @pytest.mark.parametrize("k", [3, 600])
    def test_of_many_equal_codes_the_latest_are_found_also_when_written_again_or_forgotten(self, k):
        memory = made([Modality("a", kind="discrete"), Modality("b", kind="discrete")], 40, k=k, write_rule="last")
        names = torch.arange(30)
        a = (names % 2).unsqueeze(1)
        slots = memory.write({"a": a, "b": torch.zeros_like(a)}, torch.zeros(30, 1), identity=names)
        memory.lookup({"a": t([0])})
        memory.write({"a": a[:2]}, torch.zeros(2, 1), identity=names[:2])
        memory.forget(slots[[28, 26]])
        newest = [0, 24, 22, 20][: min(k, 4)]
        assert memory.lookup({"a": t([0])}).slots[0, : len(newest)].tolist() == newest
        assert memory.lookup({"a": t([0]), "b": t([0])}).slots[0, : len(newest)].tolist() == newest

    def test_an_update_with_fewer_parts_keeps_those_it_had(self):
        memory = made(CODED, write_rule="last")
        memory.write({"v": torch.ones(1, 2), "a": t([3])}, torch.zeros(1, 1), identity=t(5))
        memory.write({"v": torch.zeros(1, 2)}, torch.ones(1, 1), identity=t(5))
        assert memory.store.present[0].all() and memory.store.codes[0].item() == 3
        assert memory.key_vectors[0].tolist() == [0, 0]


class TestPenalties:
    @pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
    def test_one_entry_that_has_the_part_comes_before_one_that_lacks_it(self, scale):
        memory = made(PAIR, k=1)
        memory.write({"v": torch.zeros(1, 2)}, torch.zeros(1, 1))
        memory.write({"p": scale * t([5.0, 5.0])}, torch.zeros(1, 1))
        assert memory.lookup({"p": scale * t([5.01, 5.0])}).slots.item() == 1

    @pytest.mark.parametrize("how", ["replace", "move", "forget"])
    def test_they_are_of_what_is_stored_now(self, how):
        torch.manual_seed(0)
        memory = made([Modality("v", 1), Modality("p", 1)], 30)
        slots = memory.write(1e9 * torch.randn(10, 2), torch.zeros(10, 1))
        now = torch.randn(30, 2)
        if how == "move":
            memory.move(slots, keys=now[:10])
        elif how == "forget":
            memory.forget(slots)
            memory.write(now[:10], torch.zeros(10, 1))
        else:
            memory.write(now, torch.zeros(30, 1))
        stored = memory.key_vectors[memory.slots].double()
        torch.testing.assert_close(
            memory.store.penalties().double(), 2 * stored.var(0, correction=0), rtol=1e-5, atol=0
        )


class TestMatching:
    def test_it_looks_among_entries_with_the_same_parts(self):
        memory = made([Modality("v", 1), Modality("p", 1)], write_rule="last", match_within=0.1)
        memory.write({"v": t([0.0]), "p": t([0.0])}, torch.zeros(1, 1))
        memory.write({"v": t([0.01])}, torch.zeros(1, 1))
        memory.write({"v": t([0.0])}, torch.zeros(1, 1))
        assert len(memory) == 2

    def test_with_a_rule_that_never_updates_it_is_refused(self):
        with pytest.raises(ValueError, match=r"match_within is 0\.1.*give blend, last"):
            made(match_within=0.1)


class TestForgetting:
    @pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e9])
    @pytest.mark.parametrize("uses", [0, 10**9])
    def test_the_lowest_priority_goes_however_small_or_old(self, scale, uses):
        memory = made(1, 2, forgetting=Priority())
        memory.write(t([1.0], [2.0]), torch.zeros(2, 1), scale * t(1.001, 0.5))
        memory.forgetting.uses += uses
        memory.write(t([3.0]), torch.zeros(1, 1), scale * t(1.0))
        memory.write(t([4.0]), torch.zeros(1, 1), scale * t(1.001))
        assert sorted(memory.key_vectors.flatten().tolist()) == [1, 4]

    def test_weak_newcomers_take_each_others_place_as_if_written_one_by_one(self):
        generator = torch.Generator().manual_seed(0)
        both = [made(1, 50, forgetting=policy, write_rule="append") for policy in (Priority(), Priority())]
        for weight in (1.0, 0.1, 0.5):
            keys, priority = torch.rand(40, 1, generator=generator), weight * torch.rand(40, generator=generator)
            names = torch.randint(0, 60, (40,), generator=generator)
            at_once = both[0].write(keys, keys, priority, names)
            assert at_once.tolist() == written_in_turn(both[1], keys, keys, priority, names).tolist()
        states = [memory.state_dict() for memory in both]
        for name in ("values", "identities"):
            assert torch.equal(states[0][name], states[1][name])
        for name in ("generation", "writes"):
            assert torch.equal(states[0]["slots"][name], states[1]["slots"][name])
        assert states[0]["slots"]["evictions"] == states[1]["slots"]["evictions"]
        for name in ("score", "since"):
            assert torch.equal(states[0]["forgetting"][name], states[1]["forgetting"][name])

    @pytest.mark.parametrize("saved", ["lru", "fifo", "priority", "confidence", Decay(0.1), Decay(1e6)])
    @pytest.mark.parametrize("loaded", [LeastRecentlyUsed(), Decay(10.0), Priority()])
    def test_a_memory_goes_on_under_another_policy_on_that_policys_scale(self, saved, loaded, tmp_path):
        memory = made(1, 50, forgetting=saved)
        for key in range(50):
            memory.write(torch.full((1, 1), float(key)), torch.zeros(1, 1), t(1.0))
        memory.save(tmp_path / "m")
        twin = DifferentiableNeuralDictionary.load(tmp_path / "m", forgetting=loaded)
        twin.write(100 + torch.arange(10.0).unsqueeze(1), torch.zeros(10, 1), torch.ones(10))
        assert (twin.key_vectors >= 100).sum() == 10 and sorted(twin.key_vectors.flatten().tolist())[:1] == [10]

    def test_no_entry_has_no_strength_and_too_large_a_priority_is_refused(self):
        memory = made(forgetting=Decay(5.0))
        slots = memory.write(torch.rand(2, 2), torch.zeros(2, 1))
        memory.forget(slots[:1])
        assert memory.strength(slots)[0] == 0
        with pytest.raises(ValueError, match=r"priority holds 1e\+39"):
            memory.write(torch.rand(1, 2), torch.zeros(1, 1), torch.tensor([1e39], dtype=torch.float64))

    def test_all_the_weakest_are_there_when_more_are_asked_for_than_were_gathered_before_growth(self):
        score = torch.rand(75_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        entries = WeakestEntries(score)
        entries.lowest(1, 40_000)
        entries.lowered(torch.arange(40_000, 75_000))
        assert torch.equal(entries.lowest(75_000, 75_000), score.argsort())
        equal = WeakestEntries(torch.zeros(75_000, dtype=torch.float64))
        equal.lowest(1, 75_000)
        assert len(equal.lowest(60_000, 75_000)) == 60_000


class TestIndexes:
    @pytest.mark.parametrize(("offset", "spread"), [(0, 1), (100, 0.01), (1e4, 1), (0, 1e-6), (0, 1e6)])
    def test_ivf_finds_keys_of_any_offset_and_scale(self, offset, spread):
        generator = torch.Generator().manual_seed(0)
        keys, query = (offset + spread * torch.randn(n, 4, generator=generator) for n in (3000, 100))
        index = IVFIndex(lists=32, probes=16, start=500, check_every=0)
        memory, exact = made(4, 3000, k=10, index=index), made(4, 3000, k=10)
        for one in (memory, exact):
            one.write(keys, torch.zeros(3000, 1))
        index.build(3000)
        found, true = (one.lookup(query).slots for one in (memory, exact))
        assert (found.unsqueeze(2) == true.unsqueeze(1)).any(1).float().mean() > 0.95

    def test_the_estimate_is_of_queries_of_batches_of_any_size(self):
        generator = torch.Generator().manual_seed(0)
        index = IVFIndex(lists=64, probes=1, start=500, target=0.0, check_every=1)
        memory = made(8, 3000, k=10, index=index)
        exact = made(8, 3000, k=10)
        keys = torch.randn(3000, 8, generator=generator)
        for one in (memory, exact):
            one.write(keys, torch.zeros(3000, 1))
        index.build(3000)
        true = []
        for _ in range(64):
            for n, scale in ((1, 0.0), (9, 1.0)):
                query = scale * torch.randn(n, 8, generator=generator)
                slots = (one.lookup(query).slots for one in (memory, exact))
                found, right = slots
                true += (found.unsqueeze(2) == right.unsqueeze(1)).any(1).float().mean(1).tolist()
        assert index.report()["recall"] == pytest.approx(np.mean(true), abs=0.1)

    @pytest.mark.parametrize("index", [IVFIndex(lists=8, start=100), AutoIndex(lists=8, start=100)])
    def test_nothing_piles_up_while_only_parts_are_asked_for(self, index):
        memory = made(PAIR, 300, index=index)
        memory.write(torch.rand(300, 4), torch.zeros(300, 1))
        ivf = getattr(memory.index, "_ivf", memory.index)
        ivf.build(300)
        for _ in range(6000):
            ivf.written(torch.arange(8))
        assert sum(len(one) for one in ivf._stale) < 40_000 and len(ivf._stale) <= 4097

    def test_auto_times_both_again_when_the_memory_has_grown(self):
        index = AutoIndex(lists=8, start=100, check_every=0)
        memory = made(4, 1000, index=index)
        memory.write(torch.rand(200, 4), torch.zeros(200, 1))
        memory.index._ivf.build(200)
        for _ in range(20):
            memory.lookup(torch.rand(1, 4))
        settled = memory.index._trials
        memory.write(torch.rand(400, 4), torch.zeros(400, 1))
        memory.lookup(torch.rand(1, 4))
        assert memory.index._trials is not settled and memory.index._timed_at == 600

    def test_threads_that_search_at_once_leave_the_setting_of_faiss_as_it_was(self):
        before = faiss.cvar.distance_compute_blas_threshold
        inside, leave = threading.Event(), threading.Event()

        def first():
            with products_early():
                inside.set()
                leave.wait(5)

        thread = threading.Thread(target=first)
        thread.start()
        inside.wait(5)
        with products_early():
            leave.set()
            thread.join()
        assert faiss.cvar.distance_compute_blas_threshold == before

    def test_the_setting_of_faiss_is_changed_for_as_long_as_anybody_searches(self):
        before = faiss.cvar.distance_compute_blas_threshold
        assert before != BLAS_THRESHOLD
        with products_early():
            assert faiss.cvar.distance_compute_blas_threshold == BLAS_THRESHOLD
            with products_early():
                pass
            assert faiss.cvar.distance_compute_blas_threshold == BLAS_THRESHOLD
        assert faiss.cvar.distance_compute_blas_threshold == before

    def test_a_search_in_torch_takes_blocks_that_fit(self):
        rows, queries = torch.randn(5000, 4).double(), torch.randn(300, 4).double()
        whole = torch_search(rows, queries, 7, True)
        assert torch.equal(torch_search(rows, queries, 7, True, most_bytes=2**20), whole)

    def test_answers_of_two_widths_stand_side_by_side_and_unmoved_keys_drop_none(self):
        memory = made(2, 40, index="cached")
        slots = memory.write(torch.rand(30, 2), torch.zeros(30, 1))
        for k in (2, 5):
            memory.lookup(torch.ones(1, 2), k=k)
        assert memory.index.report()["answers"] == 2
        memory.move(slots, keys=memory.key_vectors[slots].clone())
        assert memory.index.report()["answers"] == 2
        memory.move(slots[:1], keys=torch.ones(1, 2))
        assert memory.lookup(torch.ones(1, 2), k=5).slots[0, 0] == slots[0]


class TestLearning:
    def test_values_of_memories_of_codes_can_be_trained(self):
        memory = made([Modality("a", kind="discrete")], k=1)
        memory.write({"a": t([1])}, torch.zeros(1, 1))
        found = memory.lookup({"a": t([1])})
        (found.value - 1).sum().backward()
        RowSGD(memory, lr=0.0, value_lr=0.1).step(found, found)
        assert memory.values[0].item() == pytest.approx(-0.1)
        with pytest.raises(RuntimeError, match="no gradient has reached the values"):
            RowSGD(memory, lr=0.0, value_lr=0.1).step(found)


class TestRefusals:
    def test_integers_that_would_be_rounded_are_refused_by_name(self):
        memory = made()
        for keys, values in ((torch.zeros(1, 2), t([2**24 + 1])), (t([2**24 + 1, 0]), torch.zeros(1, 1))):
            with pytest.raises(ValueError, match="16777217"):
                memory.write(keys, values)
        memory.write(t([2**24, -(2**30)]), t([2**25]))
        assert memory.values[0].item() == 2**25
        made(dtype=torch.float64).write(torch.zeros(1, 2), t([2**24 + 1]))

    @pytest.mark.parametrize(
        "space", [[Modality("v", 2, weight=1e20)], [Modality("v", 2, weight=1e20), Modality("p", 1)]]
    )
    def test_heavy_parts_find_what_they_should_and_heavier_ones_are_refused(self, space):
        memory = made(space, k=1)
        memory.write({"v": torch.eye(2)}, torch.zeros(2, 1))
        assert memory.lookup({"v": torch.eye(2)}).slots.tolist() == [[0], [1]]
        with pytest.raises(ValueError, match="weight"):
            Modality("v", 2, weight=1e30)

    def test_an_entry_that_is_to_go_to_two_places_stays_and_penalties_too(self):
        memory = made(PAIR)
        memory.write({"v": torch.randn(6, 2), "p": torch.randn(6, 2)}, torch.zeros(6, 1))
        rows, penalties = memory.key_vectors.clone(), memory.store.penalties().clone()
        with pytest.raises(ValueError, match="name an entry twice"):
            memory.move(t(3, 0, 3), keys=torch.full((3, 4), 50.0))
        memory.move(t(3, 0), values=torch.ones(2, 1))
        assert torch.equal(memory.key_vectors, rows)
        assert torch.equal(memory.store.penalties(), penalties)

    def test_a_stale_exclude_with_generations_hides_nobody(self):
        memory = made(2, 2, k=1)
        slots = memory.write(torch.eye(2), torch.zeros(2, 1))
        named = memory.generation[slots].clone()
        memory.write(torch.eye(2), torch.zeros(2, 1))
        assert memory.lookup(torch.eye(2), exclude=(slots, named)).distances.tolist() == [[0], [0]]
        assert memory.lookup(torch.eye(2), exclude=(slots, memory.generation[slots])).distances.tolist() == [[2], [2]]


def test_what_a_file_says_beside_the_keys_is_worked_out_anew(tmp_path):
    memory = made(CODED)
    memory.write({"v": torch.rand(9, 2), "a": torch.arange(9).unsqueeze(1) % 2}, torch.zeros(9, 1))
    state = memory.state_dict()
    assert state["rows"].shape == (9, 2)
    for change in (1.01, 1e6):
        state["spread"]["squares"] *= change
        twin = made(CODED)
        twin.load_state_dict(state)
        assert torch.equal(twin.store.penalties(), memory.store.penalties())
    assert torch.equal(twin.store.rows, memory.store.rows)


@pytest.mark.parametrize(
    ("slot", "message"), [(-1, "slots holds -1"), (9, "slots holds 9"), (2, "slot 2 holds no entry")]
)
def test_only_entries_move(slot, message):
    memory = made(2, 9)
    memory.write(torch.eye(2), torch.zeros(2, 1))
    before = memory.state_dict()
    with pytest.raises(ValueError, match=message):
        memory.move(torch.tensor([0, slot]), torch.ones(2, 2), torch.ones(2, 1))
    assert_same(memory.state_dict(), before)


def test_codes_come_out_as_they_are_also_where_some_lack_them():
    memory = made(CODED)
    memory.write({"v": torch.ones(1, 2), "a": t([2**62 + 1])}, torch.zeros(1, 1))
    memory.write({"v": torch.ones(1, 2)}, torch.zeros(1, 1))
    columns = memory.to_arrays()
    assert columns["a"].tolist() == [[2**62 + 1], [0]] and columns["has_a"].tolist() == [True, False]
    assert columns["identity"].tolist() == [0, 0] and columns["has_identity"].tolist() == [False, False]


def test_walks_of_any_length_and_strength_arrive():
    memory = made()
    slots = memory.write(torch.rand(2, 2), torch.zeros(2, 1))
    for weight in (0.5, 1e30):
        memory.link(slots, slots.flip(0), weight)
        for steps in (160, 1_200):
            reached = memory.follow(slots, steps)
            assert reached.slots.tolist() == [[0], [1]] and (reached.weights > 0).all()
            assert reached.weights.isfinite().all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32])
def test_a_symbol_has_one_code_and_zero_one_hash(dtype):
    pool, grid = RecursivePooling((4, 4)), np.arange(16).reshape(1, 4, 4) % 3
    codes = pool(torch.from_numpy(grid.astype(dtype)))
    assert all(torch.equal(part, pool(torch.from_numpy(grid))[name]) for name, part in codes.items())
    assert torch.equal(identify(np.array([[0.0]])), identify(np.array([[-0.0]])))


class TestPlanning:
    def plan(self, tm):
        return Planner(tm, imagine=False)

    def test_harm_that_is_met_again_is_planned_with(self):
        tm = TransitionMemory(1, 2, 100)
        a, b, c = (np.array([[float(i)]]) for i in range(3))
        z, u = np.array([0]), np.array([1])
        for start, action, end in ((a, z, b), (a, u, c), (c, u, b)):
            tm.write(start, action, end)
        planner = self.plan(tm)
        start, goal = tm.name(np.array([[0.0], [1.0]]))
        goals = [np.array([goal])]
        assert planner.cost_to_go(goals)[0][start] == 1
        for harm in (1.0, 0.0):
            tm.write(a, z, b, harms=harm)
            assert planner.cost_to_go(goals)[0][start] == self.plan(tm).cost_to_go(goals)[0][start] == 1 + (harm > 0)

    def test_a_refutation_that_was_survived_fades_sooner(self):
        tm = TransitionMemory(1, 1, 100, half_life=10.0, keep_refuted=0.5)
        a, b, z = np.array([[0.0]]), np.array([[1.0]]), np.array([0])
        for _ in range(4):
            tm.write(a, z, b)
        planner = self.plan(tm)
        start, goal = tm.name(np.array([[0.0], [1.0]]))
        goals = [np.array([goal])]
        assert planner.cost_to_go(goals)[0][start] == 1
        tm.write(a, z, a)
        tm.tick(25)
        assert planner.cost_to_go(goals)[0][start] == self.plan(tm).cost_to_go(goals)[0][start] == np.inf

    def test_looking_is_taken_back_also_when_it_fails(self):
        tm = TransitionMemory(1, 1, 100)
        with pytest.raises(KeyError), tm.only_looking():
            tm.name(np.array([[7.0]]))
            raise KeyError
        assert len(tm.ids()) == 0


@pytest.mark.parametrize("what", [made(), made(CODED).lookup(torch.zeros(99, 3)), TransitionMemory(2, 3)])
def test_a_screen_says_what_it_is(what):
    lines = repr(what).splitlines()
    assert type(what).__name__ in lines[0] and len(lines) <= 12 and max(map(len, lines)) <= 160


@pytest.mark.parametrize(
    "given", [{"view": np.zeros((2, 3))}, [{"view": 1}], None, np.float32(3), np.array([object()]), [np.zeros(2), 1]]
)
def test_what_is_no_array_of_rows_has_no_identity(given):
    with pytest.raises((TypeError, ValueError), match=r"array of numbers, a row each|inhomogeneous"):
        identify(given)


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int64])
@pytest.mark.parametrize("metric", ["l2", "discrete"])
def test_whole_numbers_of_any_type_are_keys_and_values(kind, metric):
    memory = DifferentiableNeuralDictionary([Modality("part", 1, kind=metric)], 1, 10, k=1)
    parts = torch.tensor([[3], [100], [7]]).to(kind)
    memory.write({"part": parts}, parts)
    found = memory.lookup({"part": parts})
    assert found.value.flatten().tolist() == [3.0, 100.0, 7.0]
    if kind.itemsize > 2:
        with pytest.raises(ValueError, match=r"would round|integer"):
            memory.write({"part": parts}, torch.full((3, 1), 2**25 + 1).to(kind))
