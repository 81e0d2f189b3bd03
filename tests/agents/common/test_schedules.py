"""A schedule goes from its start to its end, and what it may be is said by name."""

import dataclasses
import math

import numpy as np
import pytest

from engram_rl.agents.common.schedules import Constant, Linear, as_schedule


def test_a_straight_line_from_the_start_to_the_end_which_then_stays():
    schedule = Linear(1.0, 0.2, 4)
    assert [schedule(step) for step in (0, 1, 2, 4, 5, 100)] == pytest.approx([1.0, 0.8, 0.6, 0.2, 0.2, 0.2])


def test_after_no_steps_at_all_it_is_at_its_end_and_a_number_stays():
    assert as_schedule(Linear(1.0, 0.2, 0), "epsilon")(1) == pytest.approx(0.2)
    assert Linear(1.0, 0.2, 1)(1) == pytest.approx(0.2)
    assert as_schedule(0.3, "epsilon")(0) == as_schedule(0.3, "epsilon")(10**6) == 0.3


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Linear(-0.1, 0.2, 4), "epsilon.start is -0.1"),
        (Linear(0.1, 1.2, 4), "epsilon.end is 1.2"),
        (Linear(0.1, 0.2, -1), "epsilon.steps is -1"),
        (-0.1, "epsilon is -0.1"),
        (-1, "epsilon is -1"),
        (1.01, "epsilon is 1.01"),
        (np.float32(-0.5), "epsilon is -0.5"),
        (Constant(-0.2), "epsilon is -0.2"),
        (math.inf, "epsilon is inf; it must be at least 0"),
        (Linear, "epsilon is <class .*; give a number, or a schedule"),
        ({"begin": 1}, r"epsilon is {'begin': 1}; give a number, or a schedule: {_target_: .*schedules\.Linear, start"),
    ],
)
def test_what_is_out_of_range_is_named(schedule, message):
    with pytest.raises(ValueError, match=message):
        as_schedule(schedule, "epsilon", most=1.0)


def test_the_limits_themselves_are_taken_and_without_a_limit_all_that_is_not_negative():
    for limit in (
        0.0,
        1.0,
        0,
        1,
        np.float32(0.5),
        np.int64(1),
        Constant(1.0),
        Linear(0.0, 1.0, 1),
        Linear(1.0, 0.0, 0),
    ):
        as_schedule(limit, "epsilon", most=1.0)
    assert as_schedule(50.0, "rate")(3) == 50.0


def test_a_schedule_of_ones_own_is_taken_as_it_is():
    def own(step):
        return -step

    assert as_schedule(own, "epsilon", most=1.0) is own


def test_a_line_goes_from_one_to_zero_at_once_unless_told_otherwise():
    assert Linear() == Linear(start=1.0, end=0.0, steps=1)


@pytest.mark.parametrize(("schedule", "field"), [(Linear(), "steps"), (Constant(0.5), "value")])
def test_schedules_that_agents_share_cannot_be_changed(schedule, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, field, 2)
