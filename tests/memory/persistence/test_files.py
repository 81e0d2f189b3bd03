"""A memory comes back from its file as it was, on any index; and a file that is not one does no harm."""

import json
import re
from contextlib import nullcontext
from inspect import signature

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engram_rl.memory import Blend, Decay, DifferentiableNeuralDictionary, Gaussian, IVFIndex, Modality
from engram_rl.memory.persistence.file import opened

SPACE = [Modality("view", 3, weight=2.0), Modality("cell", 2, kind="discrete"), Modality("scent", 2, kind="cosine")]
load = DifferentiableNeuralDictionary.load


@pytest.fixture
def memory():
    torch.manual_seed(0)
    parts = {"kernel": Gaussian(0.5), "write_rule": Blend(0.2), "forgetting": Decay(50, unit="ticks")}
    memory = DifferentiableNeuralDictionary(SPACE, 2, 30, k=3, match_within=0.01, **parts)
    slots = write(memory, 40)
    memory.link(slots[:3], slots[3:6])
    memory.lookup({"view": torch.randn(4, 3)})
    memory.tick(3)
    memory.contradict(slots[5:8])
    return memory


def write(memory, n):
    parts = {"view": torch.randn(n, 3), "cell": torch.randint(0, 3, (n, 2)), "scent": torch.randn(n, 2)}
    present = {"scent": torch.rand(n) < 0.7}
    return memory.write(parts, torch.randn(n, 2), torch.rand(n), torch.randint(0, 99, (n,)), present=present)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, dict):
            assert_same(value, b[name])
        else:
            assert torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name], name


def overwrite(state):
    for value in state.values():
        if isinstance(value, dict):
            overwrite(value)
        elif isinstance(value, torch.Tensor):
            value.fill_(1)


class TestRoundTrip:
    def test_settings_may_be_numbers_of_numpy_as_shapes_and_configurations_give_them(self, tmp_path):
        space = [Modality("view", np.int64(3), weight=np.float32(2.0), penalty=np.float32(0.5))]
        parts = {
            "kernel": Gaussian(np.float32(0.5)),
            "write_rule": Blend(np.float32(0.25)),
            "forgetting": Decay(np.int64(50)),
        }
        memory = DifferentiableNeuralDictionary(
            space, 1, 10, match_within=np.float32(0.25), links_per_entry=np.int64(3), **parts
        )
        memory.save(tmp_path / "memory.safetensors")
        again = load(tmp_path / "memory.safetensors")
        assert again.space == memory.space and again.kernel == Gaussian(0.5) and again.write_rule == Blend(0.25)
        assert again.forgetting.half_life == 50 and again.match_within == 0.25 and again.links.per_source == 3

    def test_a_setting_that_no_file_can_hold_is_named(self, tmp_path):
        memory = DifferentiableNeuralDictionary(1, 1, 2, forgetting=Decay(5))
        memory.forgetting.half_life = torch.tensor(5.0)
        with pytest.raises(TypeError, match="which a memory file cannot hold"):
            memory.save(tmp_path / "memory.safetensors")

    def test_it_goes_on_exactly_as_the_memory_that_was_saved(self, memory, tmp_path):
        memory.save(tmp_path / "memory.safetensors")
        twin = load(tmp_path / "memory.safetensors")
        assert_same(memory.state_dict(), twin.state_dict())
        for m in (memory, twin):
            torch.manual_seed(1)
            write(m, 10)
            m.lookup({"view": torch.randn(4, 3)})
        assert_same(memory.state_dict(), twin.state_dict())
        assert (twin.kernel, twin.write_rule, twin.match_within) == (Gaussian(0.5), Blend(0.2), 0.01)
        assert twin.forgetting.settings() == memory.forgetting.settings()

    @pytest.mark.parametrize("index", ["ivf", "auto", IVFIndex(lists=2, start=10)])
    def test_it_loads_under_another_index(self, memory, tmp_path, index):
        memory.save(tmp_path / "m")
        query = {"view": torch.randn(4, 3)}
        assert torch.equal(load(tmp_path / "m", index=index).lookup(query).slots, memory.lookup(query).slots)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
    def test_it_loads_on_another_device(self, memory, tmp_path):
        memory.save(tmp_path / "m")
        assert load(tmp_path / "m", device="cuda").values.is_cuda

    def test_it_loads_with_another_capacity_and_goes_on_filling(self, memory, tmp_path):
        memory.save(tmp_path / "m")
        larger = load(tmp_path / "m", capacity=100)
        write(larger, 40)
        assert len(larger) > 30 and larger.evictions == memory.evictions

    def test_what_is_done_to_a_state_later_reaches_no_memory(self, memory):
        state = memory.state_dict()
        twin = DifferentiableNeuralDictionary(SPACE, 2, 30, forgetting=Decay(50, unit="ticks"))
        twin.load_state_dict(state)
        overwrite(state)
        assert_same(twin.state_dict(), memory.state_dict())

    def test_an_empty_memory_has_a_file_too(self, tmp_path):
        DifferentiableNeuralDictionary(3, 1, 10).save(tmp_path / "m")
        assert len(load(tmp_path / "m")) == 0

    def test_a_class_of_ones_own_is_given_again(self, tmp_path):
        class Mine(Blend):
            pass

        DifferentiableNeuralDictionary(3, 1, 10, write_rule=Mine()).save(tmp_path / "m")
        with pytest.raises(ValueError, match="class Mine; pass write_rule="):
            load(tmp_path / "m")
        assert isinstance(load(tmp_path / "m", write_rule=Mine()).write_rule, Mine)

    def test_safetensors_reads_the_file(self, memory, tmp_path):
        memory.save(tmp_path / "m")
        with safe_open(tmp_path / "m", framework="pt") as file:
            assert torch.equal(file.get_tensor("values"), memory.values[: memory.used])
            assert json.loads(file.metadata()["note"])["schema"] == 2

    def test_saving_again_replaces_the_file_or_leaves_it(self, memory, tmp_path, monkeypatch):
        memory.save(tmp_path / "m")
        before = (tmp_path / "m").read_bytes()
        write(memory, 3)

        def full(_):
            raise OSError("no space left on device")

        monkeypatch.setattr("engram_rl.memory.persistence.file.os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            memory.save(tmp_path / "m")
        assert (tmp_path / "m").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


class TestStrangeFiles:
    @pytest.fixture
    def path(self, memory, tmp_path):
        memory.save(tmp_path / "m")
        return tmp_path / "m"

    @pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
    def test_a_file_cut_short_is_refused(self, path, kept):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
        with pytest.raises(ValueError, match="no memory file, or is damaged"):
            load(path)

    def test_a_file_of_something_else_is_refused(self, path):
        path.write_bytes(np.random.default_rng(0).bytes(10_000))
        with pytest.raises(ValueError, match="no memory file"):
            load(path)
        save_file({"weights": torch.zeros(3)}, path, {"note": "{}"})
        with pytest.raises(ValueError, match="no memory file"):
            load(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda h: h["values"].update(shape=[10**12, 2]),
            lambda h: h["values"].update(data_offsets=[0, 10]),
            lambda h: h["values"].update(dtype="PICKLE"),
            lambda h: h["values"].update(shape=[-1, -60]),
            lambda h: h.pop("__metadata__"),
        ],
    )
    def test_a_header_that_does_not_fit_the_file_allocates_nothing(self, path, change):
        rewrite_header(path, change)
        with pytest.raises(ValueError, match="no memory file, or is damaged"), opened(path):
            pass

    @pytest.mark.parametrize(
        ("setting", "value", "message"),
        [
            ("capacity", 10**11, "at most 2147483647"),
            ("capacity", 10**9, "GiB"),
            ("capacity", 3, "larger capacity"),
            ("capacity", "many", "capacity"),
            ("value_dim", 10**9, "are not those"),
            ("k", -1, "k is -1"),
            ("space", [{"name": "view", "size": 10**9}], "at most 16777216"),
            ("space", [{"name": "view", "size": 10**7}], "are not those"),
            ("space", [{"name": "view", "colour": 3}], "no memory file"),
            ("forgetting", {"name": "__import__", "arguments": {}}, "no memory file"),
        ],
    )
    def test_settings_that_claim_too_much_are_refused(self, path, setting, value, message):
        def change(header):
            note = json.loads(header["__metadata__"]["note"])
            note["settings"][setting] = value
            header["__metadata__"]["note"] = json.dumps(note)

        rewrite_header(path, change)
        with pytest.raises(ValueError, match=message):
            load(path)

    def test_a_later_schema_says_to_update(self, path):
        def change(header):
            header["__metadata__"]["note"] = json.dumps(json.loads(header["__metadata__"]["note"]) | {"schema": 99})

        rewrite_header(path, change)
        with pytest.raises(ValueError, match=r"schema 99.*update"):
            load(path)

    def test_a_file_that_is_not_there_says_so(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "nothing")


class TestInspection:
    def test_describe_counts_what_is_there(self, memory):
        seen = memory.describe()
        assert (seen["size"], seen["capacity"], seen["evictions"]) == (len(memory), 30, memory.evictions)
        assert seen["modalities"]["scent"]["present"] == int(memory.store.present[memory.slots, 2].sum())
        strength = memory.strength(memory.slots)
        assert seen["strength"]["weakest"] == pytest.approx(strength.min().item())
        assert json.loads(json.dumps(seen)) == seen

    def test_the_most_used_entries_are_those_found_most(self):
        memory = DifferentiableNeuralDictionary(1, 1, 10, k=1)
        memory.write(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[5.0], [6.0], [7.0]]))
        for key in (2.0, 2.0, 0.0):
            memory.lookup(torch.tensor([[key]]))
        memory.lookup(torch.tensor([[1.0]]), touch=False)
        most_used = memory.describe(2)["most_used"]
        assert most_used == [{"slot": 2, "hits": 2, "value": [7]}, {"slot": 0, "hits": 1, "value": [5]}]

    def test_hit_distance_and_top_weight_are_means_over_lookups(self):
        memory = DifferentiableNeuralDictionary(1, 1, 10, k=2)
        memory.write(torch.tensor([[0.0], [4.0]]), torch.zeros(2, 1))
        memory.lookup(torch.tensor([[1.0], [2.0]]))
        seen = memory.describe()
        assert seen["hit_distance"] == pytest.approx(2.5)
        assert seen["top_weight"] == pytest.approx((9.001 / (9.001 + 1.001) + 0.5) / 2)

    def test_an_empty_memory_can_be_described(self):
        seen = DifferentiableNeuralDictionary(1, 1, 10).describe()
        assert seen["size"] == 0 and seen["most_used"] == [] and seen["strength"] == {}

    def test_entries_come_out_as_arrays(self, memory):
        columns = memory.to_arrays()
        slots = memory.slots
        assert columns["slot"].tolist() == slots.tolist()
        np.testing.assert_array_equal(columns["view"], memory.key_vectors[slots][:, :3].numpy())
        np.testing.assert_array_equal(columns["cell"], memory.store.codes[slots].numpy())
        lacking = ~memory.store.present[slots, 2].numpy()
        assert lacking.any() and (np.isnan(columns["scent"]).all(1) == lacking).all()

    def test_entries_come_out_as_a_table(self, memory):
        pytest.importorskip("pandas", reason="pandas is not installed")
        table = memory.to_pandas()
        assert len(table) == len(memory) and {"view_0", "view_2", "value_1", "strength", "hits"} <= set(table.columns)


class TestLimits:
    """What a file may claim, by a memory of 30 slots that can be worked out by hand."""

    @pytest.fixture
    def path(self, memory, tmp_path):
        memory.save(tmp_path / "m")
        return tmp_path / "m"

    def test_what_it_claims_is_named_is_enough_and_is_no_less_than_what_it_takes_up(self, memory, path):
        with pytest.raises(ValueError, match="most_bytes=") as refused:
            load(path, most_bytes=1)
        claimed = int(re.search(r"most_bytes=(\d+)", str(refused.value))[1])
        assert len(load(path, most_bytes=claimed)) == len(memory)
        with pytest.raises(ValueError, match=f"most_bytes={claimed} if you trust the file"):
            load(path, most_bytes=claimed - 1)

    @pytest.mark.parametrize("capacity", [1000, 10_000])
    def test_a_capacity_claims_so_much_for_each_slot(self, memory, path, capacity):
        """8 bytes of each number of a row and a value and of each code, a byte a part, 13 a link, and a margin."""
        width, links = memory.store.vectors.shape[1], memory.state_dict()["links"]["target"].shape[1]
        slot = 8 * width + 8 * 2 + 8 * 2 + 3 + 64 + 13 * links + 4
        load(path, capacity=capacity, most_bytes=capacity * slot)
        with pytest.raises(ValueError, match=f"most_bytes={capacity * slot} "):
            load(path, capacity=capacity, most_bytes=capacity * slot - 1)

    def test_sizes_are_whole_numbers_above_nothing(self, memory, path):
        assert signature(load).parameters["most_bytes"].default == 16 * 2**30
        for name, bad in (("most_bytes", 0), ("most_bytes", 2**62 + 1), ("capacity", 0)):
            with pytest.raises(ValueError, match=f"{name} is {bad}"):
                load(path, **{name: bad})
        assert len(load(path, most_bytes=2**62)) == len(memory)
        with pytest.raises(ValueError, match="it has 30 used slots and a capacity of 29; give a larger capacity"):
            load(path, capacity=29)

    @pytest.mark.parametrize(("schema", "read"), [(1, True), (2, True), (3, False)])
    def test_schemas_up_to_todays_are_read(self, path, schema, read):
        def change(header):
            note = json.loads(header["__metadata__"]["note"]) | {"schema": schema}
            header["__metadata__"]["note"] = json.dumps(note)

        rewrite_header(path, change)
        with nullcontext() if read else pytest.raises(ValueError, match="schema 3, this version reads up to 2"):
            load(path)

    def test_what_was_held_before_is_gone_from_the_slots_that_are_not_used_any_more(self, memory):
        small = DifferentiableNeuralDictionary(SPACE, 2, 30, forgetting=Decay(50, unit="ticks"))
        torch.manual_seed(2)
        write(small, 4)
        used = small.used
        memory.load_state_dict(small.state_dict())
        for part in (memory.values, memory.store.vectors, memory.store.codes, memory.store.present):
            assert not part[used:].any()


def rewrite_header(path, change):
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def test_a_place_where_no_file_can_be_is_refused_by_the_name_that_was_given(tmp_path):
    memory = DifferentiableNeuralDictionary(2, 1, 10)
    with pytest.raises(FileNotFoundError, match=r"no folder .*such to save x in"):
        memory.save(tmp_path / "no" / "such" / "x")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        memory.save(tmp_path)
