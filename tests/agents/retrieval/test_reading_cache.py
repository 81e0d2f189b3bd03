"""An observation that comes again is not read again, and what is read of it does not depend on what is beside it."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.common.observations import batch_size, hash_observations, map_observation
from engram_rl.agents.retrieval import reading_cache
from engram_rl.agents.retrieval.reading_cache import Reading, ReadingCache
from engram_rl.agents.retrieval.situations import ProjectionSituations

SPACE = spaces.Dict({"image": spaces.Box(0, 255, (3, 3, 3), np.uint8), "direction": spaces.Discrete(4)})


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def observations(rows, seed=0):
    g = np.random.default_rng(seed)
    return {"image": g.integers(0, 9, (rows, 3, 3, 3)).astype(np.uint8), "direction": g.integers(0, 4, rows)}


def some(observation, rows):
    return map_observation(lambda part: part[rows], observation)


def reader():
    """A `Seen` and the numbers of rows that it had read."""
    read = []

    def reading(observation):
        read.append(batch_size(observation))
        identities = hash_observations(observation).numpy()
        return Reading(identities[:, None].astype(np.float32), identities)

    return ReadingCache(reading, 1), read


def check(made, observation):
    keys, identities = made(observation)
    assert np.array_equal(identities, hash_observations(observation).numpy())
    assert np.array_equal(keys[:, 0], identities.astype(np.float32))


def test_what_is_seen_again_is_not_read_again():
    made, read = reader()
    seen_first = observations(6)
    for rows in ([0, 1, 2, 3, 4, 4], [4, 0, 2], [5, 1]):
        check(made, some(seen_first, rows))
    assert read == [6, reading_cache.FEWEST]


def test_with_too_many_it_starts_over(monkeypatch):
    monkeypatch.setattr(reading_cache, "MOST", 8)
    made, read = reader()
    for first in (0, 6, 0):
        check(made, some(observations(12), np.arange(first, first + 6)))
    check(made, observations(12))
    assert read == [6, 6, 6, 12]


def test_as_many_as_fit_are_kept(monkeypatch):
    monkeypatch.setattr(reading_cache, "MOST", 8)
    made, read = reader()
    several = observations(9)
    for rows in ([0, 1, 2, 3], [3, 2, 1, 0], [4, 5, 6, 7]):
        check(made, some(several, np.array(rows)))
    assert read == [4, 4]
    for rows in ([8], [0, 8]):  # there is no room for a ninth: it starts over
        check(made, some(several, np.array(rows)))
    assert read == [4, 4, reading_cache.FEWEST, reading_cache.FEWEST]


def test_more_at_once_than_are_kept_are_read_each_time(monkeypatch):
    monkeypatch.setattr(reading_cache, "MOST", 8)
    made, read = reader()
    for _ in range(2):
        check(made, observations(9))
    assert read == [9, 9]


@pytest.mark.parametrize(("dtype", "size"), [(np.uint8, 1024), (np.float32, 256), (np.float64, 128)])
def test_observations_above_a_thousand_bytes_are_read_each_time(dtype, size):
    for columns, expected in ((size, [5]), (size + 1, [5, 5])):
        made, read = reader()
        for _ in range(2):
            check(made, np.arange(5 * columns).reshape(5, columns).astype(dtype))
        assert read == expected


def test_one_and_the_same_observation_is_read_once_however_large():
    made, read = reader()
    picture = np.random.default_rng(0).integers(0, 255, (5, 40, 40)).astype(np.uint8)
    for _ in range(3):
        check(made, picture)
    assert read == [5]


def test_numbers_of_any_size_are_told_apart_in_all_their_bytes():
    made, read = reader()
    near = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, np.nextafter(3.0, 4)], [np.nextafter(1.0, 2), 2.0, 3.0]])
    for row in near:
        check(made, row[None])
    check(made, near)
    assert read == [reading_cache.FEWEST] * 3


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_key_of_a_situation_is_the_same_whatever_is_beside_it(rows):
    space, together = ProjectionSituations(SPACE, 0, size=16), observations(8)
    keys = ProjectionSituations(SPACE, 0, size=16).keys(together)
    assert torch.equal(space.keys(some(together, np.arange(rows))), keys[:rows])
    assert torch.equal(space.keys(together), keys)
