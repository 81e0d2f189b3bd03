"""Rewards and ends are one number and one truth value for each environment, and what an environment paid is counted."""

import re
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest

from engram_rl.training.errors import UsageError
from engram_rl.training.intake.ends import truth, truths
from engram_rl.training.intake.rewards import LARGEST, PAID, Paid, below, number, numbers, paid


class TestOneEnvironment:
    @pytest.mark.parametrize(
        "reward", [int(LARGEST), -int(LARGEST), 0, 2.5, np.float32(-1.5), np.array([[3]]), Fraction(1, 4)]
    )
    def test_a_number_stays_what_it_is(self, reward):
        assert number(reward, "X") == reward

    @pytest.mark.parametrize("reward", [int(LARGEST) + 1, -int(LARGEST) - 1, 10**400])
    def test_whole_numbers_beyond_what_networks_compute_with_are_refused(self, reward):
        with pytest.raises(UsageError, match=r"reward of X is a whole number beyond 1.0e\+12"):
            number(reward, "X")

    @pytest.mark.parametrize("reward", [np.zeros(0), np.ones(2), np.array("1"), np.array(1j), "1", None])
    def test_what_is_not_one_number_is_refused(self, reward):
        with pytest.raises(UsageError, match=r"The reward of X is .*Give one number a step"):
            number(reward, "X")

    @pytest.mark.parametrize(
        ("value", "ended"), [(0.5, True), (0, False), (np.array([[0]]), False), (np.False_, False)]
    )
    def test_a_number_is_true_where_it_is_not_nought(self, value, ended):
        assert truth(value, "terminated", "X") is bool(ended)

    @pytest.mark.parametrize(
        "value", [np.zeros(0, bool), np.ones(2, bool), np.array("1"), np.array(1j), np.array(np.nan)]
    )
    def test_what_is_not_one_truth_value_is_refused(self, value):
        with pytest.raises(UsageError, match=r"terminated of X is .*, not one truth value"):
            truth(value, "terminated", "X")


class TestVectors:
    @pytest.mark.parametrize("given", [[1, 2], [[1], [2]], np.array([1, 2], np.int8), np.array([[1], [2]], np.float16)])
    def test_one_number_each_is_read_as_float64(self, given):
        found = numbers(given, 2, "X")
        assert found.tolist() == [1, 2] and found.dtype == np.float64

    def test_what_was_paid_stays_where_an_environment_uses_its_array_again(self):
        array = np.ones(2)
        found = numbers(array, 2, "X")
        array[:] = 7
        assert found.tolist() == [1, 1]

    @pytest.mark.parametrize("given", [["1", "2"], [1], [1, 2, 3], [[1, 2]], [[1, 2], [3, 4]], [[], []], [None, 1]])
    def test_anything_else_is_refused(self, given):
        with pytest.raises(UsageError, match=r"The rewards of X are .*, not 2 numbers"):
            numbers(given, 2, "X")

    def test_the_largest_is_taken_and_beyond_it_the_environment_is_named(self):
        assert numbers([LARGEST, -LARGEST, 0], 3, "X").tolist() == [LARGEST, -LARGEST, 0]
        for wrong in (np.nextafter(LARGEST, np.inf), -np.nextafter(LARGEST, np.inf), np.nan, np.inf):
            said = re.escape(f"reward of environment 1 is {wrong} (X); agents need finite numbers of at most 1.0e+12")
            with pytest.raises(UsageError, match=said):
                numbers([0, wrong, wrong], 3, "X")

    @pytest.mark.parametrize("given", [[True, False], [[True], [False]], np.array([2, 0], np.uint8), [0.5, 0.0]])
    def test_one_truth_value_each_is_read_as_bool(self, given):
        found = truths(given, 2, "terminated", "X")
        assert found.dtype == bool and found.tolist() == [True, False]

    def test_ends_stay_where_an_environment_uses_its_array_again(self):
        array = np.ones(2, bool)
        found = truths(array, 2, "terminated", "X")
        array[:] = False
        assert found.all()

    @pytest.mark.parametrize(
        "given", [["", "x"], [True], [True] * 3, [[True, False]], [[1, 0], [0, 1]], [0.0, np.nan], [None, True]]
    )
    def test_anything_else_is_no_end(self, given):
        with pytest.raises(UsageError, match=r"terminated of X is .*, not 2 truth values"):
            truths(given, 2, "terminated", "X")


class Till(gym.Env):
    """Gives what it is told to give."""

    def step(self, action):
        return action


class TestWhatAnEnvironmentPaid:
    def test_it_is_summed_until_it_is_asked_for(self):
        counted = Paid(Till())
        assert counted.paid == 0
        for reward in (1.0, np.array([2.5])):
            given = ("seen", reward, 100, 100, {})
            assert counted.step(given) is given
        assert counted.paid == 3.5

    @pytest.mark.parametrize(
        "given", [["seen", 9, False, False, {}], ("seen", 9, False, {}), ("seen", 9, 1, 1, {}, {})]
    )
    def test_what_is_no_step_is_not_counted(self, given):
        counted = Paid(Till())
        counted.step(given)
        assert counted.paid == 0

    def test_several_numbers_are_not_known_as_one(self):
        counted = Paid(Till())
        counted.step(("seen", [1, 2], False, False, {}))
        assert np.isnan(counted.paid)

    def test_it_is_found_below_any_wrappers(self):
        counted = Paid(Till())
        assert below(gym.Wrapper(gym.Wrapper(counted))) is counted is below(counted)
        assert below(gym.Wrapper(Till())) is None and below(Till()) is None

    def test_scores_take_what_was_paid_where_it_is_said_during_an_episode_or_at_its_end(self):
        reward = np.array([1.0, 2, 3, 4])
        said = {PAID: np.array([10.0, 0, 0, 0]), f"_{PAID}": np.array([True, False, False, False])}
        ended = {PAID: np.array([0, 0, 30.0, 0]), f"_{PAID}": np.array([False, False, True, False])}
        assert paid(reward, {}).tolist() == [1, 2, 3, 4]
        assert paid(reward, said).tolist() == [10, 2, 3, 4]
        assert paid(reward, {"final_info": ended}).tolist() == [1, 2, 30, 4]
        assert paid(reward, {**said, "final_info": ended}).tolist() == [10, 2, 30, 4]
        assert paid(reward, {"final_info": np.array([None, {PAID: 3}])}).tolist() == [1, 2, 3, 4]
