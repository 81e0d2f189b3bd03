"""What a memory in shards counts, keeps, refuses and deals out, by worked examples."""

import inspect

import pytest
import torch

from engram_rl.memory import Decay, DifferentiableNeuralDictionary, Modality, Priority, RowRMSprop, RowSGD, Uniform
from engram_rl.memory.sharded import ShardedMemory, ShardedOptimiser
from engram_rl.memory.sharded.crew import Here

KEYS = torch.arange(18.0).reshape(9, 2)
VALUES = torch.arange(9.0)[:, None]


def made(shards=3, capacity=30, **options):
    return ShardedMemory(2, 1, capacity, **({"k": 2, "where": "here", "shards": shards} | options))


def filled(shards=3, **options):
    """Row s has the slot s, and the value s."""
    memory = made(shards, **options)
    assert memory.write(KEYS, VALUES).tolist() == list(range(9))
    return memory


def defaults_of(call):
    parameters = inspect.signature(call).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


def test_defaults_are_those_of_one_memory_and_those_of_loading_are_those_of_making():
    making, loading = defaults_of(ShardedMemory), defaults_of(ShardedMemory.load)
    own = {"shards": 2, "where": "ray", "address": None, "cpus": 0.0, "patience": 300.0}
    assert {name: making[name] for name in own} == own
    one = defaults_of(DifferentiableNeuralDictionary)
    assert all(one[name] == value for name, value in making.items() if name not in own)
    assert loading == {name: making[name] for name in (*own, "index")} | {"shards": None, "capacity": None}
    for name in ("lookup", "write", "move", "forget", "contradict", "tick", "link", "follow", "describe"):
        one, many = (defaults_of(getattr(kind, name)) for kind in (DifferentiableNeuralDictionary, ShardedMemory))
        assert one == many, name


def test_rows_without_an_identity_are_dealt_in_turn_and_the_capacity_is_rounded_up():
    memory = made(capacity=10)
    assert memory.capacity == 12 and len(memory) == 0 and made(capacity=9).capacity == 9
    assert memory.write(KEYS[:5], VALUES[:5]).tolist() == [0, 1, 2, 3, 4]
    assert memory.write(KEYS[:3], VALUES[:3], identity=torch.arange(3)).min() >= 0
    assert memory.write(KEYS[:2], VALUES[:2]).remainder(3).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 1025}, "shards is 1025; it must be at most 1024"),
        ({"cpus": -0.5}, "cpus is -0.5; it must be at least 0"),
        ({"patience": 0.0}, "patience is 0.0; it must be above 0"),
        ({"patience": 0}, "patience is 0; it must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused_with_the_limit(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)
    made(cpus=0.25, patience=0.5)


def test_lookups_that_touch_are_counted_and_those_of_nothing_are_not():
    memory = filled()
    memory.lookup(KEYS[:4], k=1)
    memory.lookup(KEYS[:1], touch=False)
    memory.lookup(KEYS[:0])
    memory.lookup(KEYS[8:], k=1)
    known = memory.describe()
    assert (known["lookups"], known["size"], known["capacity"], known["evictions"], known["lost"]) == (2, 9, 30, 0, 0)
    assert known["bytes"] == sum(part["bytes"] for part in known["shards"]) and known["links"] == 0
    assert [len(part["most_used"]) for part in known["shards"]] == [3] * 3
    assert [len(part["most_used"]) for part in memory.describe(1)["shards"]] == [1] * 3
    columns = memory.to_arrays()
    hits = dict(zip(columns["slot"].tolist(), columns["hits"].tolist(), strict=True))
    assert hits == {0: 1, 1: 1, 2: 1, 3: 1, 4: 0, 5: 0, 6: 0, 7: 0, 8: 1}
    assert columns["value"].flatten().tolist() == columns["slot"].tolist()


def test_of_equals_the_latest_written_of_all_shards_is_found():
    memory = ShardedMemory([Modality("a", 1, "discrete")], 1, 40, shards=4, where="here")
    for value in range(10):
        memory.write(torch.zeros(1, 1), torch.full((1, 1), float(value)))
        assert memory.lookup(torch.zeros(1, 1), k=1).value.item() == value
    assert memory.lookup(torch.zeros(1, 1), k=4).slots.tolist() == [[9, 8, 7, 6]]


def test_the_first_slot_counts_and_nobody_is_passed_over():
    memory = filled()
    memory.forget(torch.tensor([-1, 0, 4]))
    assert len(memory) == 7 and not memory.alive[[0, 4]].any() and memory.alive[[1, 2, 3, 5, 6, 7, 8]].all()
    memory.contradict(torch.tensor([-1, 1]))
    assert len(memory) == 6 and not memory.alive[1]
    assert memory.strength(torch.tensor([0, 2])).tolist() == [0, 1]
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"factor is {wrong}; .*at least 0 and below 1"):
            memory.contradict(torch.tensor([2]), wrong)
    for call in (memory.strength, lambda slots: memory.move(slots, KEYS[:1])):
        with pytest.raises(ValueError, match="slots holds -1; slots go from 0 to 29"):
            call(torch.tensor([-1]))
    with pytest.raises(ValueError, match="slots holds 30"):
        memory.contradict(torch.tensor([30]))


def test_time_passes_in_every_shard_by_one_tick_unless_told():
    memory = filled(forgetting=Decay(2.0, unit="ticks"))
    memory.tick()
    torch.testing.assert_close(memory.strength(torch.arange(9)), torch.full((9,), 0.5**0.5).double())
    memory.tick(0)
    memory.tick(3)
    torch.testing.assert_close(memory.strength(torch.arange(9)), torch.full((9,), 0.25).double())
    with pytest.raises(ValueError, match="amount is -1; it must be at least 0"):
        memory.tick(-1)


def test_links_have_the_weight_and_kind_of_one_memory_by_default():
    memory = filled()
    memory.link(torch.tensor([0, 3]), torch.tensor([1, 4]))
    memory.link(torch.tensor([0]), torch.tensor([2]), 0.5, kind=1)
    reached = memory.follow(torch.tensor([0, 3]))
    assert reached.slots.tolist() == [[1, 2], [4, -1]] and reached.weights.tolist() == [[1, 0.5], [1, 0]]
    assert memory.follow(torch.tensor([0]), kind=0).slots.tolist() == [[1]]
    assert len(memory.links) == memory.describe()["links"] == 3


@pytest.mark.parametrize("k", [0, 2**20 + 1])
def test_neighbours_have_the_limits_of_one_memory(k):
    with pytest.raises(ValueError, match=f"k is {k}; it must be at"):
        filled().lookup(KEYS, k=k)
    with pytest.raises(TypeError, match="touch is 1"):
        filled().lookup(KEYS, touch=1)
    assert filled().lookup(KEYS, k=9).slots.shape == (9, 9)


class TestOptimiser:
    @pytest.mark.parametrize("kind", [RowSGD, RowRMSprop])
    def test_places_without_a_neighbour_move_nobody(self, kind):
        memory, one = made(), DifferentiableNeuralDictionary(2, 1, 30, k=2)
        for each, optimiser in ((memory, ShardedOptimiser(memory, kind, lr=0.1)), (one, kind(one, lr=0.1))):
            each.write(KEYS[:2], VALUES[1:3])
            for _ in range(2):
                found = each.lookup(KEYS[:3] + 0.5, k=7)
                found.value.square().sum().backward()
                optimiser.step(found)
        query = KEYS[:3]
        torch.testing.assert_close(memory.lookup(query).value, one.lookup(query).value)

    def test_each_steps_by_its_own_rate(self):
        memory = filled()
        for rate in (0.5, 3.0):
            optimiser = ShardedOptimiser(memory, RowSGD, lr=0.0, value_lr=rate)
            found = memory.lookup(KEYS, k=1)
            found.value.sum().backward()
            before = memory.lookup(KEYS, k=1).value.detach()
            optimiser.step(found)
            torch.testing.assert_close(memory.lookup(KEYS, k=1).value, before - rate)
            assert found.keys.grad is None and found.values.grad is None

    def test_several_lookups_add_up(self):
        memory = filled()
        optimiser = ShardedOptimiser(memory, RowSGD, lr=0.0, value_lr=1.0)
        found = [memory.lookup(KEYS[some], k=1) for some in (slice(0, 5), slice(3, 9))]
        sum(one.value.sum() for one in found).backward()
        optimiser.step(*found)
        moved = memory.lookup(KEYS, k=1).value - VALUES
        assert moved.flatten().tolist() == [-1, -1, -1, -2, -2, -1, -1, -1, -1]

    def test_a_lookup_without_gradients_or_backward_is_refused(self):
        memory = filled()
        optimiser = ShardedOptimiser(memory)
        with torch.no_grad(), pytest.raises(RuntimeError, match="this lookup ran without gradients"):
            optimiser.step(memory.lookup(KEYS))
        with pytest.raises(RuntimeError, match="no gradient has reached"):
            optimiser.step(memory.lookup(KEYS))

    @pytest.mark.parametrize("part", ["keys", "values"])
    @pytest.mark.parametrize("wrong", [torch.nan, torch.inf, 2e15])
    def test_a_gradient_that_is_none_changes_nothing(self, part, wrong):
        memory = filled()
        optimiser = ShardedOptimiser(memory, RowSGD, lr=1.0)
        found = memory.lookup(KEYS)
        found.value.sum().backward()
        getattr(found, part).grad[0, 0] = wrong
        with pytest.raises(ValueError, match=r"NaN, infinite or above 1e\+15"):
            optimiser.step(found)
        assert torch.equal(memory.lookup(KEYS).value, filled().lookup(KEYS).value)
        getattr(found, part).grad[0, 0] = 1e15  # is just within
        ShardedOptimiser(memory, RowSGD, lr=1e-10).step(found)


class TestFolder:
    def test_counts_and_the_turn_are_kept(self, tmp_path):
        memory = filled(forgetting=Decay(5.0), kernel=Uniform(), links_per_entry=3)
        memory.write(KEYS[:1], VALUES[:1])
        memory.lookup(KEYS)
        memory.lost = 4
        memory.save(tmp_path / "a" / "deep" / "memory")
        memory.save(tmp_path / "a" / "deep" / "memory")
        again = ShardedMemory.load(tmp_path / "a" / "deep" / "memory", where="here")
        assert (again.usage.lookups, again.lost, again.shards, again.capacity, again.k) == (1, 4, 3, 30, 2)
        assert again.kernel == Uniform() and again.links.per_source == 3
        assert again.write(KEYS[:2], VALUES[:2]).tolist() == memory.write(KEYS[:2], VALUES[:2]).tolist() == [10, 11]
        assert torch.equal(again.strength(torch.arange(12)), memory.strength(torch.arange(12)))
        assert again.lookup(KEYS[:1], k=1).slots.tolist() == memory.lookup(KEYS[:1], k=1).slots.tolist() == [[10]]

    def test_parts_and_capacity_may_be_others_and_what_is_unknown_is_named(self, tmp_path):
        memory = filled()
        memory.link(torch.tensor([0, 8]), torch.tensor([8, 0]))
        memory.save(tmp_path)
        again = ShardedMemory.load(tmp_path, where="here", capacity=9, forgetting="fifo", kernel="uniform")
        assert again.capacity == 9 and again.kernel == Uniform() and len(again) == 9
        assert again.follow(torch.tensor([0, 8])).slots.tolist() == [[8], [0]]
        with pytest.raises(ValueError, match=r"unknown argument of load 'kernl'.*did you mean 'kernel'"):
            ShardedMemory.load(tmp_path, where="here", kernl="uniform")
        with pytest.raises(ValueError, match="raise the capacity"):
            ShardedMemory.load(tmp_path, where="here", capacity=6)

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_shards_are_ended_where_loading_fails(self, tmp_path, monkeypatch, error):
        filled().save(tmp_path)
        closed = []
        monkeypatch.setattr(Here, "close", lambda crew: closed.append(crew))

        def fail(*_):
            raise error

        monkeypatch.setattr(ShardedMemory, "_take_over", fail)
        with pytest.raises(error):
            ShardedMemory.load(tmp_path, where="here")
        assert len(closed) == 1

    def test_leaving_ends_them_too(self, monkeypatch):
        closed = []
        monkeypatch.setattr(Here, "close", lambda crew: closed.append(crew))
        with made() as memory:
            assert memory.shards == 3
        assert len(closed) == 1


class TestDealing:
    def saved(self, folder, shards=3, **options):
        """Rows of all kinds: with and without a name, forgotten, evicted, written again, found, linked."""
        options = {"write_rule": "mean", "forgetting": Decay(50.0, unit="writes"), "capacity": 45} | options
        memory = ShardedMemory([Modality("a", 2), Modality("b", 1)], 1, shards=shards, where="here", k=3, **options)
        draw = torch.Generator().manual_seed(0)
        for turn in range(4):
            keys = torch.randn(20, 3, generator=draw)
            names = torch.arange(20) + 10 * turn
            memory.write(keys, keys[:, :1], torch.rand(20, generator=draw), None if turn == 1 else names)
            memory.lookup(keys[:5])
        memory.forget(memory.find(torch.tensor([3, 4, 25])))
        memory.save(folder)
        return memory

    @pytest.mark.parametrize("shards", [1, 2, 4])
    def test_every_entry_keeps_all_that_is_kept_of_it(self, tmp_path, shards):
        memory = self.saved(tmp_path)
        again = ShardedMemory.load(tmp_path, shards=shards, where="here", capacity=400)

        def rows(memory):
            columns = memory.to_arrays()
            slots = torch.from_numpy(columns["slot"])
            extra = [memory.generation[slots].tolist(), memory.strength(slots).tolist()]
            writes = torch.zeros(memory.capacity, dtype=torch.int32)
            turns = torch.zeros(memory.capacity, dtype=torch.int64)
            for number, shard in enumerate(memory._crew._shards):
                writes[number :: memory.shards] = shard.memory.slot_table.writes
                turns[number :: memory.shards] = shard._written
            names = ["a", "b", "value", "hits", "identity"]
            columns = [columns[name].reshape(len(slots), -1).tolist() for name in names]
            return sorted(zip(*columns, *extra, writes[slots].tolist(), turns[slots].tolist(), strict=True))

        was, now = rows(memory), rows(again)
        assert len(was) == len(again) == len(memory)
        for one, other in zip(was, now, strict=True):
            assert one[:6] == other[:6] and one[7:] == other[7:]
            assert other[6] > 0
        assert again.describe()["evictions"] == memory.describe()["evictions"] > 0

    def test_names_decide_the_shard_and_the_nameless_go_round(self, tmp_path):
        memory = filled(shards=1)
        memory.write(KEYS[:6], VALUES[:6], identity=torch.arange(6))
        memory.save(tmp_path)
        again = ShardedMemory.load(tmp_path, shards=3, where="here")
        columns = again.to_arrays()
        nameless = ~columns["has_identity"]
        by_value = dict(zip(columns["value"][nameless, 0].tolist(), columns["slot"][nameless] % 3, strict=True))
        assert [by_value[float(value)] for value in range(9)] == [0, 1, 2] * 3
        slots = again.find(torch.arange(6))
        assert slots.remainder(3).tolist() == again._owners(torch.arange(6).numpy()).tolist()

    def test_where_there_is_less_room_the_strongest_stay(self, tmp_path):
        memory = made(2, 40, forgetting=Priority())
        chance = torch.Generator().manual_seed(0)
        priority = torch.randperm(40, generator=chance).float()
        keys = torch.randn(40, 2, generator=chance)
        slots = memory.write(keys, priority[:, None], priority, torch.arange(40) + 7)
        assert int((slots >= 0).sum()) == len(memory)
        memory.save(tmp_path)
        stored = memory.to_arrays()
        again = ShardedMemory.load(tmp_path, shards=4, capacity=16, where="here")
        shard = again._owners(stored["identity"])
        expected = []
        for one in range(4):
            values = sorted(stored["value"][shard == one, 0].tolist(), reverse=True)
            expected += values[:4]
        assert sorted(again.to_arrays()["value"].flatten().tolist()) == sorted(expected)
        stay = again.find(torch.arange(40) + 7)
        for one in range(4):
            mine = stay[(stay >= 0) & (stay.remainder(4) == one)]
            assert mine.tolist() == sorted(mine.tolist())  # in the order in which they were written

    def test_links_of_those_that_went_are_gone_and_the_others_lead_where_they_led(self, tmp_path):
        memory = filled(shards=2, capacity=12, forgetting=Priority())
        memory.link(torch.arange(8), torch.arange(1, 9), torch.arange(1.0, 9.0), kind=3)
        memory.save(tmp_path)
        again = ShardedMemory.load(tmp_path, shards=3, where="here", capacity=6)
        columns = again.to_arrays()
        slot_of = {int(value): int(slot) for value, slot in zip(columns["value"][:, 0], columns["slot"], strict=True)}
        assert len(slot_of) == len(again) == 6
        for value, slot in slot_of.items():
            reached = again.follow(torch.tensor([slot]), kind=3)
            goal = slot_of.get(value + 1, -1)
            assert reached.slots.tolist() == [[goal]]
            assert reached.weights.tolist() == [[value + 1.0 if goal >= 0 else 0.0]]


def test_what_a_shard_is_told_of_an_empty_memory_is_nothing():
    memory = made()
    assert not memory.lookup(KEYS).valid.any() and memory.find(torch.arange(3)).tolist() == [-1] * 3
    assert memory.usage.lookups == 1


def test_a_shard_is_restored_with_the_state_of_its_optimisers():
    memory = filled(shards=1)
    ShardedOptimiser(memory, RowRMSprop, lr=0.1)
    shard = memory._crew._shards[0]
    slots, gradients = torch.arange(9), (torch.ones(9, 2), torch.ones(9, 1))
    number = next(iter(shard._optimisers))

    def moved():
        before = memory.to_arrays()["key"].copy()
        shard.step(number, slots, shard.memory.generation[slots], *gradients)
        return abs(memory.to_arrays()["key"] - before).mean()

    first = moved()
    saved = shard.state_dict()
    second = moved()
    assert second < first  # the running square has grown
    for _ in range(5):
        moved()
    shard.load_state_dict(saved)
    assert moved() == pytest.approx(second, rel=1e-5)


class TestAsAgentsRead:
    """What `ActionMemories` and retrieval ask of a memory."""

    def test_columns_are_read_by_slots_of_any_shape_and_nobody_is_zero(self):
        memory = filled()
        slots = torch.tensor([[4, -1], [0, 4]])
        assert torch.equal(
            memory.values[slots], torch.stack([VALUES[[4, 0]] * torch.tensor([[1.0], [0.0]]), VALUES[[0, 4]]])
        )
        assert torch.equal(memory.key_vectors[torch.tensor([8, 1])], KEYS[[8, 1]])
        assert memory.values[torch.zeros(0, dtype=torch.int64)].shape == (0, 1)

    def test_what_is_touched_stays_and_counts_as_no_hit(self):
        memory = made(capacity=9)
        memory.write(KEYS, VALUES)
        memory.touch(torch.tensor([0, 1, 2, 0]))
        memory.write(KEYS[:3] + 100, VALUES[:3])
        assert memory.generation.tolist() == [1, 1, 1, 2, 2, 2, 1, 1, 1] and memory.to_arrays()["hits"].sum() == 0
        memory.forget(torch.tensor([0]))
        memory.touch(torch.tensor([0]))  # nobody is there
        with pytest.raises(ValueError, match="slots go from 0 to 8"):
            memory.touch(torch.tensor([9]))

    def test_used_slots_evictions_and_slots_are_those_of_the_whole(self):
        memory = made(capacity=6)
        assert memory.used == 0 and memory.evictions == 0 and memory.slots.tolist() == []
        memory.write(KEYS[:4], VALUES[:4])
        assert memory.used == 4
        memory.write(KEYS[4:], VALUES[4:])
        memory.forget(torch.tensor([1, 5]))
        assert (memory.used, memory.evictions, memory.slots.tolist()) == (6, 3, [0, 2, 3, 4])

    def test_recall_is_the_mean_of_the_indexes_that_estimate_it(self):
        memory = made()
        assert memory.recall is None
        stands = memory._standings
        memory._standings = [stands[0], stands[1]._replace(recall=0.5), stands[2]._replace(recall=1.0)]
        assert memory.recall == 0.75

    def test_running_means_are_those_of_one_memory(self):
        memory, one = filled(), DifferentiableNeuralDictionary(2, 1, 30, k=2)
        one.write(KEYS, VALUES)
        for query in (KEYS[:2] + 0.25, KEYS[3:7]):
            memory.lookup(query), one.lookup(query)
        for name in ("lookups", "hit_distance", "top_weight"):
            assert getattr(memory.usage, name) == getattr(one.usage, name) != 0, name

    def test_columns_of_all_entries_are_by_ascending_slot(self):
        columns = filled().to_arrays()
        assert columns["slot"].tolist() == list(range(9)) and columns["value"][:, 0].tolist() == VALUES[:, 0].tolist()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"match_within": 0.5}, "match_within is 0.5, which a memory in shards does not offer.*leave shards out"),
            ({"device": "cuda:1"}, "device is cuda:1; shards lie in the main memory of their machines: give cpu"),
        ],
    )
    def test_what_is_not_offered_is_named_with_the_remedy(self, options, message):
        with pytest.raises(ValueError, match=message):
            made(**options)

    def test_bytes_are_those_of_this_process(self):
        one = DifferentiableNeuralDictionary(2, 1, 30)
        assert made().nbytes == one.nbytes + 5 * 30


BESIDE = KEYS + 0.3  # where no two entries with other values are equally near


class TestState:
    @pytest.mark.parametrize("shards", [1, 2, 3, 5])
    def test_it_goes_on_from_its_state_with_any_number_of_shards(self, shards):
        memory = filled(write_rule="mean")
        memory.write(KEYS, VALUES, identity=torch.arange(9))
        memory.link(torch.tensor([0, 1]), torch.tensor([2, 3]))
        memory.forget(torch.tensor([4]))
        memory.lookup(KEYS[:1])
        again = ShardedMemory(2, 1, 30, k=2, shards=shards, where="here", write_rule="mean")
        again.write(torch.randn(20, 2), torch.ones(20, 1))  # all of which goes
        slots = again.load_state_dict(memory.state_dict())
        where = torch.arange(memory.used) if slots is None else slots[: memory.used]
        assert (slots is None) == (shards == 3) and len(again) == len(memory)
        held = memory.slots
        assert torch.equal(again.slots, where[held].sort().values)
        assert torch.equal(again.values[where[held]], memory.values[held])
        assert torch.equal(again.generation[where[held]], memory.generation[held])
        assert again.follow(where[[0, 1]]).slots[:, 0].tolist() == where[[2, 3]].tolist()
        assert again.usage.lookups == 1 and torch.equal(again.lookup(BESIDE).value, memory.lookup(BESIDE).value)
        for each in (again, memory):
            each.write(KEYS + 1, VALUES, identity=torch.arange(9))
        assert torch.equal(again.lookup(BESIDE).value, memory.lookup(BESIDE).value)

    @pytest.mark.parametrize("shards", [2, 3])
    def test_optimisers_go_on_too(self, shards):
        memory = filled()
        again = ShardedMemory(2, 1, 30, k=2, shards=shards, where="here")
        first, then = (ShardedOptimiser(each, RowRMSprop, lr=0.1) for each in (memory, again))
        step(memory, first)
        again.load_state_dict(memory.state_dict())
        then.load_state_dict(first.state_dict())
        for _ in range(2):
            step(memory, first), step(again, then)
        assert torch.equal(again.lookup(BESIDE).value, memory.lookup(BESIDE).value)

    def test_what_is_no_state_of_shards_is_refused_and_changes_nothing(self):
        one = DifferentiableNeuralDictionary(2, 1, 30)
        for wrong in (one.state_dict(), None):
            memory = filled()
            with pytest.raises(
                ValueError, match=r"no state of a memory in shards.*begun without shards is one without"
            ):
                memory.load_state_dict(wrong)
            assert len(memory) == 9


def step(memory, optimiser):
    found = memory.lookup(BESIDE)
    found.value.square().sum().backward()
    optimiser.step(found)
