"""Shards on actors of Ray: the same answers, and what happens where one dies."""

import os
import signal
import sys
import time

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, RowRMSprop
from engram_rl.memory.sharded import ShardedMemory, ShardedOptimiser

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here"), pytest.mark.filterwarnings("default")]


@pytest.fixture
def many():
    with ShardedMemory(4, 1, 1000, k=5, shards=2, patience=60) as memory:
        yield memory


def written(memory, n=100, seed=0):
    chance = torch.Generator().manual_seed(seed)
    keys = torch.randn(n, 4, generator=chance)
    memory.write(keys, keys.sum(1, keepdim=True), identity=torch.arange(n) + 1000 * seed)
    return keys


def killed(memory, shard):
    os.kill(memory._crew.processes()[shard], signal.SIGKILL)
    time.sleep(0.2)


def test_answers_and_steps_are_those_of_one_memory(many):
    one = DifferentiableNeuralDictionary(4, 1, 1000, k=5)
    optimisers = RowRMSprop(one, lr=0.1), ShardedOptimiser(many, RowRMSprop, lr=0.1)
    written(one), written(many)
    query = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    for _ in range(2):
        for memory, optimiser in zip((one, many), optimisers, strict=True):
            found = memory.lookup(query)
            found.value.square().sum().backward()
            optimiser.step(found)
    torch.testing.assert_close(many.lookup(query).value, one.lookup(query).value)
    assert len(many) == 100 and many.describe()["size"] == 100
    with pytest.raises(ValueError, match="holds no entry that could move"):
        many.move(torch.tensor([999]), values=torch.zeros(1, 1))


def test_a_shard_that_is_killed_comes_back_as_it_was_saved(many, tmp_path):
    keys = written(many)
    many.save(tmp_path / "memory")
    before = many.lookup(keys[:50], k=1)
    later = written(many, 40, seed=1)
    killed(many, 0)
    with pytest.warns(RuntimeWarning, match="shard 0 of 2 died.*begun anew with"):
        found = many.lookup(keys, k=1)
    assert torch.equal(found.value, keys.sum(1, keepdim=True)) and 0 < many.lost < 40
    assert len(many) == 140 - many.lost
    assert many.same_entries(before).any() and not many.same_entries(before).all()  # names of shard 0 name nobody now
    kept = many.lookup(later, k=1).distances[:, 0] == 0
    assert int(kept.sum()) == 40 - many.lost
    written(many, 40, seed=1)
    assert len(many) == 140 + (40 - many.lost)  # appended once more where they were kept


def test_without_a_save_it_comes_back_empty_and_writing_goes_on(many):
    written(many)
    links = many.find(torch.arange(10))
    many.link(links[:9], links[1:])
    killed(many, 1)
    with pytest.warns(RuntimeWarning, match="died"):
        many.write(torch.zeros(2, 4), torch.zeros(2, 1), identity=torch.tensor([5000, 5001]))
    assert many.lost > 0 and len(many) == 102 - many.lost
    ends = many.follow(links[:9])
    assert ((links[:9] % 2 == 0) | (ends.slots[:, 0] == -1)).all()


def test_memories_share_processes_and_all_come_back_as_their_states_were_taken(many):
    with ShardedMemory(4, 1, 1000, k=5, shards=2, patience=60) as other:
        assert many._crew.processes() == other._crew.processes()
        for memory, seed in ((many, 0), (other, 1)):
            written(memory, seed=seed)
            memory.state_dict()
        killed(many, 1)
        for memory in (many, other):
            with pytest.warns(RuntimeWarning, match="shard 1 of 2 died.*from the latest checkpoint, 0 were lost"):
                memory.tick()
            assert len(memory) == 100 and len(memory.lookup(torch.zeros(1, 4)).value) == 1
        assert many._crew.processes() == other._crew.processes()
    many.tick()


def test_the_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'engram-rl\[cluster\]'.*where=\"here\""):
        ShardedMemory(4, 1, 10)


def test_a_cluster_that_is_too_small_is_named():
    with pytest.raises(ValueError, match="2 shards of cpus=999 processors each need 1998"):
        ShardedMemory(4, 1, 10, cpus=999)
