"""What is lost with a shard, and what is not: shards of this process that die when they are told to."""

import warnings

import pytest
import torch

from engram_rl.memory import Modality, RowSGD
from engram_rl.memory.sharded import ShardedMemory, ShardedOptimiser
from engram_rl.memory.sharded import memory as sharded
from engram_rl.memory.sharded.crew import Here, Lost

ERA = 2**20


class Dying(Here):
    """Shards of which some do not answer until they are begun anew."""

    mortal = True

    def __init__(self, settings):
        super().__init__(settings)
        self.dead = set()

    def ask(self, method, arguments):
        lost = [shard for shard in sorted(self.dead) if arguments[shard] is not None]
        answers = super().ask(method, [None if shard in lost else one for shard, one in enumerate(arguments)])
        if lost:
            raise Lost(lost, answers)
        return answers

    def begin(self, shard):
        self.dead.discard(shard)
        super().begin(shard)


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr(sharded, "Here", Dying)
    memory = ShardedMemory(2, 1, 30, k=2, shards=3, where="here")
    memory.write(torch.arange(18.0).reshape(9, 2), torch.arange(9.0)[:, None])  # in turn: row s has the slot s
    return memory


def lose(memory, *shards):
    memory._crew.dead.update(shards)


def warned(of, entries, lost, folder=None):
    saved = f" from {folder}" if folder else ""
    message = f"shard {of} of 3 died or did not answer; it was begun anew with {entries} entries{saved}, {lost} were"
    return pytest.warns(RuntimeWarning, match=message)


def test_without_a_save_a_shard_comes_back_empty_and_the_others_stay(many):
    before = many.lookup(torch.arange(18.0).reshape(9, 2), k=1)
    many.link(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]))
    lose(many, 1)
    with warned(1, 0, 3):
        found = many.lookup(torch.arange(18.0).reshape(9, 2), k=1)
    assert len(many) == 6 and many.lost == 3 and many.describe()["lost"] == 3
    assert (found.distances[:, 0] == 0).tolist() == [True, False, True] * 3
    assert many.same_entries(before).flatten().tolist() == [True, False, True] * 3
    assert many.follow(torch.tensor([0, 1, 2])).slots.tolist() == [[-1], [-1], [3]]
    assert many.alive.tolist() == [True, False, True] * 3 + [False] * 21
    slots = many.write(torch.zeros(3, 2), torch.zeros(3, 1))
    assert slots.tolist() == [9, 1, 11] and many.generation[slots].tolist() == [1, ERA + 1, 1]


def test_with_a_save_it_comes_back_from_there_under_other_names(many, tmp_path):
    many.save(tmp_path / "memory")
    before = many.lookup(torch.arange(18.0).reshape(9, 2), k=1)
    many.write(100 + torch.arange(6.0).reshape(3, 2), torch.zeros(3, 1))
    lose(many, 0, 2)
    with warned(0, 3, 1, tmp_path / "memory"), warned(2, 3, 1, tmp_path / "memory"):
        found = many.lookup(torch.arange(18.0).reshape(9, 2), k=1)
    assert len(many) == 10 and many.lost == 2 and (found.distances == 0).all()
    assert many.same_entries(before).flatten().tolist() == [False, True, False] * 3
    assert many.generation[:12].tolist() == [ERA + 1, 1, ERA + 1] * 3 + [ERA, 1, ERA]
    lose(many, 0)
    with warned(0, 3, 0, tmp_path / "memory"):
        many.tick()
    assert many.lost == 2 and many.generation[:4].tolist() == [2 * ERA + 1, 1, ERA + 1, 2 * ERA + 1]


def test_where_its_file_is_gone_it_comes_back_empty(many, tmp_path):
    many.save(tmp_path / "memory")
    (tmp_path / "memory" / "shard-0001-of-0003.safetensors").unlink()
    lose(many, 1)
    with warned(1, 0, 3, tmp_path / "memory"):
        assert len(many.to_arrays()["slot"]) == 6


def test_with_a_state_that_was_given_or_taken_it_comes_back_as_it_was_then(many, tmp_path):
    many.save(tmp_path / "memory")
    many.write(100 + torch.arange(6.0).reshape(3, 2), torch.zeros(3, 1))
    state = many.state_dict()
    many.write(200 + torch.arange(6.0).reshape(3, 2), torch.zeros(3, 1))
    lose(many, 1)
    with warned(1, 4, 1, "the latest checkpoint"):
        many.tick()
    other = ShardedMemory(2, 1, 30, k=2, shards=3, where="here")
    other.load_state_dict(state)
    lose(other, 2)
    with warned(2, 4, 0, "the latest checkpoint"):
        other.tick()
    other.save(tmp_path / "other")
    lose(other, 2)
    with warned(2, 4, 0, tmp_path / "other"):
        other.tick()
    fewer = ShardedMemory(2, 1, 30, k=2, shards=2, where="here")
    fewer.load_state_dict(state)  # of other shards
    lose(fewer, 0)
    with pytest.warns(RuntimeWarning, match="begun anew with 0 entries, 6 were lost"):
        fewer.tick()


def test_who_cannot_lose_shards_keeps_no_copy(many):
    assert many.state_dict()["shards"] is many._kept
    here = ShardedMemory(2, 1, 30, shards=3, where="here")
    here._crew = Here([here._settings] * 3)
    here.state_dict()
    assert here._kept is None


def test_what_was_asked_of_a_lost_shard_is_done_by_the_new_one(many):
    lose(many, 2)
    with warned(2, 0, 3):
        slots = many.write(torch.ones(3, 2), torch.ones(3, 1))
    assert slots.tolist() == [9, 10, 2] and len(many) == 9
    lose(many, 2)
    with warned(2, 0, 1), pytest.raises(ValueError, match="slot 2 holds no entry that could move"):
        many.move(torch.tensor([0, 2]), values=torch.ones(2, 1))


def test_a_new_shard_has_all_optimisers_and_each_its_own_step(many):
    slow, fast = (ShardedOptimiser(many, RowSGD, lr=0.0, value_lr=rate) for rate in (0.5, 2.0))
    lose(many, 1)
    with warned(1, 0, 3):
        many.write(torch.full((3, 2), 50.0), torch.zeros(3, 1))
    query = torch.tensor([[0.0, 1.0], [50.0, 50.0]])
    for optimiser, rate in ((slow, 0.5), (fast, 2.0)):
        found = many.lookup(query, k=1)
        before = found.value.detach().clone()
        found.value.sum().backward()
        optimiser.step(found)
        torch.testing.assert_close(many.lookup(query, k=1).value, before - rate)


def test_penalties_are_of_the_entries_that_are_left(monkeypatch):
    monkeypatch.setattr(sharded, "Here", Dying)
    memory = ShardedMemory([Modality("a", 1), Modality("b", 1)], 1, 12, shards=2, where="here")
    memory.write(torch.tensor([[0.0, 0.0], [9.0, 9.0], [2.0, 4.0], [7.0, 7.0]]), torch.zeros(4, 1))
    lose(memory, 1)
    with pytest.warns(RuntimeWarning):
        memory.tick()
    memory.write({"a": torch.tensor([[1.0]])}, torch.zeros(1, 1))
    found = memory.lookup({"b": torch.tensor([[0.0]])}, k=3)
    assert found.distances[0].tolist() == [0.0, 8.0, 16.0]  # who lacks it: twice the variance of 0 and 4


@pytest.mark.parametrize(("shards", "kept"), [(3, True), (2, False)])
def test_what_was_loaded_is_what_comes_back_if_there_are_as_many_shards(many, tmp_path, shards, kept):
    many.save(tmp_path / "memory")
    again = ShardedMemory.load(tmp_path / "memory", shards=shards, where="here")
    lose(again, 0)
    with pytest.warns(RuntimeWarning, match=f"{'from' if kept else '0 entries'}"):
        again.tick()
    assert len(again) == (9 if kept else 4) and again.lost == (0 if kept else 5)


def test_nobody_is_lost_where_nobody_died(many):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        many.tick()
    assert many.lost == 0
