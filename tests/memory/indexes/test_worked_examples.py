"""The pieces of the indexes: what they take, when they begin anew and how far they go, by worked examples."""

from contextlib import nullcontext
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
import torch

from engram_rl.memory import AutoIndex, CachedIndex, DifferentiableNeuralDictionary, IVFIndex, Modality
from engram_rl.memory.indexes import auto, exact
from engram_rl.memory.indexes.estimate import ENOUGH, Check, RecallEstimate
from engram_rl.memory.indexes.exact import MOST_ON_GPU, faiss_gpu_search, nearest, nearest_alike, torch_search
from engram_rl.memory.indexes.fitting import _fitted_better, coding_axes, main_axes, nearest_centre


def made(space=2, capacity=400, n=0, **options):
    memory = DifferentiableNeuralDictionary(space, 1, capacity, **({"k": 3} | options))
    size = memory.space.dim
    if n:
        memory.write(torch.randn(n, size, generator=torch.Generator().manual_seed(0)), torch.zeros(n, 1))
    return memory


class TestFitting:
    def test_a_step_of_k_means_is_that_of_a_loop(self):
        draw = np.random.default_rng(0)
        keys, centres = draw.normal(size=(57, 3)).astype(np.float32), draw.normal(size=(9, 3)).astype(np.float32)
        centres[4] = 1e3  # nobody is near
        stepping, pieces = _fitted_better(centres, keys, 10, turn=7), 0
        while True:
            try:
                next(stepping)
                pieces += 1
            except StopIteration as end:
                better = end.value
                break
        assert pieces == 6
        nearest_of = np.array([np.square(centres - key).sum(1).argmin() for key in keys])
        assert nearest_centre(keys, centres).tolist() == nearest_of.tolist()
        for number in range(9):
            mine = keys[nearest_of == number]
            if len(mine):
                np.testing.assert_allclose(better[number], mine.mean(0), rtol=1e-5, atol=1e-6)
            else:
                assert (keys == better[number]).all(1).any()
        assert not (nearest_of == 4).any()

    @pytest.mark.parametrize(
        ("variances", "axes"),
        [
            ([9.6] * 10 + [0.4] * 10, 10),
            ([9.4] * 10 + [0.6] * 10, 12),  # 94 of a hundred, and twice 0.6
            ([100.0] + [1e-3] * 19, 8),
            ([1.0] * 20, 19),  # 95 of a hundred
            ([5.0] * 5, 5),
            ([1.0], 1),
        ],
    )
    def test_main_axes_tell_95_of_a_hundred_and_are_eight_at_least(self, variances, axes):
        size = len(variances)
        turn = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0)).double()).Q
        keys = torch.cat([torch.eye(size), -torch.eye(size)]).double() * torch.tensor(variances).double().sqrt() @ turn
        found = main_axes(keys * (1 + 1e-9))
        assert found.shape == (size, axes)
        torch.testing.assert_close(found.T @ found, torch.eye(axes).double())
        kept = (keys @ found).square().sum() / keys.square().sum()
        assert kept == pytest.approx(sum(sorted(variances)[-axes:]) / sum(variances))

    @pytest.mark.parametrize(("columns", "pairs"), [(16, None), (17, 9), (18, 9)])
    def test_the_widest_axis_shares_its_code_with_the_narrowest(self, columns, pairs):
        spread = torch.logspace(-1, 1, columns)
        keys = torch.cat([torch.diag(spread), -torch.diag(spread)])
        axes = coding_axes(keys)
        width = (keys @ axes).square().sum(0).sqrt()
        if pairs is None:
            assert axes.shape == (16, 16) and (width.diff() > 0).all()  # each has its own
            return
        assert axes.shape == (columns, 2 * pairs)
        padded = torch.cat([torch.zeros(2 * pairs - columns), spread * 2**0.5])
        expected = torch.stack([padded[:pairs], padded[pairs:].flip(0)], 1).flatten()
        torch.testing.assert_close(width, expected, rtol=1e-4, atol=1e-5)


class TestIVF:
    def acting(self, probes, width=1.5, elsewhere=True, checks=64, **options):
        """An index of 64 lists with an estimate of so many checks, which missed what was elsewhere or not."""
        index = IVFIndex(lists=64, probes=4, start=100, check_every=0, **options)
        made(index=index, n=400)
        index._lists = SimpleNamespace(imbalance=1.0)
        index._probes, index._width = probes, width
        begun = index.begun = []
        index._estimate = SimpleNamespace(
            has=lambda n: n <= checks, mostly_elsewhere=elsewhere, reported=None, begin_anew=lambda: begun.append(1)
        )
        return index

    @pytest.mark.parametrize(
        ("estimate", "probes", "width", "elsewhere", "then"),
        [
            (0.9601, 16, 1.5, True, (16, 1.5)),  # as it should be: above the target, and not well above
            (0.9799, 18, 1.5, True, (18, 1.5)),
            (0.9599, 16, 1.5, True, (18, 1.5)),  # an eighth more
            (0.9599, 20, 1.5, True, (22, 1.5)),
            (0.9001, 16, 1.5, True, (18, 1.5)),
            (0.8999, 16, 1.5, True, (24, 1.5)),  # half as many more
            (0.5, 50, 1.5, True, (64, 1.5)),  # there are no more
            (0.5, 64, 1.5, True, (64, 2.25)),  # so more of what they hold is proposed
            (0.5, 4, 1.5, False, (4, 2.25)),
            (0.95, 4, 1.6, False, (4, 1.8)),
            (0.5, 4, 12.0, False, (4, 16.0)),
            (0.5, 4, 16.0, False, (6, 16.0)),
            (0.5, 64, 16.0, False, (64, 16.0)),
            (0.9801, 18, 1.5, True, (16, 1.5)),
            (0.9801, 18, 3.0, True, (18, 3.0 * 8 / 9)),  # what loses more stays
            (0.9801, 18, 3.0, False, (16, 3.0)),
            (0.9801, 4, 1.5, False, (4, 1.5)),  # no fewer than were asked for
            (0.9801, 5, 1.5, True, (4, 1.5)),
        ],
    )
    def test_more_is_looked_at_below_the_target_and_less_well_above(self, estimate, probes, width, elsewhere, then):
        index = self.acting(probes, width, elsewhere, target=0.95)
        index._act_on(estimate, 400)
        assert (index._probes, pytest.approx(index._width)) == then
        assert len(index.begun) == ((probes, width) != then)

    def test_less_is_looked_at_after_four_times_the_checks_only_and_never_less_than_was_too_little(self):
        index = self.acting(18, checks=4 * ENOUGH - 1)
        index._act_on(0.999, 400)
        assert index._probes == 18
        index = self.acting(18, checks=4 * ENOUGH)
        index._act_on(0.5, 400)
        assert index._probes == 27
        index._act_on(0.999, 400)
        assert index._probes == 27 and index._width == 1.5
        assert index.report()["probes"] == 27 and index.report()["width"] == 1.5

    @pytest.mark.parametrize(
        ("changed", "first", "repairs"), [(0.1, 4, False), (0.1025, 4, True), (0.5, 5, False), (0.5025, 5, True)]
    )
    def test_centres_are_to_blame_when_more_lists_do_not_help(self, changed, first, repairs):
        index = self.acting(4)  # and then 6 lists, as many again by half as there were at first, or fewer
        index._probes_at_first = first
        index._changed[:] = False
        index._changed[: round(changed * 400)] = True
        index._act_on(0.5, 400)
        assert index.report()["repairing"] is repairs

    @pytest.mark.parametrize(("uneven", "repairs"), [(3.0, False), (3.01, True)])
    def test_lists_twice_as_uneven_are_drawn_anew(self, uneven, repairs):
        index = self.acting(16)
        index._imbalance, index._lists.imbalance = 1.5, uneven
        index._act_on(0.97, 400)
        assert index.report()["repairing"] is repairs

    def test_full_recall_is_enough_for_any_target(self):
        index = self.acting(16, target=1.0)
        index._act_on(1.0, 400)
        assert index._probes == 16
        index._act_on(0.999, 400)
        assert index._probes == 18

    @pytest.mark.parametrize(("capacity", "lists"), [(100, 40), (10_000, 400), (1_100_000, 4096)])
    def test_lists_are_four_times_the_root_of_the_capacity(self, capacity, lists):
        index = IVFIndex()
        made(1, capacity, index=index)
        assert index.report() == {
            "kind": "ivf",
            "ready": False,
            "lists": lists,
            "probes": 20,
            "width": 1.5,
            "recall": None,
            "repairing": False,
        }
        few = IVFIndex(start=30)
        made(1, capacity, index=few)
        assert few.report()["lists"] == 30

    def test_it_serves_from_so_many_entries_on(self):
        index = IVFIndex(lists=4, start=100, check_every=0)
        memory = made(index=index, n=100)
        query = memory.space.pack(torch.zeros(1, 2))
        assert index.serving(query, 99) is index._exact and not index.report()["repairing"]
        assert index.serving(query, 100) is index._exact and index.report()["repairing"]
        index.build(100)
        assert index.serving(query, 100) is index and not index.report()["repairing"]
        assert index.serving(query, 99) is index._exact

    def test_keys_are_filed_anew_when_they_have_moved_a_fifth_of_the_way_or_half_of_what_is_blurred(self):
        for reach, blur in ((1.0, 0.0), (0.0, 0.4)):
            index = IVFIndex(lists=4, start=100, check_every=0)
            memory = made(index=index, n=300)
            index.build(300)
            index._catch_up()
            index._reach, index._lists.blur = reach, blur
            memory.move(torch.tensor([5]), keys=memory.key_vectors[[5]] + torch.tensor([[0.199, 0.0]]))
            assert index._stale == [] and not index._changed[5]
            memory.move(torch.tensor([5]), keys=memory.key_vectors[[5]] + torch.tensor([[0.0, 0.002]]))
            assert [one.tolist() for one in index._stale] == [[5]] and index._changed.sum() == 1
            index._catch_up()
            assert index._drift[5] == 0 and index._stale == [] and index._waiting == 0

    def test_what_waits_is_kept_once_when_there_is_more_than_there_are_entries(self, monkeypatch):
        from engram_rl.memory.indexes import ivf

        monkeypatch.setattr(ivf, "MOST_STALE", 5)
        index = IVFIndex(lists=4, start=20, check_every=0)
        made(index=index, n=30)
        index.build(30)
        index._catch_up()
        for turn in range(6):  # 5 + 2 * 30 may wait
            index.written(torch.arange(10 + (turn == 5) * 5))
            assert len(index._stale) == turn % 5 + 1 or turn == 5
        assert index._waiting == sum(map(len, index._stale))
        for turn in range(10):  # 45, 75 which are 30 others, 60, 90 which are 30 others, ...
            index.written(torch.arange(30))
            assert len(index._stale) == (2, 1)[turn % 2] and index._waiting <= 65

    def test_a_check_says_what_share_was_found_and_where_the_others_were(self):
        index = IVFIndex(lists=32, probes=1, start=100, check_every=1)
        memory = made(3, 1500, index=index, n=1500, k=20)
        index.build(1500)
        checks = []
        index._estimate.add = checks.append
        missed_any = False
        for seed in range(12):
            query = torch.randn(1, 3, generator=torch.Generator().manual_seed(50 + seed))
            packed = memory.store.pack(query)
            proposed = set(index.propose(packed, 20, 1500)[0].tolist())
            distances = (memory.key_vectors - query).square().sum(1)
            near, true = distances.topk(20, largest=False)
            assert index._reach == pytest.approx(float(near[-1].sqrt()), rel=1e-5)
            missed = [slot for slot in true.tolist() if slot not in proposed]
            view = index._lists.view
            looked_at = index._lists.lists_near(view.seen(query), 1)[0].item()
            lists = index._lists.lists_near(view.seen(memory.key_vectors[missed]), 1)[0] if missed else None
            elsewhere = float((lists != looked_at).double().mean()) if missed else 0.0
            assert checks[-1] == (pytest.approx(1 - len(missed) / 20), 1, pytest.approx(elsewhere), 1500)
            missed_any |= bool(missed)
        assert missed_any and len(checks) == 12

    def test_more_lists_are_looked_at_only_where_too_few_entries_were_in_the_first(self):
        index = IVFIndex(lists=32, probes=1, start=100, check_every=0)
        memory = made(3, 1500, index=index, n=1500)
        index.build(1500)
        seen = index._lists.view.seen(memory.key_vectors[:1])
        held = int((index._lists.near(seen, *index._lists.lists_near(seen, 1), 1500) >= 0).sum())
        near, searches = index._lists.near, []
        index._lists.near = lambda seen, lists, *rest: searches.append(lists.shape[1]) or near(seen, lists, *rest)
        for k, looked_at in ((held - 1, [1]), (held, [1]), (held + 1, [1, 4])):
            searches.clear()
            found = index._search(seen, 1, k)[1]
            assert searches == looked_at and (found >= 0).sum() >= k

    @pytest.mark.parametrize(
        ("void", "lists"), [(0, None), (100, None), (101, 2), (999, 2), (1000, 19), (5000, 19)]
    )  # of 300 lists one in 256, and one in 16 where more is void than counts
    def test_the_more_is_void_the_more_is_tidied(self, void, lists):
        class Lists:
            def __init__(self):
                self.void, self.tidied = void, None

            def __len__(self):
                return 1000

            def tidy(self, lists):
                self.tidied = lists

        index = IVFIndex(lists=300, start=300)
        made(index=index)
        index._lists = Lists()
        index._catch_up()
        assert index._lists.tidied == lists

    def test_what_moves_while_centres_are_fitted_is_filed_where_it_is_then(self):
        index = IVFIndex(lists=4, start=100, check_every=0)
        memory = made(index=index, n=200)
        memory.lookup(torch.zeros(1, 2))
        assert index.report()["repairing"]
        index._changed[:] = False
        memory.move(torch.tensor([3, 9]), keys=torch.zeros(2, 2))
        memory.write(torch.zeros(1, 2), torch.zeros(1, 1))
        assert index._changed.nonzero()[0].tolist() == [3, 9, 200]
        while index._lists is None:
            memory.lookup(torch.zeros(1, 2), k=1)
        assert not any(len(waiting) for waiting in index._stale) and index._lists.filed[[3, 9, 200]].all()
        assert {3, 9, 200} <= set(memory.lookup(torch.zeros(1, 2), k=3).slots[0].tolist())

    def test_what_moves_while_all_is_filed_is_filed_once_more(self):
        index = IVFIndex(lists=4, start=100, check_every=0)
        memory = made(index=index, n=200)
        index._job = index._refit(200, piece=64)
        filed, file = [], index._file
        index._file = lambda lists, slots: filed.append(slots) or file(lists, slots)
        while not filed:
            memory.lookup(torch.zeros(1, 2))
        memory.move(torch.tensor([3, 9]), keys=torch.zeros(2, 2))
        while index._lists is None:
            memory.lookup(torch.zeros(1, 2), k=1)
        assert [waiting.tolist() for waiting in index._stale] == [[3, 9]] and index._late is None


class TestCached:
    def test_it_starts_over_with_one_answer_too_many(self):
        memory = made(index=CachedIndex(4), n=50)
        keys = torch.arange(10.0).reshape(5, 2)
        for asked, answers in ((keys[:3], 3), (keys[2:4], 2), (keys[:1], 3), (keys[:4], 4), (keys, 4)):
            memory.lookup(asked)
            assert memory.index.report() == {"kind": "cached", "answers": answers}

    def test_it_holds_answers_of_the_four_widths_that_were_asked_for_last(self):
        memory = made(index=CachedIndex(), n=50)
        for k, answers in ((1, 1), (2, 2), (3, 3), (4, 4), (1, 4), (5, 4)):
            memory.lookup(torch.zeros(1, 2), k=k)
            assert memory.index.report()["answers"] == answers
        assert list(memory.index._answers) == [3, 4, 1, 5]

    def test_directions_are_seen_where_they_have_gone(self):
        memory = made([Modality("d", 2, "cosine")], index="cached", k=1)
        memory.write(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))
        for place, slot in (([0.0, 9.0], 1), ([9.0, 0.1], 0)):
            assert memory.lookup(torch.tensor([place])).slots.item() == slot
            memory.move(torch.tensor([slot]), keys=-torch.tensor([place]))
            assert memory.lookup(-torch.tensor([place])).slots.item() == slot
            memory.write(torch.tensor([place]), torch.zeros(1, 1))
            assert memory.lookup(torch.tensor([place])).slots.item() == len(memory) - 1


class TestAuto:
    def searched(self, memory, times=1, queries=2):
        for _ in range(times):
            memory.lookup(torch.zeros(queries, 2))

    @pytest.mark.parametrize("queries", [1, 4])
    def test_each_is_timed_eight_times_and_again_when_there_are_half_as_many_more_or_fewer(self, monkeypatch, queries):
        index = AutoIndex(lists=4, start=30, check_every=0)
        memory = made(index=index, n=60)
        clock = iter(range(10**6))
        monkeypatch.setattr(auto.time, "perf_counter", lambda: next(clock))
        index._ivf.build(60)
        self.searched(memory, 1, queries)
        known = memory.index._trials
        assert [len(trial.seconds) for trial in known] == [1, 0] and index._timed_at == 60
        self.searched(memory, 15, queries)
        assert [len(trial.seconds) for trial in known] == [8, 8]
        assert index.report()["seconds_per_query"] == {"exact": 1 / queries, "ivf": 1 / queries}
        assert index.report()["kind"] == "auto" and index.report()["ready"]
        self.searched(memory, 5, queries)
        assert [len(trial.seconds) for trial in known] == [8, 8]
        query = memory.space.pack(torch.zeros(1, 2))
        for used, anew in ((90, False), (40, False), (91, True), (61, False), (60, True)):
            before = index._trials
            index.serving(query, used)
            assert (index._trials is not before) is anew, used
        assert index.exact is False

    def test_no_file_means_no_report_of_one(self):
        memory = made(index="auto", dtype=torch.float64, n=5)
        self.searched(memory)
        assert memory.index.report() == {"kind": "auto", "seconds_per_query": {}}
        fitting = made(index=AutoIndex(lists=4, start=30), n=60)
        assert fitting.index._possible and fitting.index.report()["lists"] == 4

    def test_what_no_inverted_file_would_take_is_refused_at_once(self):
        for wrong in ({"probes": 0}, {"start": 5, "lists": 6}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                AutoIndex(**wrong)


class TestEstimate:
    def test_what_is_missed_lies_mostly_elsewhere_from_one_half_on(self):
        for shares, mostly in (([0.5], True), ([0.49], False), ([1.0, 0.0], True), ([1.0, 0.0, 0.0], False)):
            estimate = RecallEstimate(8)
            for share in shares:
                estimate.add(Check(0.9, 1, share))
                estimate.add(Check(1.0, 1, 1.0))  # missed nothing, so it says nothing of that
            assert estimate.mostly_elsewhere is mostly

    def test_until_there_are_sixteen_checks_one_in_an_eighth_as_many_is_drawn(self):
        for every, first in ((64, 8), (8, 1), (4, 1)):
            estimate = RecallEstimate(every)
            drawn = [estimate.is_drawn() for _ in range(10 * first)]
            assert sum(drawn) == 10 and all(sum(drawn[i : i + first]) == 1 for i in range(0, len(drawn), first))
            for _ in range(16):
                assert not estimate.has(ENOUGH)
                estimate.add(Check(1.0, 1, 0.0))
            assert estimate.has(ENOUGH)
            assert [estimate.is_drawn() for _ in range(5 * every)].count(True) in (4, 5, 6)


class TestNearest:
    @pytest.mark.parametrize("space", [2, [Modality("a", 1), Modality("b", 1)]])
    @pytest.mark.parametrize(("n", "gone"), [(3, 0), (4, 1), (9, 0), (40, 30), (40, 1)])
    def test_there_are_always_as_many_columns_as_are_asked_for(self, space, n, gone):
        memory = made(space, n=n)
        memory.forget(torch.arange(gone))
        query = memory.store.pack(torch.zeros(5, 2))
        near = nearest(memory.store, memory.index, query, 4, memory.slot_table)
        there = min(4, n - gone)
        assert near.slots.shape == near.valid.shape == near.distances.shape == (5, 4)
        assert near.valid.sum(1).tolist() == [there] * 5 and near.complete is (there == 4)
        assert (near.slots[:, there:] == -1).all() and (near.distances[:, there:] == 0).all()
        true = memory.key_vectors[memory.slots].square().sum(1).sort().values[:there]
        torch.testing.assert_close(near.distances[0, :there], true)
        alike = nearest_alike(memory.store, memory.index, query, memory.slot_table)
        assert alike.slots.tolist() == near.slots[:, :1].tolist()

    def test_alike_is_who_has_just_these_parts(self):
        memory = made([Modality("a", 1), Modality("b", 1), Modality("c", kind="discrete")], capacity=60)
        a = torch.arange(60.0)[:, None]
        kinds = torch.arange(60) % 3
        present = {"b": kinds > 0, "c": kinds > 1}
        memory.write({"a": a, "b": a, "c": torch.zeros(60, 1)}, torch.zeros(60, 1), present=present)
        memory.forget(torch.tensor([30, 34, 38]))
        asked = torch.tensor([30.2, 34.2, 38.2, 7.4, -9.0])[:, None]
        query = {"a": asked, "b": asked, "c": torch.zeros(5, 1)}
        kind = torch.tensor([0, 1, 2, 0, 2])
        has = {"b": kind > 0, "c": kind > 1}
        near = nearest_alike(memory.store, memory.index, memory.store.pack(query, has), memory.slot_table)
        assert near.slots.flatten().tolist() == [33, 37, 41, 6, 2]
        expected = [2.8**2, 2 * 2.8**2, 2 * 2.8**2, 1.4**2, 2 * 11**2]
        torch.testing.assert_close(near.distances.flatten(), torch.tensor(expected), rtol=1e-4, atol=0)
        memory.forget(torch.arange(60)[kinds == 1])
        near = nearest_alike(memory.store, memory.index, memory.store.pack(query, has), memory.slot_table)
        assert near.slots.flatten().tolist() == [33, -1, 41, 6, 2] and near.valid.flatten().tolist()[1] is False

    def test_the_setting_of_faiss_is_changed_while_it_searches(self):
        before = faiss.cvar.distance_compute_blas_threshold
        with exact.products_early():
            assert faiss.cvar.distance_compute_blas_threshold == exact.BLAS_THRESHOLD != before
        with pytest.raises(KeyError), exact.products_early():
            raise KeyError
        assert faiss.cvar.distance_compute_blas_threshold == before


@pytest.mark.parametrize("by_distance", [True, False])
def test_on_a_gpu_faiss_is_asked_for_as_many_as_it_gives(monkeypatch, by_distance):
    calls = []

    def knn(resources, queries, rows, k, metric):
        calls.append((resources, k, metric, queries.is_contiguous()))
        found = faiss.knn(queries.numpy(), rows.numpy(), k, metric)
        return tuple(torch.from_numpy(part) for part in found)

    monkeypatch.setattr(faiss, "knn_gpu", knn, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setitem(__import__("sys").modules, "faiss.contrib.torch_utils", SimpleNamespace())
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    exact._gpu_resources.cache_clear()
    draw = torch.Generator().manual_seed(0)
    rows, queries = torch.randn(MOST_ON_GPU + 5, 3, generator=draw), torch.randn(3, 4, generator=draw).T
    for k in (1, 7, MOST_ON_GPU):
        found = faiss_gpu_search(rows, queries, k, by_distance)
        assert found[:, :3].tolist() == torch_search(rows, queries, k, by_distance)[:, :3].tolist()
    assert [call[1] for call in calls] == [1, 7, 2048] and len({id(call[0]) for call in calls}) == 1
    assert {call[2] for call in calls} == {faiss.METRIC_L2 if by_distance else faiss.METRIC_INNER_PRODUCT}
    assert all(call[3] for call in calls)
    assert faiss_gpu_search(rows, queries, MOST_ON_GPU + 1, by_distance).shape == (4, MOST_ON_GPU + 1)
    assert len(calls) == 3
    exact._gpu_resources.cache_clear()
