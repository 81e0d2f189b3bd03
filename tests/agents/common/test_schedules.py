"""A schedule goes from its start to its end, and what it may be is said by name."""

import pytest

from engram_rl.agents.common.schedules import Linear, as_schedule


def test_a_straight_line_from_the_start_to_the_end_which_then_stays():
    schedule = Linear(1.0, 0.2, 4)
    assert [schedule(step) for step in (0, 1, 2, 4, 5, 100)] == pytest.approx([1.0, 0.8, 0.6, 0.2, 0.2, 0.2])


def test_after_no_steps_at_all_it_is_at_its_end_and_a_number_stays():
    assert as_schedule(Linear(1.0, 0.2, 0), "epsilon")(1) == pytest.approx(0.2)
    assert as_schedule(0.3, "epsilon")(0) == as_schedule(0.3, "epsilon")(10**6) == 0.3


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Linear(-0.1, 0.2, 4), "epsilon.start is -0.1"),
        (Linear(0.1, 1.2, 4), "epsilon.end is 1.2"),
        (Linear(0.1, 0.2, -1), "epsilon.steps is -1"),
        (-1.0, "epsilon is -1.0"),
    ],
)
def test_what_is_out_of_range_is_named(schedule, message):
    with pytest.raises(ValueError, match=message):
        as_schedule(schedule, "epsilon", most=1.0)
