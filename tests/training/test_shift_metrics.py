"""What the shift metrics promise: each against a few episodes counted by hand, or a loop."""

import numpy as np
import pytest

from engram_rl.training import shift_metrics as metrics


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
