"""The prioritised replay draws by priority at any scale, weighs what it draws, and continues after a reload."""

import dataclasses

import numpy as np
import pytest
import torch

from engram_rl.agents.common.prioritised import PrioritisedReplay
from engram_rl.agents.common.replay import Replay


def replay(priorities=(), capacity=6, exponent=0.6, correction=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = PrioritisedReplay(capacity, generator, exponent=exponent, correction=correction)
    if len(priorities):
        made.add({"target": np.arange(len(priorities), dtype=np.float32)})
        made.prioritise(np.arange(len(priorities)), np.array(priorities))
    return made


def shares(made, count=20_000):
    return np.bincount(made.draw(count).at, minlength=len(made)) / count


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0])
def test_rows_are_drawn_by_powers_of_their_priorities_whatever_their_scale(scale, exponent):
    priorities = np.array([1.0, 2.0, 0.5, 4.0])
    expected = priorities**exponent / (priorities**exponent).sum()
    assert shares(replay(priorities * scale, exponent=exponent)) == pytest.approx(expected, abs=0.015)


def test_weights_are_of_equation_two_and_those_of_the_rarest_are_one():
    priorities = np.array([1.0, 2.0, 0.5, 4.0])
    drawn = replay(priorities, exponent=0.6, correction=0.4).draw(500)
    odds = priorities**0.6 / (priorities**0.6).sum()
    weight = (4 * odds) ** -0.4
    assert drawn.weight == pytest.approx((weight / weight[drawn.at].max())[drawn.at], rel=1e-5)
    assert drawn.rows["target"].tolist() == drawn.at.tolist()


def test_what_has_no_priority_is_drawn_seldom_and_uniformly_where_nothing_has_one():
    millionth = 1e-6**0.25
    assert shares(replay([0.0, 1.0], exponent=0.25))[0] == pytest.approx(millionth / (1 + millionth), abs=0.005)
    assert shares(replay([0.0, 0.0])) == pytest.approx([0.5, 0.5], abs=0.02)


def test_new_rows_have_the_greatest_priority_there_is_now():
    made = replay([3.0, 1.0], capacity=3, exponent=1.0)
    made.add({"target": np.array([2.0], np.float32)})
    assert shares(made) == pytest.approx([3 / 7, 1 / 7, 3 / 7], abs=0.015)
    made.prioritise(np.arange(3), np.array([0.1, 0.1, 0.2]))
    made.add({"target": np.array([3.0], np.float32)})  # in place of the first
    assert shares(made) == pytest.approx([0.4, 0.2, 0.4], abs=0.015)


def test_what_was_added_before_anything_had_a_priority_has_one_of_one():
    made = replay(exponent=1.0)
    made.add({"target": np.zeros(2, np.float32)})
    made.prioritise(np.array([0]), np.array([3.0]))
    assert shares(made) == pytest.approx([0.75, 0.25], abs=0.015)


def test_a_batch_larger_than_the_capacity_is_as_likely_as_any():
    made = replay([1.0], capacity=3)
    made.add({"target": np.arange(8, dtype=np.float32)})
    assert shares(made) == pytest.approx([1 / 3] * 3, abs=0.015)


def test_without_an_exponent_it_draws_what_a_uniform_replay_draws():
    made, uniform = replay([5.0, 1.0, 0.0], exponent=0.0), Replay(6, torch.Generator().manual_seed(0))
    uniform.add({"target": np.arange(3, dtype=np.float32)})
    drawn = made.draw(50)
    assert drawn.rows["target"].tolist() == uniform.sample(50)["target"].tolist() and (drawn.weight == 1).all()


def test_a_reloaded_replay_draws_the_same_and_a_state_without_priorities_is_uniform():
    original, copy = replay([1.0, 5.0, 0.1]), replay(seed=9)
    copy.load_state_dict(original.state_dict())
    for made in (original, copy):
        made.add({"target": np.arange(5, dtype=np.float32)})
    assert original.draw(50).at.tolist() == copy.draw(50).at.tolist()
    state = replay([1.0, 5.0]).state_dict()
    del state["priority"]
    copy.load_state_dict(state)
    assert shares(copy) == pytest.approx([0.5, 0.5], abs=0.015)


def test_a_state_without_priorities_goes_on_as_a_new_replay_does():
    state, copy = replay([2.0, 5.0]).state_dict(), replay(exponent=1.0)
    del state["priority"]
    copy.load_state_dict(state)
    copy.prioritise(np.array([0]), np.array([3.0]))
    assert shares(copy) == pytest.approx([0.75, 0.25], abs=0.015)


def test_priorities_stay_with_their_rows_in_a_replay_that_has_more_room():
    full = replay([1.0, 2.0, 4.0], capacity=3, exponent=1.0)
    full.add({"target": np.array([3.0], np.float32)})  # in place of the first, with a priority of 4
    larger = replay(capacity=5, exponent=1.0)
    larger.load_state_dict(full.state_dict())
    drawn = larger.draw(20_000).rows["target"].astype(int)
    assert np.bincount(drawn) / len(drawn) == pytest.approx([0, 0.2, 0.4, 0.4], abs=0.015)


def test_values_out_of_range_and_nothing_to_sample_are_said():
    with pytest.raises(ValueError, match="empty"):
        replay().draw(1)
    with pytest.raises(ValueError, match=r"prioritisation is -0.1"):
        replay(exponent=-0.1)
    for correction in (-0.1, 1.01):
        with pytest.raises(ValueError, match=f"correction is {correction}"):
            replay(correction=correction)
    assert replay([1.0, 2.0], correction=0.0).draw(9).weight.tolist() == [1] * 9
    assert replay([1.0, 2.0], exponent=1.0, correction=1.0).draw(99).weight.min() == 0.5


def test_a_minibatch_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        replay([1.0]).draw(2).at = np.zeros(2)
