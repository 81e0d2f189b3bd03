"""Each schedule shifts its target when and where it says."""

from itertools import pairwise

import numpy as np
import pytest

from engram_rl.envs.shifting.schedules import Abrupt, Drifting, Moment, OnSuccess, Periodic, Random, Recurring, Schedule


def run(schedule: Schedule, episodes: int, solved=lambda episode: False, seed: int = 0) -> list[Moment]:
    random = np.random.default_rng(seed)
    moments = [schedule.first(random)]
    for episode in range(episodes - 1):
        moments.append(schedule.following(moments[-1], solved(episode), random))
    return moments


def shifts(moments: list[Moment]) -> list[int]:
    return [moment.episode for moment in moments if moment.task_index and moment.since == 0]


def test_abrupt_shifts_before_the_named_episodes():
    moments = run(Abrupt(["a", "b", "c"], at=[3, 5]), 8)
    assert "".join(moment.target for moment in moments) == "aaabbccc"
    assert shifts(moments) == [3, 5]


def test_periodic_goes_round_its_list():
    moments = run(Periodic(["a", "b"], period=2), 8)
    assert "".join(moment.target for moment in moments) == "aabbaabb"
    assert [moment.task_index for moment in moments] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_recurring_returns_to_other_targets_after_jittered_stays():
    moments = run(Recurring(["a", "b", "c"], period=4, jitter=2), 2000)
    when = shifts(moments)
    assert set(np.diff(when)) == {2, 3, 4, 5, 6}
    visited = [moments[episode].target for episode in when]
    assert set(visited) == {"a", "b", "c"}
    assert all(one != other for one, other in pairwise(visited))


def test_on_success_shifts_once_enough_episodes_were_solved():
    moments = run(OnSuccess(["a", "b"], needed=2), 9, solved=lambda episode: episode in (1, 3, 4, 5))
    assert "".join(moment.target for moment in moments) == "aaaabbaaa"


@pytest.mark.parametrize(("low", "high", "kind"), [(1, 4, int), (0.5, 2.0, float), ((0, 0), (3, 9), tuple)])
def test_random_draws_between_its_bounds_every_period(low, high, kind):
    moments = run(Random(low, high, period=3), 600)
    assert shifts(moments) == list(range(3, 600, 3))
    drawn = np.array([moment.target for moment in moments])
    assert isinstance(moments[0].target, kind)
    assert (drawn >= low).all()
    assert (drawn <= high).all()
    if kind is not float:
        assert (drawn.min(axis=0) == low).all()
        assert (drawn.max(axis=0) == high).all()


@pytest.mark.parametrize("q", [0.0, 0.3, 1.0])
def test_drifting_takes_one_step_within_bounds_with_probability_q(q):
    moments = run(Drifting((2, 2), low=(0, 0), high=(4, 3), q=q), 3000)
    place = np.array([moment.target for moment in moments])
    step = np.abs(np.diff(place, axis=0)).sum(axis=1)
    assert set(step) <= {0, 1}
    assert step.mean() == pytest.approx(q, abs=0.03)
    assert (place >= 0).all()
    assert (place <= (4, 3)).all()
    assert len(np.unique(place, axis=0)) == (1 if q == 0 else 20)


def test_numbers_drift_too():
    targets = {moment.target for moment in run(Drifting(9.5, low=9.0, high=10.0, step=0.5, q=1.0), 100)}
    assert targets == {9.0, 9.5, 10.0}


def test_a_schedule_holds_no_state_so_many_environments_may_share_it():
    schedule = Recurring(["a", "b", "c"])
    assert run(schedule, 100, seed=1) == run(schedule, 100, seed=1)
    assert run(schedule, 100, seed=1) != run(schedule, 100, seed=2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Periodic(["a"]), r"at least 2 targets to shift between, got \['a'\]"),
        (lambda: Periodic(["a", "b"], period=0), "period must be at least 1 episode, got 0"),
        (lambda: Recurring(["a", "b"], period=3, jitter=3), "from 0 to period - 1 = 2, got 3"),
        (lambda: OnSuccess(["a", "b"], needed=0), "at least 1 solved episode, got 0"),
        (lambda: Random(3, 2), "low=3 must not exceed high=2"),
        (lambda: Random((0, 0), 2), "must not exceed"),
        (lambda: Drifting(0, 0, 3, q=2), "from 0 to 1; got 2"),
        (lambda: Drifting(0, 0, 3, step=0), "step must be above 0"),
        (lambda: Drifting(9, 0, 3), "From 9 no step of 1 stays within bounds"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Periodic("ab"), "targets must be a list, got 'ab'"),
        (lambda: Periodic(target for target in (1, 2)), "targets must be a list"),
        (lambda: Periodic([1, 2], period=2.5), r"period must be a whole number, got 2\.5"),
        (lambda: Recurring([1, 2], jitter=0.5), r"jitter must be a whole number, got 0\.5"),
        (lambda: Recurring([1, 1]), "must differ"),
        (lambda: OnSuccess([1, 2], needed=1.5), r"needed must be a whole number, got 1\.5"),
        (lambda: Abrupt([1, 2], at=5), "at must be a list of episodes, got 5"),
        (lambda: Abrupt([1, 2], at=[0]), "each episode of at must be at least 1"),
        (lambda: Abrupt([1, 2], at=[2.5]), r"each episode of at must be a whole number, got 2\.5"),
        (lambda: Random(0, np.inf), "too far apart"),
        (lambda: Drifting((0, 0), (0, 0, 0), (1, 1, 1)), "must bound each number"),
        (lambda: Drifting(0, -1, 1, step=np.inf), "step must be above 0 and finite"),
    ],
)
def test_what_would_never_shift_or_fail_only_then_is_refused_when_it_is_made(make, says):
    with pytest.raises((TypeError, ValueError), match=says):
        make()


def test_episodes_of_an_abrupt_shift_may_come_one_by_one():
    schedule = Abrupt(["a", "b"], at=(episode for episode in (2, 4)))
    assert run(schedule, 6)[0] == run(Abrupt(["a", "b"], at=[2, 4]), 6)[0]


def test_a_drift_by_fractions_reaches_its_bounds_and_none_beyond():
    moment, seen = Moment(0.0), set()
    schedule, random = Drifting(0.0, low=0.0, high=0.3, step=0.1, q=1), np.random.default_rng(0)
    for _ in range(100):
        moment = schedule.following(moment, False, random)
        seen.add(moment.target)
    assert min(seen) == 0.0 and max(seen) == 0.3


def test_targets_may_be_arrays():
    moment = Moment(np.array([1.0, 2.0]))
    schedule = Recurring(np.array([[1.0, 2.0], [3.0, 4.0]]), period=1, jitter=0)
    after = schedule.following(schedule.first(np.random.default_rng(0)), False, np.random.default_rng(0))
    assert moment.task_index == 0 and after.target.tolist() == [3.0, 4.0]
