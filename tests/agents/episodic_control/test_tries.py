"""Counts by situation and action, and the room that they take."""

import numpy as np
import pytest

from engram_rl.agents.episodic_control.tries import Tries


@pytest.mark.parametrize(("situations", "room"), [(1, 256), (128, 256), (129, 1024), (256, 1024), (257, 2048)])
def test_a_table_is_at_most_half_full_and_at_most_a_quarter_after_it_was_filed_anew(situations, room):
    tries, names = Tries(2), np.arange(situations) * 7919
    tries.add(names, np.zeros(situations, int))
    assert len(tries._used) == room
    assert tries.of(names).tolist() == [[1, 0]] * situations


def test_room_is_that_of_what_is_counted_now_and_counts_are_those_of_a_dict():
    rng, tries, counts = np.random.default_rng(0), Tries(3), {}
    for _ in range(60):
        names, actions = rng.integers(-(2**63), 2**63 - 1, 300), rng.integers(3, size=300)
        names[100:] = names[:200]  # some at once, and several times
        tries.add(names, actions)
        for pair in zip(names.tolist(), actions.tolist(), strict=True):
            counts[pair] = counts.get(pair, 0) + 1
        assert 2 * tries._used.sum() <= len(tries._used) <= 4096
        expected = [[counts.get((name, action), 0) for action in range(3)] for name in names.tolist()]
        assert tries.of(names).tolist() == expected
        tries.add(names, actions, -1)
        assert not tries.of(names).any()
        counts.clear()


def test_situations_that_follow_each_other_are_spread_over_the_table():
    buckets = Tries(1)._first(np.arange(256))
    assert buckets.min() >= 0 and 250 <= buckets.max() < 256 and len(np.unique(buckets)) > 150
