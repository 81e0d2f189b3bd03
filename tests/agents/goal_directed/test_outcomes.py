"""What hurts and what is a goal, whatever a step usually pays."""

import numpy as np
import pytest

from engram_rl.agents.agent import Transition
from engram_rl.agents.goal_directed.outcomes import Outcomes


def judged(outcomes, reward, terminated=False):
    ended, nothing = np.array([terminated]), np.zeros((1, 2), np.float32)
    outcome = outcomes(
        Transition(nothing, np.zeros(1, int), np.array([reward]), ended, ~ended & False, nothing, nothing)
    )
    return float(outcome.harm[0]), bool(outcome.good[0])


def judged_at_once(outcomes, rewards, terminated=None):
    """Of a step of many environments."""
    rewards = np.array(rewards, float)
    ended = np.zeros(len(rewards), bool) if terminated is None else np.array(terminated)
    nothing = np.zeros((len(rewards), 2), np.float32)
    return outcomes(Transition(nothing, np.zeros(len(rewards), int), rewards, ended, ended & False, nothing, nothing))


def used_to(rewards):
    outcomes = Outcomes()
    for reward in rewards:
        judged(outcomes, reward)
    return outcomes


@pytest.mark.parametrize("usual", [-1e6, -1.0, -0.01, 0.0, 0.01, 1.0, 1e6])
def test_harm_is_what_is_missing_to_the_usual(usual):
    outcomes = used_to([usual] * 20)
    assert judged(outcomes, usual) == (0, False)
    assert judged(outcomes, usual - 2.5) == (pytest.approx(2.5), False)


def test_costs_for_every_step_hurt_from_the_first_on_nobody():
    outcomes = Outcomes()
    assert [judged(outcomes, -1.0)[0] for _ in range(5)] == [0] * 5


@pytest.mark.parametrize(("usual", "goal"), [(0, 1), (0, 1e6), (-1, 0), (-1, 5), (-0.01, 1), (-1e6, 0), (1, 10)])
def test_an_end_that_pays_more_than_usual_is_good_and_others_hurt(usual, goal):
    outcomes = used_to([usual] * 20)
    assert judged(outcomes, goal, terminated=True) == (0, True)
    harm, good = judged(outcomes, usual, terminated=True)
    assert harm >= 1 and not good


def test_where_all_costs_the_same_an_end_is_good_until_a_better_one_is_known():
    outcomes = used_to([-1.0] * 20)
    assert judged(outcomes, -1.0, terminated=True) == (0, True)
    assert not judged(outcomes, -100.0, terminated=True)[1]
    assert judged(outcomes, 0.0, terminated=True) == (0, True)
    assert not judged(outcomes, -1.0, terminated=True)[1]


def test_goals_that_pay_differently_are_all_good():
    outcomes = used_to([0.0] * 20)
    assert all(judged(outcomes, reward, terminated=True)[1] for reward in (0.9, 0.2, 0.95))


def test_costs_that_vary_hurt_only_where_they_are_far_off():
    rng = np.random.default_rng(0)
    outcomes = used_to(-rng.random(500))
    assert sum(judged(outcomes, -one)[0] > 0 for one in rng.random(200)) == 0
    assert judged(outcomes, -50.0)[0] > 40


def test_what_is_saved_judges_alike():
    outcomes, again = used_to(np.random.default_rng(0).normal(size=1500)), Outcomes()
    again.load_state_dict(outcomes.state_dict())
    for reward in (-5.0, 0.0, 5.0):
        assert judged(again, reward) == judged(outcomes, reward)
    assert again.state_dict()["count"] == outcomes.state_dict()["count"]


VARYING = [-1.0, 1.0, 0.0, 2.0, -2.0] * 4
"""Rewards whose median is 0, and whose median deviation from it is 1: from -4 to 4 is usual."""


@pytest.mark.parametrize(
    ("reward", "terminated", "harm", "good"),
    [
        (-4.0, False, 0.0, False),
        (-4.5, False, 0.5, False),
        (4.0, False, 0.0, False),
        (4.5, False, 0.0, True),
        (4.0, True, 1.0, False),
        (4.5, True, 0.0, True),
        (-4.5, True, 1.0, False),
        (-5.5, True, 1.5, False),
    ],
)
def test_four_median_deviations_from_the_median_are_usual(reward, terminated, harm, good):
    assert judged(used_to(VARYING), reward, terminated) == (harm, good)


@pytest.mark.parametrize(
    ("reward", "harm", "good"),
    [(1.0, 0.0, True), (0.5, 0.0, True), (0.0, 1.0, False), (-0.5, 1.0, False), (-3.0, 3.0, False)],
)
def test_before_anything_is_known_a_step_usually_pays_nothing(reward, harm, good):
    assert judged(Outcomes(), reward, terminated=True) == (harm, good)


@pytest.mark.parametrize(
    ("usual", "reward", "good"), [(-1.0, 0.0, False), (-1.0, -0.5, False), (-1.0, 0.5, True), (1.0, 1.5, True)]
)
def test_a_step_that_pays_more_than_usual_is_good_if_it_pays_anything(usual, reward, good):
    assert judged(used_to([usual] * 20), reward) == (0, good)


def test_an_end_as_bad_as_usual_relieves_of_costs_that_vary_too():
    outcomes = used_to([reward - 7 for reward in VARYING])  # from -11 to -3 is usual
    for reward, harm, good in ((-11.0, 0, True), (-11.5, 1, False), (-13.0, 2, False), (-3.0, 0, True)):
        assert judged(outcomes, reward, terminated=True) == (harm, good)
    assert judged(outcomes, -2.5) == (0, False)  # no end, and so not what ends could pay
    assert judged(outcomes, -11.0, terminated=True)[1]
    assert judged(outcomes, -2.5, terminated=True)[1] and not judged(outcomes, -11.0, terminated=True)[1]


@pytest.mark.parametrize(
    ("envs", "steps", "renewed"),
    [
        (1, 260, [*range(1, 65), 128, 192, 256]),
        (3, 90, [*range(3, 67, 3), 129, 192, 258]),
        (200, 4, [200, 400, 600, 800]),
    ],
)
def test_what_is_usual_is_looked_at_with_each_of_64_rewards_and_then_every_64(envs, steps, renewed):
    outcomes, rewards, seen = Outcomes(), [], []
    for step in range(steps):
        before = outcomes.state_dict()["low"]
        rewards += (1.0 + np.arange(envs) + envs * step).tolist()
        judged_at_once(outcomes, rewards[-envs:])
        if outcomes.state_dict()["low"] != before:
            seen.append(len(rewards))
    assert seen == renewed


def test_the_last_1024_rewards_of_steps_that_ended_nothing_say_what_is_usual():
    rng, outcomes, rewards = np.random.default_rng(0), Outcomes(), []
    for step in range(550):
        paid, ended = rng.normal(step, 1, 4), rng.random(4) < 0.1
        judged_at_once(outcomes, paid, ended)
        before, rewards = len(rewards), [*rewards, *paid[~ended]]
        if before < 64 or before // 64 < len(rewards) // 64:
            median = np.median(rewards[-1024:])
            spread = 4 * np.median(np.abs(np.array(rewards[-1024:]) - median))
        state = outcomes.state_dict()
        assert (state["low"], state["high"]) == pytest.approx((median - spread, median + spread))
    assert sorted(state["rewards"]) == sorted(rewards[-1024:]) and state["count"] == len(rewards) > 1500


def test_of_more_rewards_at_once_than_are_kept_the_last_are_kept():
    outcomes = Outcomes()
    judged_at_once(outcomes, range(1500))
    assert sorted(outcomes.state_dict()["rewards"]) == list(range(476, 1500))


def test_what_is_saved_is_all_that_is_known():
    outcomes, again = used_to(np.random.default_rng(0).normal(size=300) - 9), Outcomes()
    judged(outcomes, 5.0, terminated=True)
    saved = outcomes.state_dict()
    assert saved["better_ends"] is True and len(saved["rewards"]) == 300
    again.load_state_dict(saved)
    for reward in np.random.default_rng(1).normal(size=100):
        assert judged(outcomes, reward) == judged(again, reward)
    one, other = (each.state_dict() for each in (outcomes, again))
    assert one.pop("rewards").tolist() == other.pop("rewards").tolist() and one == other
    assert len(saved["rewards"]) == 300
