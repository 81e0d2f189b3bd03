"""What the statistics promise, against slow references."""

import math
from dataclasses import FrozenInstanceError
from inspect import signature

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from engram_rl.training.statistics import (
    Interval,
    interquartile_mean,
    limits_of,
    performance_curve,
    probability_of_improvement,
    stratified_bootstrap,
)


def slow_interquartile_mean(scores):
    ordered = sorted(scores)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


@pytest.mark.parametrize("runs", [1, 3, 4, 5, 10, 23])
def test_the_interquartile_mean_is_the_mean_of_the_middle_half(runs):
    scores = np.random.default_rng(runs).normal(size=runs)
    assert interquartile_mean(scores) == pytest.approx(slow_interquartile_mean(scores), abs=1e-12)


def test_the_interquartile_mean_pools_the_axes_it_is_given():
    scores = np.random.default_rng(0).normal(size=(6, 5, 3))
    expected = [slow_interquartile_mean(scores[:, point].ravel()) for point in range(5)]
    np.testing.assert_allclose(interquartile_mean(scores, axis=(0, 2)), expected, atol=1e-12)


def test_the_interquartile_mean_survives_a_quarter_of_censored_runs_and_no_more():
    assert interquartile_mean([1, 2, 3, np.inf]) == 2.5
    assert interquartile_mean([1, 2, np.inf, np.inf]) == np.inf


def test_the_bootstrap_matches_a_loop_over_tasks_and_draws():
    scores = np.random.default_rng(0).gamma(2.0, size=(12, 3)) + np.array([0, 10, 20])
    generator = np.random.default_rng(1)
    draws = []
    for _ in range(4000):
        resampled = [task[generator.integers(12, size=12)] for task in scores.T]
        draws.append(slow_interquartile_mean(np.concatenate(resampled)))
    interval = stratified_bootstrap(scores, samples=4000)
    assert interval.point == pytest.approx(slow_interquartile_mean(scores.ravel()))
    assert interval.low == pytest.approx(np.quantile(draws, 0.025), abs=0.05)
    assert interval.high == pytest.approx(np.quantile(draws, 0.975), abs=0.05)


def test_runs_never_cross_from_one_task_to_another():
    """With equal runs inside each task, resampling within tasks leaves nothing to vary."""
    scores = np.tile([1.0, 5.0, 9.0], (8, 1))
    interval = stratified_bootstrap(scores, np.mean)
    assert (interval.low, interval.high) == (5.0, 5.0)


@pytest.mark.parametrize(("statistic", "expected"), [(np.mean, 3.0), (interquartile_mean, 3.0)])
def test_95_percent_intervals_cover_the_truth_about_95_percent_of_the_time(statistic, expected):
    """Of 400 experiments of 20 runs; the percentile bootstrap is known to be slightly narrow at such sizes."""
    experiments = np.random.default_rng(7).normal(3.0, 2.0, size=(400, 20))
    intervals = [stratified_bootstrap(runs, statistic, samples=400, seed=i) for i, runs in enumerate(experiments)]
    covered = np.mean([interval.low <= expected <= interval.high for interval in intervals])
    assert 0.90 <= covered <= 0.98


def test_a_wider_confidence_gives_a_wider_interval_and_a_seed_repeats_it():
    scores = np.random.default_rng(0).normal(size=20)
    narrow, wide = (stratified_bootstrap(scores, confidence=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.point < narrow.high < wide.high
    assert stratified_bootstrap(scores, seed=3) == stratified_bootstrap(scores, seed=3)


def test_an_interval_is_infinite_rather_than_nan_where_draws_never_recover():
    interval = stratified_bootstrap([2, 3, 4, 5, 6, 7, np.inf, np.inf])
    assert np.isfinite(interval.low) and interval.high == np.inf


def test_a_performance_curve_is_the_bootstrap_at_each_point_over_whole_runs():
    curves = np.random.default_rng(0).normal(size=(10, 4)).cumsum(axis=1)
    curve = performance_curve(curves, samples=4000)
    for point in range(4):
        alone = stratified_bootstrap(curves[:, point], samples=4000)
        assert curve.point[point] == pytest.approx(alone.point)
        assert curve.low[point] == pytest.approx(alone.low, abs=0.15)
        assert curve.high[point] == pytest.approx(alone.high, abs=0.15)


def test_the_probability_of_improvement_is_mann_whitney_over_pairs():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 6, size=(9, 2)), generator.integers(0, 5, size=(7, 2))
    expected = np.mean([mannwhitneyu(x[:, t], y[:, t]).statistic / 63 for t in range(2)])
    assert probability_of_improvement(x, y).point == pytest.approx(expected)


def test_the_probability_of_improvement_of_clearly_better_equal_and_worse():
    low, high = np.arange(8.0), np.arange(8.0) + 100
    assert probability_of_improvement(high, low).low == 1.0
    assert probability_of_improvement(low, high).high == 0.0
    same = probability_of_improvement(low, low)
    assert same.point == 0.5 and same.low < 0.5 < same.high


def test_axes_may_be_counted_from_the_end():
    scores = np.random.default_rng(0).normal(size=(2, 3, 9))
    expected = [[slow_interquartile_mean(row) for row in table] for table in scores]
    for axis in (-1, 2, (2,), [-1]):
        np.testing.assert_allclose(interquartile_mean(scores, axis=axis), expected, atol=1e-12)
    both = [slow_interquartile_mean(table.ravel()) for table in scores]
    np.testing.assert_allclose(interquartile_mean(scores, axis=(1, -1)), both, atol=1e-12)


@pytest.mark.parametrize(("confidence", "samples"), [(0.95, 2000), (0.5, 7), (0.9, 21), (0.99, 3)])
def test_limits_are_the_outer_order_statistics_of_the_draws(confidence, samples):
    drawn = []

    def recorded(values, axis):
        drawn.append(np.mean(values, axis=axis))
        return drawn[-1]

    scores = np.random.default_rng(2).gamma(2.0, size=(19, 2))
    found = stratified_bootstrap(scores, recorded, confidence=confidence, samples=samples)
    draws = sorted(next(one for one in drawn if np.size(one) == samples))
    outside = (1 - confidence) / 2 * (samples - 1)
    assert found.point == scores.mean()
    assert (found.low, found.high) == (draws[math.floor(outside)], draws[math.ceil(samples - 1 - outside)])


@pytest.mark.parametrize(
    ("drawn", "samples"), [(stratified_bootstrap, 2000), (performance_curve, 1000), (probability_of_improvement, 2000)]
)
def test_a_figure_is_of_95_percent_and_of_so_many_draws_unless_said(drawn, samples):
    x, y = np.random.default_rng(0).normal(size=(2, 30, 3))
    given = (x, y) if drawn is probability_of_improvement else (x,)
    alone, said = drawn(*given), drawn(*given, confidence=0.95, samples=samples, seed=0)
    assert all(np.array_equal(getattr(alone, one), getattr(said, one)) for one in ("point", "low", "high"))
    other = drawn(*given, seed=1)
    assert np.any(other.low != alone.low) and np.any(other.high != alone.high)


def test_the_interval_of_the_probability_of_improvement_resamples_the_runs_of_both_within_their_task():
    generator = np.random.default_rng(5)
    x, y = (generator.normal([mean, 50 + mean], 1, size=(runs, 2)) for mean, runs in ((0.5, 19), (0, 16)))
    draws = []
    for _ in range(2000):
        shares = []
        for t in range(2):
            a, b = x[generator.integers(19, size=19), t], y[generator.integers(16, size=16), t]
            shares.append((a[:, None] > b).mean())
        draws.append(np.mean(shares))
    found = probability_of_improvement(x, y, samples=4000)
    assert found.low == pytest.approx(np.quantile(draws, 0.025), abs=0.03)
    assert found.high == pytest.approx(np.quantile(draws, 0.975), abs=0.03)


@pytest.mark.parametrize("bad", [[], np.zeros((2, 2, 2)), [1.0, np.nan], np.zeros((0, 3)), np.zeros((3, 0)), 1.0])
def test_scores_that_mean_nothing_are_refused(bad):
    with pytest.raises(ValueError, match="scores of"):
        stratified_bootstrap(bad)


def test_agents_are_compared_on_the_same_tasks_only():
    with pytest.raises(ValueError, match="3 and 2 tasks"):
        probability_of_improvement(np.zeros((4, 3)), np.zeros((4, 2)))


def test_an_interval_prints_as_a_figure_with_its_limits():
    assert f"{stratified_bootstrap([2.0] * 10):.1f}" == "2.0 [2.0, 2.0]"
    assert f"{Interval(1 / 3, 0.0, 2 / 3)}" == "0.333 [0, 0.667]"


def test_fewer_than_ten_runs_have_no_interval_but_a_range():
    few, enough = stratified_bootstrap([5.0, 1.0, 3.0, 3.0]), stratified_bootstrap([5.0, 1.0, 3.0, 3.0] * 3)
    assert (few.low, few.high, f"{few:.0f}") == (1, 5, "3 (1 to 5)") and few.is_range
    assert 1 < enough.low < enough.high < 5 and limits_of(enough) == [enough.low, enough.high]
    assert limits_of(few) is None and f"{stratified_bootstrap([4.0])}" == "4"
    by_task = stratified_bootstrap([[0.0, 10.0], [2.0, 20.0]], np.mean)
    assert (by_task.point, by_task.low, by_task.high) == (8, 5, 11)


def test_a_curve_of_few_runs_has_their_range_and_of_enough_an_interval():
    curves = np.random.default_rng(0).normal(size=(12, 30))
    few, enough = performance_curve(curves[:9]), performance_curve(curves)
    assert (few.low == curves[:9].min(0)).all() and (few.high == curves[:9].max(0)).all()
    assert (enough.low > curves.min(0)).all() and (enough.high < curves.max(0)).all()


def test_a_probability_of_improvement_of_few_runs_tells_what_it_is_of_each():
    found = probability_of_improvement([1.0, 5.0], np.arange(12.0))
    assert (found.low, found.high, found.runs) == ((1.5) / 12, (5.5) / 12, 2)


def test_an_interval_stays_as_it_was_found():
    with pytest.raises(FrozenInstanceError):
        Interval(1, 0, 2).low = 5  # type: ignore[misc]


def test_runs_without_a_score_are_named():
    with pytest.raises(ValueError, match=r"scores of runs \[1, 3\] are NaN"):
        stratified_bootstrap([[1, 2], [np.nan, 5], [3, 4], [np.nan, np.nan]])


def test_an_interval_is_of_2000_draws_at_95_percent_unless_it_is_said():
    defaults = {name: one.default for name, one in signature(stratified_bootstrap).parameters.items()}
    assert (defaults["samples"], defaults["confidence"], defaults["seed"]) == (2000, 0.95, 0)
    assert defaults["statistic"] is interquartile_mean
