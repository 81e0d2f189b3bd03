"""What random branches promise: they follow what is remembered now, evenly, to the goal or to where it ends."""

from inspect import signature

import numpy as np
import pytest

from engram_rl.memory import RandomBranches, TransitionMemory
from tests.memory.transitions.test_planning import Grid, everything, experience


def test_branches_follow_remembered_transitions_until_goal_dead_end_or_depth():
    grid, memory = Grid(4), TransitionMemory(2, 4)
    experience(memory, grid, everything(grid))
    experience(memory, Grid(100), [((10, 10), 2)])
    ids = memory.name(np.array([[0, 0], [10, 10], [3, 3]]))
    walks = RandomBranches(memory, 50, 12).walk(ids[:2], np.repeat(ids[2:], 2), np.random.default_rng(0))
    assert walks.states.shape == (2, 50, 13) and walks.actions.shape == (2, 50, 12)
    for states, actions, length in zip(walks.states[0], walks.actions[0], walks.lengths[0], strict=True):
        end = length if length >= 0 else 12
        for before, action, after in zip(states[:end], actions[:end], states[1 : end + 1], strict=True):
            here, there = (tuple(memory.states.vectors[i].astype(int)) for i in (before, after))
            assert grid.step(here, action) == there and before != ids[2]
        assert (states[end] == ids[2]) == (length >= 0)
        assert (states[end + 1 :] == -1).all() and (actions[end:] == -1).all()
    assert 0 < (walks.lengths[0] >= 0).sum() < 50
    assert (walks.lengths[1] == -1).all() and (walks.states[1, :, 2:] == -1).all()


def test_who_starts_nowhere_has_not_arrived_though_the_goal_has_no_name_either():
    memory = TransitionMemory(2, 4, 5)
    memory.write(np.zeros((1, 2)), np.array([0]), np.ones((1, 2)))
    nowhere, last = np.array([-1]), np.arange(5)[None] == 4
    for goals in (nowhere, last):
        walks = RandomBranches(memory, 3, 2).walk(nowhere, goals, np.random.default_rng(0))
        assert (walks.lengths == -1).all()


def test_branches_choose_evenly_among_what_is_known():
    grid, memory = Grid(9), TransitionMemory(2, 4)
    experience(memory, grid, [((4, 4), action) for action in (0, 2, 3)])
    start = memory.name(np.array([[4, 4]]))
    first = RandomBranches(memory, 3000, 1).walk(start, np.array([-1]), np.random.default_rng(1)).actions[0, :, 0]
    assert np.bincount(first, minlength=4) / 3000 == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.04)


def test_goals_may_be_any_set_of_states():
    grid, memory = Grid(4), TransitionMemory(2, 4)
    experience(memory, grid, everything(grid))
    wanted = np.zeros((1, memory.states.capacity), bool)
    wanted[0, memory.states.matching(np.array([3, np.nan]))] = True
    start = memory.name(np.array([[2, 0]]))
    walks = RandomBranches(memory, 50, 20).walk(start, wanted, np.random.default_rng(0))
    ends = walks.states[0, np.arange(50), np.maximum(walks.lengths[0], 0)]
    assert (memory.states.vectors[ends[walks.lengths[0] >= 0], 0] == 3).all()


def test_stopping_at_the_first_arrival_gives_the_same_shortest_branch():
    grid, memory = Grid(4), TransitionMemory(2, 4)
    experience(memory, grid, everything(grid))
    ids = memory.name(np.array([[0, 0], [1, 1], [3, 3]]))
    branches = RandomBranches(memory, 50, 20)
    whole, stopped = (
        branches.walk(ids[:2], np.repeat(ids[2:], 2), np.random.default_rng(3), shortest_only=only)
        for only in (False, True)
    )
    for env in range(2):
        shortest = np.where(whole.lengths[env] >= 0, whole.lengths[env], 99).argmin()
        assert stopped.lengths[env, shortest] == whole.lengths[env, shortest] > 0
        assert (stopped.actions[env, shortest] == whole.actions[env, shortest]).all()
    latest = max(int(lengths[lengths >= 0].min()) for lengths in whole.lengths)
    assert stopped.lengths.max() == latest < whole.lengths.max()


def test_branches_take_in_what_was_written_dropped_and_faded_since():
    grid, memory = Grid(9), TransitionMemory(2, 4, half_life=2.0)
    start, branches = memory.name(np.array([[4, 4]])), RandomBranches(memory, 20, 1)

    def first_actions():
        walks = branches.walk(start, np.array([-1]), np.random.default_rng(0))
        return set(walks.actions[0, :, 0].tolist())

    assert first_actions() == {-1}
    experience(memory, grid, [((4, 4), 0), ((4, 4), 2)])
    assert first_actions() == {0, 2}
    memory.contradict(np.array([[4, 4]]), np.array([0]))
    assert first_actions() == {2}
    memory.tick(3)
    assert first_actions() == {-1}


def test_a_walk_that_begins_at_its_goal_or_nowhere_takes_no_step():
    memory = TransitionMemory(1, 1, 4)
    memory.write(np.arange(4.0)[:, None], np.zeros(4, int), np.roll(np.arange(4.0), -1)[:, None])  # round and round
    assert memory.states.num_free == 0
    starts = np.array([2, 0, -1])
    branches = RandomBranches(memory, 3, 5)
    walks = branches.walk(starts, np.array([2, 3, 1]), np.random.default_rng(0))
    ids = [int(i) for i in memory.states.find(np.arange(4.0)[:, None], np.zeros(4, int))]
    assert walks.lengths.tolist() == [[0] * 3, [(ids.index(3) - ids.index(0)) % 4] * 3, [-1] * 3]
    assert walks.states[0].tolist() == [[2, -1, -1, -1, -1, -1]] * 3
    assert (walks.actions[[0, 2]] == -1).all() and (walks.states[2] == -1).all()
    stopped = branches.walk(starts[:2], np.array([2, 3]), np.random.default_rng(0), shortest_only=True)
    assert stopped.lengths.tolist() == walks.lengths[:2].tolist()


def test_who_has_arrived_at_once_does_not_keep_the_others_walking():
    grid, memory = Grid(4), TransitionMemory(2, 4)
    experience(memory, grid, everything(grid))
    ids = memory.name(np.array([[0, 0], [1, 1], [1, 2]]))
    branches = RandomBranches(memory, 200, 40)
    walks = branches.walk(ids[:2], ids[[0, 2]], np.random.default_rng(0), shortest_only=True)
    assert walks.lengths[0].tolist() == [0] * 200 and set(walks.lengths[1].tolist()) == {-1, 1}


def test_by_default_a_hundred_walks_look_twenty_steps_ahead():
    branches = RandomBranches(TransitionMemory(1, 1, 4))
    assert (branches.branches, branches.depth) == (100, 20)
    assert signature(RandomBranches.walk).parameters["shortest_only"].default is False


@pytest.mark.parametrize(("setting", "value"), [("branches", 0), ("depth", 0), ("branches", 2.5), ("depth", True)])
def test_how_many_and_how_far_are_whole_numbers(setting, value):
    with pytest.raises((TypeError, ValueError), match=f"{setting} is {value}"):
        RandomBranches(TransitionMemory(2, 4), **{setting: value})


@pytest.mark.parametrize("goals", [np.array([[3]]), np.array([3, 4]), np.ones((1, 3), bool), np.array([500])])
def test_goals_that_are_not_one_for_each_start_are_refused(goals):
    branches = RandomBranches(TransitionMemory(2, 4, 100), 3, 2)
    with pytest.raises(ValueError, match="goals must be"):
        branches.walk(np.array([0]), goals, np.random.default_rng(0))


def test_nobody_walks_nowhere():
    nobody = np.zeros(0, int)
    walks = RandomBranches(TransitionMemory(2, 4, 100), 3, 2).walk(nobody, nobody, np.random.default_rng(0))
    assert walks.states.shape == (0, 3, 3) and walks.lengths.shape == (0, 3)
