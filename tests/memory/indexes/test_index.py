"""An index may be slow to learn of a change or miss an entry, but what it finds is as true as the keys are now."""

from dataclasses import dataclass, field

import faiss
import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.memory.indexes import INDEXES, exact
from engram_rl.memory.indexes import auto as autos
from engram_rl.memory.indexes.auto import AutoIndex
from engram_rl.memory.indexes.cached import CachedIndex
from engram_rl.memory.indexes.exact import ExactIndex, torch_search
from engram_rl.memory.indexes.ivf import ENOUGH, IVFIndex

D, N = 8, 3000


def clustered(n, seed=0, centre=0.0):
    g = torch.Generator().manual_seed(seed)
    walks = torch.randn(n // 50, 1, D, generator=g) + 0.1 * torch.randn(n // 50, 50, D, generator=g).cumsum(1)
    return walks.reshape(-1, D) + centre


def memory_with(index, n=N, capacity=N, space=D):
    memory = DifferentiableNeuralDictionary(space, 1, capacity, k=10, index=index)
    if n:
        memory.write(clustered(n), torch.arange(float(n)).unsqueeze(1))
    return memory


def built(**options):
    index = IVFIndex(**({"lists": 64, "probes": 16, "start": 500, "check_every": 0} | options))
    memory = memory_with(index)
    index.build(memory.used)
    return memory, index


def recall(memory, queries):
    exact = ExactIndex()
    exact.attach(memory.store)
    twin = DifferentiableNeuralDictionary(memory.space, 1, memory.capacity, k=10)
    twin.load_state_dict(memory.state_dict())
    true, found = twin.lookup(queries, touch=False).slots, memory.lookup(queries, touch=False).slots
    return (found.unsqueeze(2) == true.unsqueeze(1)).any(1).float().mean().item()


class TestTorchSearch:
    @pytest.mark.parametrize("plain", [True, False])
    def test_it_finds_what_the_definition_says_block_by_block(self, plain):
        g = torch.Generator().manual_seed(0)
        rows, queries = torch.randn(1000, 5, generator=g).double(), torch.randn(7, 5, generator=g).double()
        score = -(queries.unsqueeze(1) - rows).square().sum(-1) if plain else queries @ rows.T
        assert torch.equal(torch_search(rows, queries, 9, plain, block=64), score.topk(9, dim=1).indices)

    @pytest.mark.parametrize(
        ("device", "dtype", "faiss_gpu", "search"),
        [
            ("cpu", torch.float32, False, exact.faiss_search),
            ("cpu", torch.float32, True, exact.faiss_search),
            ("cpu", torch.float64, True, torch_search),
            ("cuda", torch.float64, True, torch_search),
            ("mps", torch.float32, True, torch_search),
            ("cpu", torch.float64, False, torch_search),
            ("cuda", torch.float32, True, exact.faiss_gpu_search),
            ("cuda", torch.float32, False, torch_search),
        ],
    )
    def test_each_device_has_its_search(self, device, dtype, faiss_gpu, search, monkeypatch):
        monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
        if faiss_gpu:
            monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
        assert exact.search_on(device, dtype) is search

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
    def test_a_memory_on_the_gpu_finds_what_one_on_the_cpu_does(self):
        cpu = memory_with("exact")
        gpu = DifferentiableNeuralDictionary(D, 1, N, k=10, device="cuda")
        gpu.load_state_dict(cpu.state_dict())
        query = clustered(100, seed=1)
        torch.testing.assert_close(gpu.lookup(query.cuda()).distances.cpu(), cpu.lookup(query).distances)


class TestIVF:
    def test_it_finds_nearly_all_neighbours_and_their_true_distances(self):
        memory, _ = built()
        query = clustered(200, seed=0) + 0.01
        assert recall(memory, query) > 0.95
        found = memory.lookup(query)
        true = (memory.key_vectors[found.slots] - query.unsqueeze(1)).square().sum(-1)
        torch.testing.assert_close(found.distances, true)

    def test_with_every_list_probed_it_finds_all(self):
        memory, _ = built(probes=64)
        assert recall(memory, clustered(200, seed=5)) > 0.999

    def test_entries_written_moved_and_removed_later_are_found_where_they_are_now(self):
        memory, _ = built(start=500)
        memory.lookup(torch.zeros(1, D))
        slots = memory.write(torch.full((2, D), 30.0), torch.zeros(2, 1))  # evicts two
        assert sorted(memory.lookup(torch.full((1, D), 30.0)).slots[0, :2].tolist()) == sorted(slots.tolist())
        memory.move(slots[:1], keys=torch.full((1, D), -30.0))
        assert memory.lookup(torch.full((1, D), -30.0)).slots[0, 0] == slots[0]
        memory.forget(slots)
        assert not torch.isin(memory.lookup(torch.full((1, D), 30.0)).slots, slots).any()

    def test_small_moves_add_up_until_an_entry_is_filed_anew(self):
        memory, index = built(check_every=1)
        slot = torch.tensor([7])
        memory.lookup(torch.zeros(1, D))
        index._reach = 1.0
        for _ in range(3):
            memory.move(slot, keys=memory.key_vectors[slot] + 0.09 / D**0.5)
        assert [s.tolist() for s in index._stale] == [[7]]  # 0.27 in all, past a fifth of the reach

    def test_until_the_file_is_there_the_search_is_exact(self):
        memory = memory_with(IVFIndex(lists=64, start=500, check_every=0))
        searches = 0
        while not memory.index.report()["ready"]:
            assert recall(memory, clustered(50, seed=2)) == 1
            searches += 1
        assert 5 < searches < 200

    def test_few_entries_are_searched_exactly(self):
        memory = memory_with(IVFIndex(lists=64, start=500), n=400)
        memory.lookup(torch.zeros(1, D))
        assert not memory.index.report()["ready"] and memory.index.report()["recall"] is None

    def test_a_poor_recall_is_noticed_and_repaired(self):
        memory, index = built(check_every=1, probes=1, target=0.9)
        memory.write(clustered(N, seed=9), torch.zeros(N, 1))  # every entry elsewhere, under the old centres
        centres = index._lists.centres.copy()
        query = clustered(N, seed=9)[::50]
        before = recall(memory, query)
        for _ in range(400):
            memory.lookup(query)
        assert before < 0.83 and recall(memory, query) > 0.85
        assert not (index._lists.centres == centres).all() and index.report()["recall"] > 0.85

    def test_the_estimate_stands_until_what_it_led_to_has_been_checked_as_often(self):
        memory, index = built(check_every=1, probes=1, target=1.0)
        query = clustered(N)[::50]
        memory.lookup(query)
        for _ in range(ENOUGH - 1):
            memory.lookup(query)
        estimate = index.report()["recall"]
        assert estimate < 1 and index.report()["probes"] == 2
        for _ in range(ENOUGH - 1):
            memory.lookup(query)
            assert index.report()["recall"] == estimate
        memory.lookup(query)
        assert index.report()["recall"] != estimate

    @pytest.mark.parametrize(("share", "repairs"), [(0.05, False), (0.2, True)])
    def test_the_centres_are_fitted_anew_if_more_than_a_tenth_of_the_entries_have_changed(self, share, repairs):
        memory, index = built(check_every=1, probes=1, target=1.0)
        memory.lookup(clustered(50))  # how far is far
        memory.move(torch.arange(int(share * N)), clustered(N, seed=9)[: int(share * N)])
        for _ in range(ENOUGH + 1):
            memory.lookup(clustered(N)[::50])
        assert index.report()["repairing"] == repairs

    def test_entries_that_are_where_they_were_filed_only_need_more_lists_looked_at(self):
        memory, index = built(check_every=1, probes=1, target=0.95)
        centres, query = index._lists.centres.copy(), clustered(N)[::50]
        before = recall(memory, query)
        for _ in range(400):
            memory.lookup(query)
        assert before < 0.95 < recall(memory, query) + 0.02
        assert (index._lists.centres == centres).all() and not index.report()["repairing"]

    def test_lists_that_have_grown_uneven_are_drawn_anew(self):
        memory, index = built(check_every=1)
        memory.write(clustered(N, seed=9, centre=50.0), torch.zeros(N, 1))  # all of them far off, in few lists
        query = clustered(N, seed=9, centre=50.0)[::50]
        memory.lookup(query)
        uneven = index._lists.imbalance
        for _ in range(60):
            memory.lookup(query)
        assert index._lists.imbalance < uneven / 2 and index.report()["probes"] == 16

    def test_the_estimate_of_recall_is_close_to_the_truth(self):
        memory, index = built(check_every=1, probes=4, target=0.0)
        query = clustered(3000, seed=3)
        for row in range(0, 320, 5):
            memory.lookup(query[row : row + 1])
        assert index.report()["recall"] == pytest.approx(recall(memory, query[0:320:5]), abs=0.05)

    def test_keys_are_weighed_as_their_modalities(self):
        space = [Modality("a", 4), Modality("b", 4, weight=9.0)]
        memory = memory_with(IVFIndex(lists=64, probes=32, start=500, check_every=0), space=space)
        memory.index.build(memory.used)
        assert recall(memory, clustered(200, seed=0) + 0.01) > 0.95

    def test_queries_for_a_part_of_the_key_go_to_the_exact_search(self):
        space = [Modality("a", 4), Modality("b", 4)]
        memory = memory_with(IVFIndex(lists=64, probes=1, start=500, check_every=0), space=space)
        memory.index.build(memory.used)
        assert recall(memory, {"a": clustered(200, seed=0)[:, :4]}) == 1

    def test_holes_do_not_attract_centres_or_queries(self):
        memory = memory_with(IVFIndex(lists=64, start=500, check_every=0))
        memory.forget(torch.arange(0, N, 2))
        memory.index.build(memory.used)
        found = memory.lookup(clustered(100, seed=0))
        assert found.valid.all() and (found.slots % 2 == 1).all()

    def test_holes_count_neither_as_missed_nor_as_far_away(self):
        index = IVFIndex(lists=4, start=64, check_every=1)
        memory = DifferentiableNeuralDictionary(2, 1, 300, k=30, index=index)
        slots = memory.write(torch.rand(200, 2), torch.zeros(200, 1))
        memory.forget(slots[10:])
        for _ in range(40):
            memory.lookup(torch.rand(2, 2))
        assert index.report()["recall"] == 1
        memory.move(slots[:1], keys=torch.tensor([[9.0, 9.0]]))
        assert memory.lookup(torch.tensor([[9.0, 9.0]]), k=1).slots.item() == slots[0]
        memory.forget(slots)
        assert not memory.lookup(torch.rand(2, 2)).valid.any()

    def test_it_is_rebuilt_after_loading(self):
        memory, _ = built()
        twin = memory_with(IVFIndex(lists=64, probes=64, start=500, check_every=0), n=0)
        twin.load_state_dict(memory.state_dict())
        twin.index.build(twin.used)
        assert recall(twin, clustered(100, seed=4)) > 0.999

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [({"probes": 0}, "probes"), ({"lists": 99, "start": 9}, "start is 9"), ({"start": 0}, "start is 0")],
    )
    def test_settings_that_make_no_sense_are_refused(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            IVFIndex(**wrong)

    def test_other_precisions_are_refused_with_the_reason(self):
        with pytest.raises(ValueError, match="float32"):
            DifferentiableNeuralDictionary(D, 1, 8, index="ivf", dtype=torch.float64)


class TestAuto:
    @pytest.mark.parametrize("slow", ["exact", "ivf"])
    def test_it_settles_for_the_faster(self, slow, monkeypatch):
        index = AutoIndex(start=500, lists=64, probes=16, check_every=0)
        memory = memory_with(index)
        clock = iter(range(10**6))
        monkeypatch.setattr(autos.time, "perf_counter", lambda: next(clock))
        loser = index._exact if slow == "exact" else index._ivf
        propose = loser.propose

        def slowed(*arguments):
            for _ in range(10):
                next(clock)
            return propose(*arguments)

        monkeypatch.setattr(loser, "propose", slowed)
        for _ in range(300):
            memory.lookup(clustered(50, seed=1)[:2])
        chosen = index.serving(memory.space.pack(torch.zeros(1, D)), memory.used)
        assert chosen is (index._ivf if slow == "exact" else index._exact)

    def test_it_stays_exact_where_there_can_be_no_file(self):
        memory = DifferentiableNeuralDictionary(D, 1, 50, k=3, index="auto", dtype=torch.float64)
        memory.write(clustered(50), torch.zeros(50, 1))
        assert memory.lookup(clustered(50)).valid.all() and memory.index.report()["kind"] == "auto"


class TestCached:
    """What is kept must be what would be found; the reference is the exact search, asked anew each time."""

    def twins(self, capacity=40, most=64, **options):
        return [
            DifferentiableNeuralDictionary(D, 1, capacity, k=5, write_rule="last", index=index, **options)
            for index in (CachedIndex(most), ExactIndex())
        ]

    @staticmethod
    def agree(kept, exact, queries):
        found = [memory.lookup(queries) for memory in (kept, exact)]
        assert torch.equal(found[0].slots, found[1].slots)
        assert torch.equal(found[0].distances, found[1].distances)

    @staticmethod
    def change(memories, step, g):
        """Write new keys, known keys, many at one place; move, forget, or start from what was saved."""
        keys, names = torch.randn(4, D, generator=g).round(), torch.randint(60, (4,), generator=g)
        slots = memories[0].slots[torch.randperm(len(memories[0]), generator=g)[:2]] if len(memories[0]) else None
        for memory in memories:
            if step % 7 == 3:
                memory.forget(slots)
            elif step % 7 == 5:
                memory.move(slots, keys[: len(slots)])
            elif step % 11 == 10:
                memory.load_state_dict(memories[1].state_dict())
            else:
                memory.write(keys[:1].expand(4, -1) if step % 5 == 0 else keys, torch.zeros(4, 1), identity=names)

    @pytest.mark.parametrize("most", [8, 64])
    def test_it_finds_what_the_exact_search_finds_whatever_happens(self, most):
        g = torch.Generator().manual_seed(most)
        kept, exact = self.twins(most=most)
        queries = torch.randn(12, D, generator=g).round()
        for step in range(150):
            self.change((kept, exact), step, g)
            self.agree(kept, exact, queries[torch.randint(12, (6,), generator=g)])

    def searches(self, monkeypatch):
        calls = []
        monkeypatch.setattr(ExactIndex, "propose", count(ExactIndex.propose, calls))
        return calls

    def test_a_query_that_comes_again_is_searched_for_once(self, monkeypatch):
        kept, _ = self.twins()
        kept.write(clustered(50)[:20], torch.zeros(20, 1))
        calls = self.searches(monkeypatch)
        first, second = clustered(50, seed=1)[:3], clustered(50, seed=2)[:2]
        for queries in (first, first.flip(0), torch.cat([first, second]), second, first):
            kept.lookup(queries)
        assert calls == [3, 2]

    def test_entries_written_again_and_far_ones_cost_nothing_and_near_ones_what_they_touch(self, monkeypatch):
        kept, exact = self.twins()
        keys, names = clustered(50)[:20], torch.arange(20)
        queries = torch.cat([keys[:1], keys[:1] + 100])
        for memory in (kept, exact):
            memory.write(torch.cat([keys, keys + 100])[:40], torch.zeros(40, 1), identity=torch.arange(40))
        self.agree(kept, exact, queries)
        calls = self.searches(monkeypatch)
        kept.write(keys, torch.ones(20, 1), identity=names)
        kept.lookup(queries)
        assert calls == []
        kept.write(keys[:1] + 100, torch.ones(1, 1), identity=torch.tensor([39]))
        kept.lookup(queries)
        assert calls == [1]

    def test_an_entry_that_moved_and_is_written_back_is_found_again(self):
        kept, exact = self.twins()
        keys, names = clustered(50)[:20], torch.arange(20)
        for memory in (kept, exact):
            for change in ("write", "move", "write"):
                if change == "write":
                    memory.write(keys, torch.zeros(20, 1), identity=names)
                else:
                    memory.move(torch.tensor([0]), keys[:1] + 100)
                memory.lookup(keys[:1])
        self.agree(kept, exact, keys[:1])

    def test_what_it_cannot_keep_it_leaves_to_the_exact_search(self):
        many = DifferentiableNeuralDictionary([Modality("a", 2), Modality("b", 1)], 1, 10, index="cached")
        many.write({"a": torch.eye(2), "b": torch.zeros(2, 1)}, torch.zeros(2, 1))
        assert many.lookup({"a": torch.eye(2)}).slots[:, 0].tolist() == [0, 1]
        kept, exact = self.twins()
        for memory in (kept, exact):
            memory.lookup(torch.zeros(2, D))  # nothing there yet
            memory.write(clustered(50)[:30], torch.zeros(30, 1))
        self.agree(kept, exact, clustered(100, seed=3))  # more queries than it keeps
        assert kept.describe()["index"] == {"kind": "cached", "answers": 0}

    def test_no_queries_have_no_answers(self):
        kept, exact = self.twins()
        for memory in (kept, exact):
            memory.write(clustered(50)[:30], torch.zeros(30, 1))
        self.agree(kept, exact, torch.empty(0, D))

    def test_it_keeps_at_least_one_answer(self):
        with pytest.raises(ValueError, match="most is 0"):
            CachedIndex(0)


@dataclass(frozen=True)
class Everything:
    """Proposes all there are; frozen, so what it is attached to is kept in a list."""

    stores: list = field(default_factory=list)
    exact = True

    def attach(self, store):
        self.stores[:] = [store]

    def serving(self, query, used):
        return self

    def propose(self, query, k, used):
        return torch.arange(used).expand(len(query), -1)

    def written(self, slots):
        pass

    def moving(self, slots, vectors):
        pass

    def report(self):
        return {"kind": "everything"}


@pytest.mark.parametrize(("kind", "nothing"), [("exact", True), ("cached", True), ("ivf", False), ("auto", False)])
def test_an_index_says_whether_it_may_miss_what_is_near(kind, nothing):
    assert INDEXES[kind]().exact is nothing


class TestOwnIndex:
    def test_a_frozen_dataclass_is_an_index(self):
        memory, exact = (
            DifferentiableNeuralDictionary(D, 1, 50, k=3, index=index) for index in (Everything(), "exact")
        )
        for one in (memory, exact):
            one.write(clustered(50)[:40], torch.zeros(40, 1))
        assert torch.equal(memory.lookup(clustered(50, seed=1)).slots, exact.lookup(clustered(50, seed=1)).slots)

    def test_what_lacks_a_method_is_refused_when_the_memory_is_built(self):
        class Half:
            exact = True

            def attach(self, store):
                pass

        with pytest.raises(TypeError, match="which lacks serving, propose, written, moving, report"):
            DifferentiableNeuralDictionary(D, 1, 50, index=Half())


def count(propose, calls):
    """`ExactIndex.propose`, noting how many queries it is given."""

    def counting(self, query, k, used):
        calls.append(len(query))
        return propose(self, query, k, used)

    return counting


@pytest.mark.parametrize("most", [1.5, True, 0])
def test_a_cache_holds_a_whole_number_of_answers(most):
    with pytest.raises((TypeError, ValueError), match=f"most is {most}"):
        CachedIndex(most)
