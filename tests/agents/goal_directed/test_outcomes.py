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
