"""An index may be slow to learn of a change or miss an entry, but what it finds is as true as the keys are now."""

import pytest
import torch

from memory import DifferentiableNeuralDictionary, Modality, index
from memory import auto as autos
from memory.auto import AutoIndex
from memory.index import ExactIndex, torch_search
from memory.ivf import IVFIndex

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
            ("cpu", torch.float32, False, index.faiss_search),
            ("cpu", torch.float64, False, torch_search),
            ("cuda", torch.float32, True, index.faiss_gpu_search),
            ("cuda", torch.float32, False, torch_search),
        ],
    )
    def test_each_device_has_its_search(self, device, dtype, faiss_gpu, search, monkeypatch):
        monkeypatch.delattr(index.faiss, "StandardGpuResources", raising=False)
        if faiss_gpu:
            monkeypatch.setattr(index.faiss, "StandardGpuResources", object, raising=False)
        assert index.search_on(device, dtype) is search

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
        query = clustered(N, seed=9)[::50]
        before = recall(memory, query)
        for _ in range(400):
            memory.lookup(query)
        assert before < 0.8 and recall(memory, query) > 0.85
        assert index.report()["probes"] > 1

    def test_lists_that_have_grown_uneven_are_drawn_anew(self):
        memory, index = built(check_every=1)
        memory.write(clustered(N, seed=9, centre=50.0), torch.zeros(N, 1))  # all of them far off, in few lists
        query = clustered(N, seed=9, centre=50.0)[::50]
        memory.lookup(query)
        uneven = index._file.invlists.imbalance_factor()
        for _ in range(60):
            memory.lookup(query)
        assert index._file.invlists.imbalance_factor() < uneven / 2 and index.report()["probes"] == 16

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

    def test_it_is_rebuilt_after_loading(self):
        memory, _ = built()
        twin = memory_with(IVFIndex(lists=64, probes=64, start=500, check_every=0), n=0)
        twin.load_state_dict(memory.state_dict())
        twin.index.build(twin.used)
        assert recall(twin, clustered(100, seed=4)) > 0.999

    @pytest.mark.parametrize(
        ("wrong", "message"), [({"probes": 0}, "probes"), ({"lists": 99, "start": 9}, "start is 9")]
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
