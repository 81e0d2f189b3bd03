"""Costs that are kept: found by goals and version, those not asked for the longest make room, copies lie apart."""

from copy import copy

import numpy as np
import pytest

from engram_rl.memory.transitions.kept_costs import KeptCosts, padded

S = 5


@pytest.mark.parametrize("seed", range(5))
def test_what_was_asked_for_at_once_is_kept_and_rows_are_those_of_their_goals(seed):
    chance, kept, most = np.random.default_rng(seed), KeptCosts(S), 0
    for _ in range(30):
        number = int(chance.integers(1, 4))
        most = max(most, number)
        sets = [[goal] if chance.random() < 0.7 else [goal, goal + 1] for goal in chance.permutation(9)[:number]]
        goals, versions = padded([np.array(one) for one in sets]), chance.integers(0, 2, number)
        costs = np.array([[sum(one) + 100.0 * v] * 3 for one, v in zip(sets, versions, strict=True)])
        rows = kept.find(goals, versions)
        kept.touch(rows[rows >= 0])
        missing = rows < 0
        if missing.any():
            kept.keep(goals[missing], versions[missing], costs[missing], number)
        rows = kept.find(goals, versions)
        assert (rows >= 0).all() and len(kept.costs) <= 2 * most
        assert np.array_equal(kept.costs[rows, :3], costs)
        assert np.isinf(kept.costs[rows, 3:]).all()  # to states without a column there is no way


def test_those_not_asked_for_the_longest_make_room():
    kept = KeptCosts(S)

    def ask(goal):
        goals, version = np.array([[goal]]), np.array([0])
        rows = kept.find(goals, version)
        kept.touch(rows[rows >= 0])
        if rows[0] < 0:
            kept.keep(goals, version, np.zeros((1, S)), 1)
        return rows[0] >= 0

    assert [ask(goal) for goal in (1, 2, 1, 3, 1, 2, 3, 1)] == [False, False, True, False, True, False, False, False]
    assert kept.costs.shape == (2, S)


def test_another_version_or_another_set_is_not_what_is_kept():
    kept = KeptCosts(S)
    kept.keep(np.array([[3]]), np.array([7]), np.zeros((1, S)), 1)
    assert kept.find(np.array([[3], [3], [2]]), np.array([7, 8, 7])).tolist() == [0, -1, -1]
    assert kept.find(np.array([[3, 4], [3, -1]]), np.array([7, 7])).tolist() == [-1, 0]
    assert kept.find(np.array([[3]]), np.array([7])).tolist() == [0]  # narrower than what was asked for meanwhile


@pytest.mark.parametrize("later", ["copy", "original"])
def test_a_copy_and_its_original_go_ways_of_their_own(later):
    kept = KeptCosts(S)
    kept.keep(np.array([[1], [2]]), np.zeros(2, int), np.arange(10.0).reshape(2, S), 2)
    other = copy(kept)
    one, same = (other, kept) if later == "copy" else (kept, other)
    before = same.costs.copy(), same.find(np.array([[1], [2]]), np.zeros(2, int)).tolist()
    one.touch(np.array([0]))
    for goal in range(3, 9):
        one.keep(np.array([[goal]]), np.zeros(1, int), np.full((1, S), -1.0), 2)
    assert one.find(np.array([[8], [1]]), np.zeros(2, int)).tolist() != [-1, -1]
    assert np.array_equal(same.costs, before[0])
    assert same.find(np.array([[1], [2]]), np.zeros(2, int)).tolist() == before[1]
    assert same.find(np.array([[8]]), np.zeros(1, int)).tolist() == [-1]


def test_sets_are_filled_up_behind():
    assert padded([np.array([3]), np.array([1, 2])]).tolist() == [[3, -1], [1, 2]]
    assert padded([np.array([], int)]).tolist() == [[-1]]
    assert padded([]).shape == (0, 1)
