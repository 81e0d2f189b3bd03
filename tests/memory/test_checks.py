"""A check lets through what lies on its limits, and names every limit when it refuses."""

import math

import pytest
import torch

from engram_rl.memory.checks import number, offers, require_held, shown, slots_of, unknown, whole


@pytest.mark.parametrize(
    ("value", "limits", "told"),
    [
        (math.nan, {}, "finite"),
        (math.inf, {}, "finite"),
        (0, {"least": 1}, "at least 1"),
        (0, {"above": 0}, "above 0"),
        (2, {"most": 1}, "at most 1"),
        (1, {"below": 1}, "below 1"),
        (2, {"least": 0, "most": 1}, "at least 0 and at most 1"),
        (2, {"above": 0, "below": 1}, "above 0 and below 1"),
        (math.inf, {"above": 0}, "above 0"),
    ],
)
def test_a_number_outside_its_limits_is_refused_with_all_of_them_and_no_other(value, limits, told):
    with pytest.raises(ValueError) as refused:
        number("share", value, hint=": it is a share", **limits)
    assert str(refused.value) == f"share is {value}; it must be {told}: it is a share"


def test_a_number_on_its_limits_is_let_through():
    assert number("x", 1, 1, most=1) == 1
    assert number("x", 1e-9, above=0) == 1e-9
    assert number("x", 1 - 1e-9, below=1) == 1 - 1e-9
    assert number("x", math.inf, above=0, infinite=True) == math.inf
    for wrong in (True, "1", None):
        with pytest.raises(TypeError, match="it must be a number"):
            number("x", wrong)


def test_a_whole_number_is_told_the_limit_that_it_is_beyond():
    assert [whole("n", value, 2, 4) for value in (2, 4)] == [2, 4]
    assert whole("n", 1) == 1 and whole("n", 2**31 - 1) == 2**31 - 1
    for value, told in ((1, "at least 2"), (5, "at most 4")):
        with pytest.raises(ValueError) as refused:
            whole("n", value, 2, 4, hint="!")
        assert str(refused.value) == f"n is {value}; it must be {told}!"
    for value in (0, 2**31):
        with pytest.raises(ValueError):
            whole("n", value)
    for wrong in (True, 1.0, "1"):
        with pytest.raises(TypeError, match="it must be a whole number"):
            whole("n", wrong)


def test_slots_are_those_of_the_memory_and_nobody_only_where_it_may_be():
    assert slots_of("slots", torch.tensor([-1, 0, 4], dtype=torch.int32), 5).dtype == torch.int64
    assert slots_of("slots", torch.tensor([0, 4]), 5, nobody=False).tolist() == [0, 4]
    assert slots_of("slots", torch.empty(0, 3, dtype=torch.int64), 5, dims=2).shape == (0, 3)
    for slots, nobody, told in (
        ([-2, 1], True, "slots holds -2; slots go from 0 to 4, and -1 stands for none"),
        ([1, 5], True, "slots holds 5; slots go from 0 to 4, and -1 stands for none"),
        ([-2, 6], True, "slots holds 6; slots go from 0 to 4, and -1 stands for none"),
        ([-1, 1], False, "slots holds -1; slots go from 0 to 4"),
    ):
        with pytest.raises(ValueError) as refused:
            slots_of("slots", torch.tensor(slots), 5, nobody=nobody)
        assert str(refused.value) == told
    with pytest.raises(ValueError, match=r"has shape \[1\]; it must have 2 axes"):
        slots_of("slots", torch.tensor([0]), 5, dims=2)
    with pytest.raises(TypeError, match="slots are integers"):
        slots_of("slots", torch.tensor([0.0]), 5)


@pytest.mark.parametrize(("dtype", "exact"), [(torch.float32, 2**24), (torch.float64, 2**53)])
def test_integers_are_held_up_to_the_last_one_before_the_first_that_is_rounded(dtype, exact):
    for sign in (1, -1):
        require_held("codes", torch.tensor([sign * exact, 0]), dtype, "")
        require_held("codes", torch.tensor([sign * (exact + 2)]), dtype, "")  # even, so it is there
        with pytest.raises(ValueError, match=rf"the integer {sign * (exact + 1)}, .* every integer up to {exact} only"):
            require_held("codes", torch.tensor([0, sign * (exact + 1)]), dtype, "split it")
    require_held("codes", torch.empty(0, dtype=torch.int64), dtype, "")
    require_held("codes", torch.tensor([True]), dtype, "")


def test_what_is_short_is_shown_and_what_is_long_is_named():
    assert shown("x" * 38) == repr("x" * 38) + " (str)"
    assert shown("x" * 39) == "of type str"
    assert shown(torch.zeros(2, 3)) == "Tensor [2, 3] of torch.float32"


def test_a_part_of_ones_own_is_told_what_it_lacks():
    class Half:
        def order(self):
            pass

        def __repr__(self):
            return "half"

    half = Half()
    assert offers("forgetting", half, ["order"], []) is half
    with pytest.raises(TypeError) as refused:
        offers("forgetting", half, ["order", "written"], ["b", "a"])
    assert str(refused.value) == (
        "forgetting is half (Half), which lacks written; give one of a, b, or an object that has order, written"
    )
    with pytest.raises(TypeError, match=r"is 3 \(int\); give one of a, b, or an object that has order"):
        offers("forgetting", 3, ["order"], ["b", "a"])
    with pytest.raises(TypeError, match=r"is the class Half; give an object of it, Half\(\.\.\.\)"):
        offers("forgetting", Half, ["order"], [])


def test_a_wrong_name_is_told_the_nearest_or_what_it_is_called_now():
    assert str(unknown("index", "exat", ["ivf", "exact"])) == (
        "unknown index 'exat': did you mean 'exact'? choose from exact, ivf"
    )
    assert str(unknown("index", "zzz", ["ivf", "exact"])) == "unknown index 'zzz': choose from exact, ivf"
    assert str(unknown("index", "kept", ["ivf", "cached"])) == (
        "unknown index 'kept': it is 'cached' now; choose from cached, ivf"
    )
