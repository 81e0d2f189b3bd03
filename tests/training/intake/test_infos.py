"""Infos of any kind are put side by side, and what is read of them is read with care."""

from collections import OrderedDict
from types import MappingProxyType

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import logger, spaces
from gymnasium.vector import VectorEnv

from engram_rl.training.errors import say_once
from engram_rl.training.intake.infos import RESERVED, AnyInfo, AsyncEnvironments, action_masks, numbers, own


class Three(AnyInfo, VectorEnv):
    """Of three environments only the infos."""

    num_envs = 3


def side_by_side(*infos, found=None):
    """The infos of environments 0, 1, ... in one."""
    found = {} if found is None else found
    for number, info in enumerate(infos):
        found = Three()._add_info(found, info, number)
    return found


ONE, TWO = np.zeros(2), np.zeros(3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((3, None, 4), [3, None, 4]),
        ((3, "word", 0.5), [3, "word", 0.5]),
        ((ONE, TWO, None), [ONE.tolist(), TWO, None]),
        ((1, {"a": 2}, 5), [1, {"a": 2}, 5]),
        ((10**30, 1, 2), [10**30, 1, 2]),
    ],
    ids=["null", "word", "ragged", "names", "enormous"],
)
def test_infos_of_several_kinds_become_an_array_of_objects(given, expected):
    found = side_by_side(*({"before": 1, "mixed": one, "after": "x"} for one in given))
    assert found["mixed"].dtype == object and found["mixed"].shape == (3,)
    for one, other in zip(found["mixed"], expected, strict=True):
        np.testing.assert_equal(one, np.array(other) if isinstance(other, list) else other)
    assert found["_mixed"].all() and found["before"].tolist() == [1, 1, 1] and found["after"].tolist() == ["x"] * 3


def test_only_who_said_something_has_said_it():
    found = side_by_side({}, {"n": 1}, {"n": "word"})
    assert found["n"].tolist() == [None, 1, "word"] and found["_n"].tolist() == [False, True, True]
    found = side_by_side({"n": 1}, {"n": "word"}, {})
    assert found["n"].tolist() == [1, "word", None] and found["_n"].tolist() == [True, True, False]


def test_a_name_of_somebodys_own_that_stands_where_it_is_said_who_spoke_breaks_nothing():
    found = side_by_side({"_n": "mine"}, {"n": 5}, {"n": 6})
    assert found["n"].tolist()[1:] == [5, 6] and found["_n"][1:].all()
    for mine in (np.ones(2, bool), np.ones((3, 1), bool), True, 1, "mine", {"n": 1}):
        assert side_by_side({"_n": mine}, {"n": 10**30}, {"n": "b"})["n"].tolist() == [None, 10**30, "b"]
        assert side_by_side({"n": 4, "_n": mine}, {"n": "a"}, {"n": "b"})["n"].tolist()[1:] == ["a", "b"]


class TestWhatIsPassedOn:
    @pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
    def test_an_environments_own_words_are_and_those_of_vectors_are_not(self, kind):
        mine = {"winner": None, "episodes": 3, "zone": None, "a": None, "final": 1}
        assert own(kind({**mine, **dict.fromkeys(RESERVED, 1)})) == mine and type(own(kind(mine))) is dict

    @pytest.mark.parametrize("info", [None, 3, "words", [("a", 1)], np.zeros(2)])
    def test_what_has_no_names_says_nothing(self, info):
        assert own(info) == {}

    def test_a_mask_is_unless_it_is_null(self):
        mask, name = np.ones(2), "_".join(["action", "mask"])
        assert own({name: mask, "a": 1}) == {"action_mask": mask, "a": 1}
        assert own({name: None, "a": None, "z": None}) == {"a": None, "z": None}

    def test_the_names_that_vectors_use_are_reserved(self):
        assert set(RESERVED) == {
            f"{mark}{name}"
            for mark in ("", "_")
            for name in ("episode", "final_obs", "final_info", "engram/stepped", "engram/lost")
        }


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, []),
        ({"n": None}, []),
        ({"n": 3}, [3]),
        ({"n": np.array([1, 2.5, np.nan, np.inf])}, [1, 2.5]),
        ({"n": [1, "word", None, True, np.float32(4), np.int8(5), np.True_, 1j]}, [1, 1, 4, 5, 1]),
        ({"n": np.array([[1, 2], [3, 4]])}, [1, 2, 3, 4]),
        ({"n": np.array([1, 2, 3]), "_n": np.array([True, False, True])}, [1, 3]),
        ({"n": np.array([1, 2, 3]), "_n": np.array([True, False])}, [1, 2, 3]),
        ({"n": np.array([1, 2, 3]), "_n": [True, False, True]}, [1, 2, 3]),
    ],
)
def test_numbers_are_the_finite_ones_of_those_who_said_any(info, expected):
    found = numbers(info, "n")
    assert found == expected and all(type(one) is float for one in found)


class TestMasks:
    def masks(self, given, num_envs=2, **more):
        return action_masks({"action_mask": given, **more}, spaces.Discrete(3), num_envs)

    @pytest.mark.parametrize("kind", [list, tuple, np.array, lambda given: np.array([*given, None], object)[:-1]])
    def test_one_each_is_read_however_they_are_held(self, kind):
        assert self.masks(kind([[1, 0, 2], [0, 0.5, 1]])).tolist() == [[True, False, True], [False, True, True]]

    @pytest.mark.parametrize("given", [np.array(3), np.ones((3, 3)), [[1, 1, 1]], {0: 1, 1: 2}, "ab", 3, None, []])
    def test_what_is_not_one_each_is_not_read(self, given):
        assert self.masks(given) is None

    def test_only_who_said_one_is_masked(self):
        found = self.masks(np.array([[0, 1, 0], [0, 0, 0]]), _action_mask=np.array([True, False]))
        assert found.tolist() == [[False, True, False], [True] * 3]

    def test_nobodys_mask_is_none_and_neither_is_one_that_is_not_said(self):
        assert action_masks({}, spaces.Discrete(3), 2) is None
        assert self.masks(np.ones((2, 3)), _action_mask=np.zeros(2, bool)) is None

    @pytest.mark.parametrize(
        ("given", "what"),
        [
            (np.ones(4), r"of shape \(4,\) and float64"),
            (np.ones(2), r"of shape \(2,\) and float64"),
            (np.ones((1, 3)), r"of shape \(1, 3\) and float64"),
            (["a", "b", "c"], r"of shape \(3,\) and <U1"),
            ([[1, 2], [3]], "list"),
            ("all", "str"),
        ],
    )
    def test_what_is_no_mask_of_one_is_told_and_allows_everything(self, given, what, capsys):
        say_once.cache_clear()
        mixed = np.full(2, None, object)
        mixed[0], mixed[1] = given, [0, 1, 0]
        assert self.masks(mixed).tolist() == [[True] * 3, [False, True, False]]
        told = capsys.readouterr().err.strip()
        assert told == f"An action_mask is not read: it is {what}, not 3 truth values.".replace("\\", "")

    def test_an_environment_that_is_to_act_and_may_not_is_named(self):
        nothing = [[1, 0, 0], [0, 0, 0]]
        with pytest.raises(ValueError, match="action_mask of environment 1 allows no action"):
            self.masks(nothing)
        found = action_masks({"action_mask": nothing}, spaces.Discrete(3), 2, acting=False)
        assert found.tolist() == [[True, False, False], [True] * 3]


class Stuck(gym.Env):
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        raise RuntimeError("the arm is stuck")


def test_an_error_in_a_process_is_raised_and_not_printed_as_well(capsys):
    environments = AsyncEnvironments([Stuck])
    before = logger.min_level
    with pytest.raises(RuntimeError, match="the arm is stuck"):
        environments.reset()
    environments.close()
    assert capsys.readouterr().err == "" and logger.min_level == before
