"""What the shift metrics promise: each against a few episodes counted by hand, or a loop."""

import math
from statistics import fmean

import numpy as np
import pytest

from engram_rl.envs.scoring import metrics


def test_regret_and_dynamic_regret_follow_an_optimum_that_moves():
    cost, optimum = [5, 4, 9, 6], [3, 4, 6, 6]
    np.testing.assert_array_equal(metrics.dynamic_regret(cost, optimum), [2, 2, 5, 5])
    assert metrics.regret(cost, optimum) == 5


def test_every_metric_takes_runs_by_episodes():
    cost = np.random.default_rng(0).integers(3, 30, size=(6, 40)).astype(float)
    limit, random = np.full(40, 3.0), np.full(40, 30.0)
    shifts, task_index = [10, 20, 30], np.repeat([0, 1, 0, 1], 10)
    assert metrics.regret(cost, limit).shape == (6,)
    assert metrics.solve_rate(cost < 20).shape == (6,)
    assert metrics.regret_after_shift(cost, limit, shifts).shape == (6,)
    assert metrics.post_shift_area(cost, random, limit, shifts).shape == (6,)
    assert metrics.recovery(cost, limit, shifts).shape == (6, 3)
    assert metrics.savings(cost, limit, task_index).shape == (6, 2)
    assert metrics.plateau(cost, limit, shifts).shape == (6, 4)
    each = [metrics.recovery(run, limit, shifts) for run in cost]
    np.testing.assert_array_equal(metrics.recovery(cost, limit, shifts), each)


def test_the_solve_rate_is_the_share_of_episodes():
    assert metrics.solve_rate([True, False, True, True]) == 0.75


def test_regret_after_shift_counts_the_first_episodes_after_the_first_shift_only():
    cost = np.arange(12.0)
    assert metrics.regret_after_shift(cost, np.zeros(12), [4, 9], window=5) == 4 + 5 + 6 + 7 + 8
    assert np.isnan(metrics.regret_after_shift(cost, np.zeros(12), []))


def test_the_post_shift_area_is_one_at_the_limit_and_nothing_at_random():
    limit, random = np.array([3.0, 5, 4, 7, 6, 2]), np.array([50.0, 60, 40, 70, 60, 20])
    area = lambda cost: metrics.post_shift_area(cost, random, limit, [2, 4], window=2)  # noqa: E731
    assert area(limit) == 1
    assert area(random) == 0
    assert area((limit + random) / 2) == pytest.approx(0.5)


def test_the_post_shift_area_stops_at_its_window_and_at_the_next_shift():
    limit, random = np.zeros(10), np.full(10, 10.0)
    cost = np.array([9, 9, 9, 0, 5, 9, 0, 9, 9, 9.0])  # shifts at 3 and 6: windows are episodes 3, 4 and 6, 7
    assert metrics.post_shift_area(cost, random, limit, [3, 6], window=2) == pytest.approx(1 - (0 + 5 + 0 + 9) / 40)
    crowded = metrics.post_shift_area(cost, random, limit, [3, 4, 6], window=3)  # 3 | 4, 5 | 6, 7, 8
    assert crowded == pytest.approx(1 - (0 + 5 + 9 + 0 + 9 + 9) / 60)


def test_the_post_shift_area_ignores_episodes_that_start_beside_their_goal():
    """Summed before dividing: a single episode in which random equals the limit does no harm."""
    assert metrics.post_shift_area([1, 1, 5], [1, 1, 11], [1, 1, 1], [1], window=2) == pytest.approx(0.6)
    assert np.isnan(metrics.post_shift_area([1, 1], [1, 1], [1, 1], [1]))


def test_recovery_is_the_first_of_three_in_a_row_within_the_tolerance():
    limit = np.full(12, 8.0)
    cost = np.array([8, 8, 8, 8, 30, 10, 9, 30, 10, 8, 10, 8.0])  # shift at 4; 10 = 1.25 x 8 is just within
    assert metrics.recovery(cost, limit, [4]) == [4]
    cost[7] = 10
    assert metrics.recovery(cost, limit, [4]) == [1]
    cost[4] = 10
    assert metrics.recovery(cost, limit, [4]) == [0]


def test_recovery_is_absolute_so_a_flat_bad_curve_is_censored():
    assert metrics.recovery(np.full(20, 40.0), np.full(20, 8.0), [10]) == [np.inf]


def test_recovery_has_to_happen_before_the_next_shift():
    limit = np.ones(8)
    cost = np.array([1, 1, 9, 1, 1, 1, 1, 1.0])
    np.testing.assert_array_equal(metrics.recovery(cost, limit, [2, 5]), [np.inf, 0])
    np.testing.assert_array_equal(metrics.recovery(cost, limit, [2, 4]), [np.nan, 0])


def test_nobody_can_be_said_to_recover_in_a_task_shorter_than_the_streak():
    assert np.isnan(metrics.recovery(np.ones(8), np.ones(8), [2, 4, 6])).all()


def test_recovery_matches_a_loop_over_random_runs():
    generator = np.random.default_rng(3)
    cost, limit, shifts = generator.integers(4, 9, size=(50, 30)), generator.integers(4, 7, size=30), [7, 18]
    for run, got in zip(cost, metrics.recovery(cost, limit, shifts), strict=True):
        for (start, end), value in zip([(7, 18), (18, 30)], got, strict=True):
            streaks = [i for i in range(start, end - 2) if all(run[i + j] <= 1.25 * limit[i + j] for j in range(3))]
            assert value == (streaks[0] - start if streaks else np.inf)


def test_savings_compare_a_returning_target_with_the_first_time():
    task_index = [0, 0, 1, 1, 0, 0, 1, 1]
    cost = np.array([11, 9, 21, 1, 6, 4, 1, 1.0])
    np.testing.assert_allclose(metrics.savings(cost, np.ones(8), task_index), [1 - 8 / 18, 1.0])
    assert metrics.savings(cost, np.ones(8), np.arange(8)).shape == (0,)


def test_savings_are_undefined_where_the_first_time_cost_nothing():
    assert np.isnan(metrics.savings(np.ones(6), np.ones(6), [0, 0, 1, 1, 0, 0])).all()


def test_the_plateau_is_the_level_before_each_shift_in_multiples_of_the_limit():
    cost = np.array([40, 8, 16, 40, 40, 12, 12.0])
    np.testing.assert_allclose(metrics.plateau(cost, np.full(7, 8.0), [3], tail=2), [1.5, 1.5])


def test_shift_episodes_are_where_the_task_changes():
    assert metrics.shift_episodes([0, 0, 1, 1, 0]) == [2, 4]
    assert metrics.shift_episodes([3, 3]) == []


@pytest.mark.parametrize("shifts", [[0], [5], [3, 3], [4, 2]])
def test_impossible_shifts_are_refused(shifts):
    with pytest.raises(ValueError, match="rising order"):
        metrics.recovery(np.ones(5), np.ones(5), shifts)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="same number of episodes"):
        metrics.regret(np.ones(5), np.ones(1))


def test_the_first_episode_on_return_is_that_of_tasks_whose_target_was_there_before():
    task_index = np.repeat([0, 1, 2, 3, 4], 3)
    targets = np.repeat([7, 5, 7, 9, 5], 3)  # returns: tasks 2 and 4, episodes 6 and 12
    cost = np.arange(15.0)
    assert metrics.first_on_return(cost, targets, task_index) == (6 + 12) / 2
    assert metrics.first_on_return(np.stack([cost, 2 * cost]), targets, task_index).tolist() == [9, 18]
    assert np.isnan(metrics.first_on_return(cost, task_index, task_index))


def test_after_find_compares_the_episodes_that_follow_the_first_solved_one_of_a_task():
    cost, optimum = [3, 50, 100, 20, 6, 40, 9, 100, 4], [3, 5, 5, 5, 5, 4, 3, 2, 2]
    solved = [1, 0, 0, 1, 1, 1, 1, 0, 1]
    # shifts at 1 and 5: first solved in episodes 3 and 5, so 4 and 6 count; at 8 the run ends with the find
    assert metrics.after_find(cost, optimum, solved, [1, 5, 8]) == (6 + 9) / (5 + 3)
    assert np.isnan(metrics.after_find(cost, optimum, solved, []))
    assert np.isnan(metrics.after_find(cost, optimum, np.zeros(9), [1, 5]))


def slow(cost, optimum, random, solved, task_index):
    """Every metric of one run at its default windows, episode by episode in plain Python."""
    episodes = len(cost)
    shifts = [e for e in range(1, episodes) if task_index[e] != task_index[e - 1]]
    starts = [0, *shifts]
    tasks = [list(range(start, end)) for start, end in zip(starts, [*shifts, episodes], strict=True)]
    above = [cost[e] - optimum[e] for e in range(episodes)]
    near = [e for task in tasks[1:] for e in task[:10]]
    recovered = []
    for task in tasks[1:]:
        good = [all(cost[e + i] <= 1.25 * optimum[e + i] for i in range(3)) for e in task[:-2]]
        recovered.append(math.nan if len(task) < 3 else good.index(True) if True in good else math.inf)
    first, saved = {}, []
    for task in tasks:
        paid = fmean(above[e] for e in task[:5])
        if task_index[task[0]] in first:
            before = first[task_index[task[0]]]
            saved.append(1 - paid / before if before else math.nan)
        else:
            first[task_index[task[0]]] = paid
    returns = [cost[task[0]] for task in tasks[1:] if task_index[task[0]] in task_index[: task[0]]]
    finds = [next((e for e in task if solved[e]), task[-1]) for task in tasks[1:]]
    after = [find + 1 for find, task in zip(finds, tasks[1:], strict=True) if find != task[-1]]
    possible = sum(random[e] - optimum[e] for e in near)
    return {
        "solve_rate": sum(solved) / episodes,
        "dynamic_regret": [sum(above[: e + 1]) for e in range(episodes)],
        "regret": sum(above),
        "regret_after_shift": sum(above[shifts[0] : shifts[0] + 5]) if shifts else math.nan,
        "post_shift_area": sum(random[e] - cost[e] for e in near) / possible if possible else math.nan,
        "recovery": recovered,
        "savings": saved,
        "first_on_return": fmean(returns) if returns else math.nan,
        "after_find": sum(cost[e] for e in after) / sum(optimum[e] for e in after) if after else math.nan,
        "plateau": [sum(cost[e] for e in task[-10:]) / sum(optimum[e] for e in task[-10:]) for task in tasks],
    }


@pytest.mark.parametrize("seed", range(30))
def test_every_metric_of_every_run_is_that_of_a_loop_over_its_episodes(seed):
    chance = np.random.default_rng(seed)
    task_index = np.repeat(*[[0, 1, 0, 2, 1, 0][: seed % 7], chance.integers(1, 16, size=min(seed % 7, 6))])
    if not len(task_index):
        task_index = np.zeros(4, int)
    episodes = len(task_index)
    cost = chance.integers(2, 9, size=(2, 3, episodes)).astype(float)
    optimum, random = chance.integers(2, 7, size=episodes), chance.integers(4, 12, size=episodes)
    solved = chance.random(size=cost.shape) < 0.3
    shifts = metrics.shift_episodes(task_index)
    got = {
        "solve_rate": metrics.solve_rate(solved),
        "dynamic_regret": metrics.dynamic_regret(cost, optimum),
        "regret": metrics.regret(cost, optimum),
        "regret_after_shift": metrics.regret_after_shift(cost, optimum, shifts),
        "post_shift_area": metrics.post_shift_area(cost, random, optimum, shifts),
        "recovery": metrics.recovery(cost, optimum, shifts),
        "savings": metrics.savings(cost, optimum, task_index),
        "first_on_return": metrics.first_on_return(cost, task_index, task_index),
        "plateau": metrics.plateau(cost, optimum, shifts),
    }
    for run in np.ndindex(2, 3):
        args = (cost[run].tolist(), optimum.tolist(), random.tolist(), solved[run].tolist(), task_index.tolist())
        expected = slow(*args)
        assert metrics.after_find(cost[run], optimum, solved[run], shifts) == pytest.approx(
            expected.pop("after_find"), nan_ok=True
        )
        assert expected.keys() == got.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(got[name][run], value, err_msg=name)


def test_the_windows_are_those_that_are_asked_for():
    cost, shifts, task_index = np.array([9.0, 9, 9, 3, 5, 9, 9, 2, 4, 9]), [3, 7], [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    none, ones = np.zeros(10), np.ones(10)
    for window in (1, 2, 3):
        first, second = cost[3 : 3 + window], cost[7 : 7 + window]
        assert metrics.regret_after_shift(cost, none, shifts, window) == first.sum()
        expected = 1 - (first.sum() + second.sum()) / (2 * 10 * window)
        assert metrics.post_shift_area(cost, 10 * ones, none, shifts, window) == pytest.approx(expected)
        assert metrics.savings(cost, none, task_index, window) == pytest.approx(1 - second.mean() / 9)
        levels = [cost[:3][-window:].mean(), cost[3:7][-window:].mean(), cost[7:][-window:].mean()]
        np.testing.assert_allclose(metrics.plateau(cost, ones, shifts, window), levels)
    assert metrics.recovery(cost, ones, [3], tolerance=5, streak=2) == [0]
    assert metrics.recovery(cost, ones, [3], tolerance=4.9, streak=2) == [4]
    assert metrics.recovery(cost, ones, [3], tolerance=4.9, streak=1) == [0]


def test_a_target_that_costs_the_same_again_saves_nothing():
    assert metrics.savings([5, 7, 5], [1, 1, 1], [0, 1, 0]).tolist() == [0]


def test_gains_and_savings_are_shares_whatever_their_sign():
    """Of returns, in place of costs, the limit lies above random."""
    assert metrics.post_shift_area([1, 6], [1, 2], [1, 10], [1]) == pytest.approx(0.5)
    assert metrics.savings([2, 7, 3], [4, 4, 4], [0, 1, 0]) == pytest.approx(0.5)


@pytest.mark.parametrize(("cost", "optimum"), [([], []), (5.0, [3.0]), (5.0, 3.0), (np.ones((2, 3)), np.ones(2))])
def test_what_has_no_episodes_or_others_is_refused(cost, optimum):
    with pytest.raises(ValueError, match=r"give each as \[..., episodes\] with the same number"):
        metrics.regret(cost, optimum)
