"""What a memory says of itself, figure by figure."""

import numpy as np
import pytest
import torch

from engram_rl.memory import Decay, DifferentiableNeuralDictionary, Gaussian, KeySpace, Modality
from engram_rl.memory.buffers import zeros
from engram_rl.memory.inspection import bytes_of, quantiles
from engram_rl.memory.reading import Found, Usage

SPACE = [Modality("view", 2), Modality("cell", 2, "discrete"), Modality("scent", 2, "cosine")]


def made(**options):
    memory = DifferentiableNeuralDictionary(SPACE, 2, 5, k=2, **options)
    parts = {
        "view": torch.tensor([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0], [9.0, 0.0]]),
        "cell": torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]]),
        "scent": torch.tensor([[1.0, 0.0]]).repeat(4, 1),
    }
    present = {"cell": torch.tensor([True, True, False, True]), "scent": torch.tensor([True, False, True, True])}
    values = torch.arange(8.0).reshape(4, 2)
    memory.write(parts, values, identity=torch.tensor([7, 0, 9, 11]), present=present)
    memory.forget(torch.tensor([3]))
    return memory


def test_a_description_has_every_figure():
    memory = made(forgetting=Decay(1.0, unit="ticks"))
    memory.contradict(torch.tensor([1]), 0.25)
    for x in (0.0, 1.0, 1.0):
        memory.lookup({"view": torch.tensor([[x, 0.0]])}, k=1)
    memory.link(torch.tensor([0, 1]), torch.tensor([1, 2]))
    known = memory.describe()
    assert {name: known[name] for name in ("size", "capacity", "evictions", "links", "lookups")} == {
        "size": 3,
        "capacity": 5,
        "evictions": 0,
        "links": 2,
        "lookups": 3,
    }
    assert known["modalities"] == {
        "view": {"size": 2, "kind": "l2", "present": 3},
        "cell": {"size": 2, "kind": "discrete", "present": 2},
        "scent": {"size": 2, "kind": "cosine", "present": 2},
    }
    assert known["hit_distance"] == pytest.approx(2 / 3) and known["top_weight"] == pytest.approx(1)
    assert known["bytes_per_entry"] == known["bytes"] / 5
    assert known["most_used"] == [
        {"slot": 0, "hits": 3, "value": [0.0, 1.0]},
        *({"slot": slot, "hits": 0, "value": [2.0 * slot, 2.0 * slot + 1]} for slot in (1, 2)),
    ]
    assert known["strength"] == pytest.approx({"weakest": 0.25, "median": 1.0, "strongest": 2**1.5})
    assert len(memory.describe(1)["most_used"]) == 1 and memory.describe(0)["most_used"] == []


def test_an_empty_memory_has_figures_too():
    known = DifferentiableNeuralDictionary(SPACE, 2, 5).describe()
    assert known["strength"] == {} and known["most_used"] == [] and known["size"] == 0
    assert [part["present"] for part in known["modalities"].values()] == [0, 0, 0]


def test_quantiles_are_the_least_the_middle_and_the_most():
    assert quantiles(torch.tensor([5.0, 1.0, 2.0, 9.0])) == {"weakest": 1.0, "median": 3.5, "strongest": 9.0}
    assert quantiles(torch.tensor([4.0])) == {"weakest": 4.0, "median": 4.0, "strongest": 4.0}


def test_bytes_are_counted_once_however_many_hold_them():
    class Part:
        def __init__(self, **parts):
            vars(self).update(parts)

    shared = torch.zeros(10)
    one, other = Part(a=shared, b=shared[2:4], c="text"), Part(d=shared, e=np.zeros(3), f=torch.zeros(2))
    assert bytes_of([one, other]) == 40 + 24 + 8


def test_columns_hold_what_is_stored_and_say_what_is_lacking():
    memory = made()
    memory.lookup({"view": torch.zeros(1, 2)}, k=1)
    columns = memory.to_arrays()
    assert list(columns) == [
        *("view", "cell", "has_cell", "scent", "slot", "value", "strength", "hits", "identity", "has_identity")
    ]
    assert columns["view"].tolist() == [[0, 0], [3, 0], [6, 0]]
    assert columns["cell"].tolist() == [[1, 2], [3, 4], [0, 0]] and columns["has_cell"].tolist() == [True, True, False]
    np.testing.assert_array_equal(columns["scent"], [[1, 0], [np.nan, np.nan], [1, 0]])
    assert columns["slot"].tolist() == [0, 1, 2] and columns["value"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert columns["strength"].tolist() == [1, 1, 1] and columns["hits"].tolist() == [1, 0, 0]
    assert columns["identity"].tolist() == [7, 0, 9] and columns["has_identity"].tolist() == [True, True, True]
    memory.forget(torch.tensor([2]))
    assert "has_cell" not in memory.to_arrays()


def test_modalities_that_are_called_as_other_columns_have_columns_of_their_own():
    memory = DifferentiableNeuralDictionary([Modality("value", 2), Modality("slot", kind="discrete")], 1, 10)
    memory.write({"value": torch.ones(1, 2), "slot": torch.tensor([[7]])}, torch.tensor([[3.0]]))
    columns = memory.to_arrays()
    assert columns["key_value"].tolist() == [[1.0, 1.0]] and columns["key_slot"].tolist() == [[7]]
    assert columns["value"].tolist() == [[3.0]] and columns["slot"].tolist() == [0]


def test_a_table_has_a_column_for_each_number():
    pytest.importorskip("pandas")
    table = made().to_pandas()
    assert list(table.columns) == [
        *("view_0", "view_1", "cell_0", "cell_1", "has_cell", "scent_0", "scent_1"),
        *("value_0", "value_1", "strength", "hits", "identity", "has_identity"),
    ]
    assert table.index.tolist() == [0, 1, 2] and table.index.name == "slot"
    assert table["cell_1"].tolist() == [2, 4, 0] and table["value_1"].tolist() == [1, 3, 5]


def test_a_screen_names_eight_parts_and_counts_the_others():
    assert repr(
        made(forgetting=Decay(3.0), kernel=Gaussian(2.0), match_within=0.5, write_rule="last")
    ).splitlines() == [
        "DifferentiableNeuralDictionary: 3 of 5 entries, 0 evicted",
        "  keys: view 2, cell 2 discrete, scent 2 cosine; values: 2; torch.float32 on cpu",
        "  k 2, index exact, kernel Gaussian(bandwidth=2.0), write rule Last(), match_within 0.5",
        "  forgetting Decay(half_life=3.0, unit='writes', durability=0.5, most=8.0, threshold=0.0); 0 lookups",
    ]
    for parts, more in ((8, ""), (9, " and 1 more"), (11, " and 3 more")):
        space = [Modality(f"m{i}", 1) for i in range(parts)]
        keys = repr(DifferentiableNeuralDictionary(space, 1, 2)).splitlines()[1]
        shown = ", ".join(f"m{i} 1" for i in range(8))
        assert keys == f"  keys: {shown}{more}; values: 1; torch.float32 on cpu"
    start = len("  keys: ") + len(" 1; values: 1; torch.float32 on cpu")
    for length in (160, 161):
        memory = DifferentiableNeuralDictionary([Modality("n" * (length - start), 1)], 1, 2)
        line = repr(memory).splitlines()[1]
        assert len(line) == 160 and line.endswith("cpu" if length == 160 else "...")


def test_an_answer_shows_eight_queries_three_neighbours_and_four_numbers():
    memory = DifferentiableNeuralDictionary(1, 5, 9, k=4, kernel="uniform")
    memory.write(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.ones(4, 5))
    one = "value [1, 1, 1, 1, ...]; slot (weight at distance): 0 (0.25 at 0), 1 (0.25 at 1), 2 (0.25 at 4) and 1 more"
    for queries, more in ((1, []), (8, []), (9, ["  ... 1 more queries"])):
        assert repr(memory.lookup(torch.zeros(queries, 1))).splitlines() == [
            f"Found: {queries} queries, {4 * queries} of {4 * queries} neighbours",
            *(f"  {row}: {one}" for row in range(min(8, queries))),
            *more,
        ]
    few = repr(memory.lookup(torch.zeros(1, 1), k=3)).splitlines()[1]
    assert few.endswith(": 0 (0.333 at 0), 1 (0.333 at 1), 2 (0.333 at 4)")
    empty = DifferentiableNeuralDictionary(1, 4, 9)
    assert repr(empty.lookup(torch.zeros(1, 1))).splitlines() == [
        "Found: 1 queries, 0 of 50 neighbours",
        "  0: value [0, 0, 0, 0]; slot (weight at distance): nobody",
    ]


def test_where_a_kernel_calls_nobody_similar_all_are_equally_so(tmp_path):
    class WithinOne:
        def log_similarity(self, squared_distances):
            return torch.log((1 - squared_distances).clamp(min=0))

    memory = DifferentiableNeuralDictionary(1, 1, 5, k=2, kernel=WithinOne())
    memory.write(torch.tensor([[0.0], [3.0]]), torch.tensor([[2.0], [4.0]]))
    found = memory.lookup(torch.tensor([[0.5], [9.0]]))
    assert found.value.flatten().tolist() == [2.0, 3.0]
    memory.save(tmp_path / "memory.safetensors")  # and no NaN is counted, with which it could not be loaded
    DifferentiableNeuralDictionary.load(tmp_path / "memory.safetensors", kernel=WithinOne())


def test_usage_is_a_mean_over_the_first_hundred_lookups_and_then_a_running_one():
    usage, mean, top = Usage(3, torch.device("cpu")), 0.0, 0.0
    draw = torch.Generator().manual_seed(0)
    hits = [0, 0, 0]
    for turn in range(250):
        near, weight = (torch.rand(2, 2, generator=draw) for _ in range(2))
        valid = torch.tensor([[True, turn % 3 > 0], [turn % 5 > 0, False]])
        slots = torch.tensor([[0, 1], [2, -1]]).masked_fill(~valid, -1)
        empty = torch.zeros(2, 2, 1)
        near = near.masked_fill(~valid, 0)
        usage.add(Found(empty[:, 0], slots, weight, near, valid, empty, None, slots))
        share = max(0.01, 1 / (turn + 1))
        nearest = (near[0, 0] + near[1, 0]) / (1 + (turn % 5 > 0))
        mean += share * (float(nearest) - mean)
        top += share * (float(weight.amax(1).mean()) - top)
        hits = [hits[0] + 1, hits[1] + (turn % 3 > 0), hits[2] + (turn % 5 > 0)]
    assert usage.lookups == 250 and usage.hits.tolist() == hits
    assert float(usage.hit_distance) == pytest.approx(mean, rel=1e-4)
    assert float(usage.top_weight) == pytest.approx(top, rel=1e-4)
    usage.add(Found(*[torch.zeros(0, 2)] * 4, torch.zeros(0, 2, dtype=torch.bool), torch.zeros(0, 2, 1), None, slots))
    assert usage.lookups == 250


def test_one_lookup_of_nobody_counts_no_distance():
    memory = DifferentiableNeuralDictionary(1, 1, 2)
    memory.lookup(torch.zeros(3, 1))
    assert memory.usage.lookups == 1 and float(memory.usage.hit_distance) == 0 and memory.usage.hits.sum() == 0


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32, torch.float64])
def test_rows_begin_at_lines_of_the_cache(dtype):
    for shape in ((0,), (1,), (7, 3), (4096,), (1000, 16)):
        for _ in range(5):
            buffer = zeros(*shape, dtype=dtype)
            assert buffer.shape == shape and buffer.dtype == dtype and not buffer.any()
            assert buffer.numel() == 0 or buffer.data_ptr() % 64 == 0
            buffer.fill_(1)
            assert buffer.all()


def test_a_slot_takes_what_lies_in_it():
    for space, width, codes, parts in ((3, 3, 0, 1), ([Modality("a", 3), Modality("b", 9)], 32, 0, 2)):
        memory = DifferentiableNeuralDictionary(space, 2, 10)
        assert memory.store.rows.shape == (10, width)
        assert memory.nbytes == 10 * (4 * (width + 2) + 8 * codes + parts + 64)
    memory = DifferentiableNeuralDictionary(SPACE, 2, 10, dtype=torch.float64)
    assert memory.store.rows.shape == (
        10,
        16,
    )  # 4 numbers, 2 lengths, 3 that lack, 1 that is empty
    assert memory.nbytes == 10 * (8 * (16 + 2) + 8 * 2 + 8 + 3 + 64)
    assert len(KeySpace(SPACE)) == 3
