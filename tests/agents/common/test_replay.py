"""The replay keeps the newest rows, draws them uniformly, and continues after a reload."""

import numpy as np
import pytest
import torch

from engram_rl.agents.common.replay import Replay
from engram_rl.memory import checks


def rows(*values):
    column = np.array(values, dtype=np.float32)
    return {"observation": {"a": np.stack([column, -column], axis=1)}, "target": column}


def replay(capacity=4, seed=0):
    return Replay(capacity, torch.Generator().manual_seed(seed))


def test_the_oldest_rows_make_room():
    memory = replay(capacity=3)
    memory.add(rows(0, 1))
    memory.add(rows(2, 3))
    assert len(memory) == 3
    assert set(memory.sample(200)["target"].tolist()) == {1.0, 2.0, 3.0}


def test_a_batch_larger_than_the_capacity_leaves_its_newest():
    memory = replay(capacity=3)
    memory.add(rows(*range(8)))
    assert set(memory.sample(200)["target"].tolist()) == {5.0, 6.0, 7.0}


def test_parts_of_a_row_stay_together():
    memory = replay(capacity=100)
    memory.add(rows(*range(50)))
    batch = memory.sample(64)
    assert np.array_equal(batch["observation"]["a"][:, 0], batch["target"])


def test_draws_are_uniform():
    memory = replay(capacity=4)
    memory.add(rows(0, 1, 2, 3))
    counts = np.bincount(memory.sample(8000)["target"].astype(int), minlength=4)
    assert np.abs(counts - 2000).max() < 200  # over 5 standard deviations of a fair draw


def test_a_reloaded_replay_draws_the_same_and_overwrites_the_same():
    original = replay(capacity=5)
    original.add(rows(0, 1, 2))
    copy = replay(capacity=5, seed=9)
    copy.load_state_dict(original.state_dict())
    for memory in (original, copy):
        memory.add(rows(3, 4, 5, 6))
    assert original.sample(50)["target"].tolist() == copy.sample(50)["target"].tolist()


@pytest.mark.parametrize("count", range(12))
@pytest.mark.parametrize("capacity", [5, 6, 8, 20])
def test_whatever_was_held_a_replay_of_another_size_goes_on_with_it_and_forgets_the_oldest_first(count, capacity):
    original, other = replay(capacity=5), replay(capacity=capacity)
    for value in range(count):
        original.add(rows(value))
    other.load_state_dict(original.state_dict())
    expected = list(range(max(0, count - 5), count))
    for value in range(count, count + 12):
        assert len(other) == len(expected)
        if expected:
            assert set(other.sample(150)["target"].tolist()) == set(expected)
        other.add(rows(value))
        expected = [*expected, value][-capacity:]


def test_what_was_held_by_a_larger_replay_is_taken_by_one_that_it_just_fills():
    original, other = replay(capacity=9), replay(capacity=3)
    original.add(rows(0, 1, 2))
    other.load_state_dict(original.state_dict())
    other.add(rows(3))
    assert set(other.sample(100)["target"].tolist()) == {1.0, 2.0, 3.0}


def test_one_row_is_enough():
    memory = replay(capacity=1)
    for value in (1, 2):
        memory.add(rows(value))
    assert memory.sample(3)["target"].tolist() == [2, 2, 2]


def test_as_much_room_is_asked_for_as_the_rows_take(monkeypatch):
    monkeypatch.setattr(checks, "ram", lambda device: 4 * 24)
    column = {"target": np.zeros((2, 3))}
    replay(capacity=4).add(column)
    with pytest.raises(ValueError, match=r"capacity 5 of rows of 24 bytes would take .*; lower replay_capacity"):
        replay(capacity=5).add(column)


def test_nothing_to_sample_and_no_room_are_said():
    with pytest.raises(ValueError, match="empty"):
        replay().sample(1)
    with pytest.raises(ValueError, match="capacity 0"):
        replay(capacity=0)
    full = replay(capacity=4)
    full.add(rows(0, 1, 2))
    with pytest.raises(ValueError, match="3 rows, this replay at most 2"):
        replay(capacity=2).load_state_dict(full.state_dict())


def episodes(lengths):
    """Rows of episodes of these lengths: which one, which step of it, and whether it is the first."""
    which = np.repeat(np.arange(len(lengths)), lengths)
    at = np.concatenate([np.arange(length) for length in lengths])
    return {"which": which, "at": at, "opens": at == 0}


@pytest.mark.parametrize("capacity", [200, 30, 17])
def test_episodes_are_drawn_whole_and_as_often_as_they_are_long(capacity):
    lengths = [5, 1, 9, 3, 12, 2, 7]
    replay = Replay(capacity, torch.Generator().manual_seed(0))
    rows = episodes(lengths)
    for start in range(0, sum(lengths), 4):  # as they come, a few rows at a time
        replay.add({name: part[start : start + 4] for name, part in rows.items()})
    first = max(0, sum(lengths) - capacity)
    whole = [e for e in range(len(lengths)) if sum(lengths[:e]) >= first]
    steps = np.zeros(len(lengths))
    for _ in range(300):
        drawn = replay.sample_episodes(10, "opens")
        begins = np.flatnonzero(drawn["opens"])
        assert begins[0] == 0 and len(drawn["at"]) >= 10 > begins[-1]
        for start, end in zip(begins, [*begins[1:], len(drawn["at"])], strict=True):
            (episode,) = set(drawn["which"][start:end])
            assert drawn["at"][start:end].tolist() == list(range(lengths[episode])) and episode in whole
            steps[episode] += 1
    expected = np.array([lengths[e] if e in whole else 0 for e in range(len(lengths))], float)
    assert steps / steps.sum() == pytest.approx(expected / expected.sum(), abs=0.06)


def test_of_an_episode_whose_beginning_has_made_room_nothing_is_drawn():
    replay = Replay(5, torch.Generator())
    replay.add(episodes([9]))
    assert len(replay) == 5 and len(replay.sample_episodes(3, "opens")["at"]) == 0
