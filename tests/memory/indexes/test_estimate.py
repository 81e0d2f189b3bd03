"""The estimate of recall: of queries, of the last checks, and sooner at first."""

import numpy as np
import pytest

from engram_rl.memory.indexes.estimate import ENOUGH, MOST_CHECKS, Check, RecallEstimate


@pytest.mark.parametrize("every", [1, 8, 64])
@pytest.mark.parametrize("sizes", [(1, 63), (32,), (200, 1, 1, 1, 1)])
def test_it_is_the_share_over_queries_on_average(every, sizes):
    """Recall depends on the batch and on the place in it; what is estimated is the mean over all queries."""
    random = np.random.default_rng(0)
    batches = [np.clip(1 - 0.5 * np.arange(n) / n - 0.1 * (n > 1), 0, 1) for n in sizes]
    true = np.concatenate(batches).mean()
    sums = []
    for seed in range(60):
        estimate = RecallEstimate(every)
        estimate._lot = np.random.default_rng(seed)
        while not estimate.has(128):
            batch = batches[int(random.integers(len(batches)))]
            if estimate.is_drawn():
                estimate.add(Check(float(batch[estimate.query_of(len(batch))]), len(batch), 0.0))
        sums.append(estimate.now)
    assert np.mean(sums) == pytest.approx(true, abs=0.01)


def test_searches_are_checked_sooner_until_there_is_an_estimate():
    estimate = RecallEstimate(64)
    checks = [0, 0]
    for turn in range(64 * 100):
        if estimate.is_drawn():
            estimate.add(Check(1.0, 1, 0.0))
            checks[turn >= ENOUGH * 16] += 1
    assert checks[0] >= ENOUGH and 90 <= checks[1] + checks[0] - ENOUGH <= 101


def test_none_is_checked_if_none_is_wanted():
    assert not any(RecallEstimate(0).is_drawn() for _ in range(500))


def test_only_the_last_checks_count_and_none_of_other_settings():
    estimate = RecallEstimate(1)
    for _ in range(MOST_CHECKS):
        estimate.add(Check(0.0, 1, 1.0))
    for _ in range(MOST_CHECKS):
        estimate.add(Check(1.0, 1, 0.0))
    assert estimate.now == 1 and estimate.mostly_elsewhere
    estimate.begin_anew()
    for _ in range(ENOUGH - 1):
        estimate.add(Check(0.5, 3, 0.1))
        assert estimate.reported == 1
    estimate.add(Check(0.5, 3, 0.1))
    assert estimate.reported == 0.5 and not estimate.mostly_elsewhere


def test_checks_of_entries_that_are_others_by_now_give_way_to_new_ones():
    estimate = RecallEstimate(64)
    for _ in range(40):
        estimate.add(Check(1.0, 1, 0.0, changes=100))
    estimate.outdate(changes=350, entries=1000)  # a quarter of them
    assert estimate.has(40)
    estimate.outdate(changes=351, entries=1000)
    assert estimate.has(ENOUGH) and not estimate.has(ENOUGH + 1) and estimate.reported == 1
    for turn in range(1, ENOUGH + 1):
        assert [estimate.is_drawn() for _ in range(8)].count(True) == 1  # sooner, until all are new
        estimate.add(Check(0.5, 1, 0.0, changes=351))
        estimate.outdate(changes=351, entries=1000)
        assert estimate.now == pytest.approx(1 - 0.5 * turn / ENOUGH)
    assert [estimate.is_drawn() for _ in range(64)].count(True) == 1


def test_an_estimate_goes_on_where_entries_change_faster_than_searches_are_checked():
    estimate = RecallEstimate(8)
    for turn in range(3 * ENOUGH):
        estimate.outdate(changes=1000 * turn, entries=1000)
        estimate.add(Check(turn / 100, 1, 0.0, changes=1000 * turn))
    assert estimate.now == pytest.approx(np.mean(np.arange(2 * ENOUGH - 1, 3 * ENOUGH)) / 100)
