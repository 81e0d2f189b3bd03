"""Observations are read in the dtype of their space or refused with their place, and compared with its bounds."""

from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.training.errors import UsageError, say_once
from engram_rl.training.intake.observations import Bounds, copied, reader
from engram_rl.training.intake.spaces import presented

PAIR = spaces.Box(-1, 1, (2,), np.float32)
BYTES = spaces.Box(0, 255, (2,), np.uint8)
CODE = spaces.Discrete(5, start=2)


def read(space, value, batch=()):
    return reader(space, presented(space, "X-v0"), "X", batch=batch)(value)


class Unreadable:
    """What numpy makes no array of."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("on a GPU")


UNREADABLE = [[[1, 2], [3]], Unreadable(), torch.ones(2, requires_grad=True)]


class TestCodes:
    @pytest.mark.parametrize("code", [2, 6, np.int8(3), 4.0, np.array(5), np.array([[2]]), np.float32(6), np.uint64(3)])
    def test_a_code_is_one_however_it_comes(self, code):
        assert read(CODE, code) == int(np.asarray(code).item()) and isinstance(read(CODE, code), int | np.integer)

    @pytest.mark.parametrize(
        "code",
        [
            1,
            7,
            1.0,
            7.0,
            2.5,
            np.nan,
            np.inf,
            1e30,
            np.array("3"),
            "3",
            None,
            np.zeros(0),
            np.full(2, 3),
            3 + 0j,
            *UNREADABLE,
        ],
    )
    def test_what_is_none_is_refused(self, code):
        with pytest.raises(UsageError, match=r"observation of X is not of its space: .* is no code of it.*Discrete\(5"):
            read(CODE, code)

    def test_a_fraction_below_nought_is_none(self):
        assert read(spaces.Discrete(3), True) == 1
        with pytest.raises(UsageError, match=r"-0\.5 is no code of it"):
            read(spaces.Discrete(3), -0.5)

    def test_of_a_batch_they_are_an_array(self):
        assert read(CODE, [2.0, 6.0], batch=(2,)).tolist() == [2, 6]


KINDS = [bool, np.int8, np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64]


class TestArrays:
    @pytest.mark.parametrize("given", KINDS)
    @pytest.mark.parametrize("kind", KINDS[1:])
    def test_what_is_of_another_kind_is_made_of_its_own(self, given, kind):
        space, array = spaces.Box(0, 1, (2,), kind), np.array([1, 0], given)
        found = read(space, array)
        assert found.dtype == kind and found.tolist() == [1, 0]
        assert (found is array) == (given is kind)  # what is right already is not copied yet

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 2), (0,)])
    def test_another_shape_is_refused(self, dtype, shape):
        with pytest.raises(UsageError, match=rf"has shape \({', '.join(map(str, shape))},?\); the space is Box"):
            read(PAIR, np.zeros(shape, dtype))

    def test_a_batch_has_a_row_for_each(self):
        assert read(PAIR, [[1, 2], [3, 4], [5, 6]], batch=(3,)).tolist() == [[1, 2], [3, 4], [5, 6]]
        with pytest.raises(UsageError, match=r"has shape \(2, 2\)"):
            read(PAIR, [[1, 2], [3, 4]], batch=(3,))

    @pytest.mark.parametrize(
        ("space", "given", "said"),
        [
            (BYTES, [0.5, 0.6], r"0\.5 at \[0\] is none of its values"),
            (BYTES, [0, 256], r"256 at \[1\]"),
            (BYTES, [np.nan, 1], r"nan at \[0\]"),
            (spaces.MultiBinary(2), [0, 300], r"300 at \[1\]"),
            (spaces.Box(0, 1, (2, 2), np.int16), [[0, 0], [1.5, 2.5]], r"1\.5 at \[1, 0\]"),
        ],
    )
    def test_the_first_value_that_would_become_another_is_named(self, space, given, said):
        with pytest.raises(UsageError, match=said):
            read(space, given)

    @pytest.mark.parametrize("given", ["ab", ["a", "b"], None, np.array([1j, 2]), {"a": 1}, *UNREADABLE])
    def test_what_is_no_array_of_numbers_is_refused(self, given):
        with pytest.raises(UsageError, match="is no array of numbers"):
            read(PAIR, given)

    @pytest.mark.parametrize("length", [120, 121])
    def test_what_is_long_is_cut_in_the_error(self, length):
        given = "x" * (length - 2)
        with pytest.raises(UsageError) as refused:
            read(PAIR, given)
        shown = repr(given) if length == 120 else f"{repr(given)[:117]}..."
        assert str(refused.value).startswith(f"The observation of X is not of its space: {shown} is no array")


class TestParts:
    SPACE = spaces.Dict(a=PAIR, b=spaces.Dict(c=CODE), d=spaces.Tuple((CODE, PAIR)))
    GIVEN = {"a": [1, 2], "b": {"c": 3}, "d": [4, [5, 6]]}  # noqa: RUF012

    @pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
    def test_they_are_read_from_any_mapping_and_any_sequence(self, kind):
        found = read(self.SPACE, kind(self.GIVEN))
        assert found["a"].tolist() == [1, 2] and found["b"] == {"c": 3}
        assert found["d"]["0"] == 4 and found["d"]["1"].tolist() == [5, 6]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"b": {"c": 9}}, r"observation 'b\.c' of X .* 9 is no code of it"),
            ({"d": (4, [5])}, r"observation 'd\.1' of X .* has shape \(1,\)"),
            ({"d": (4,)}, r"observation 'd' of X .* is no tuple of as many parts"),
            ({"d": (4, [5, 6], 7)}, "is no tuple of as many parts"),
            ({"d": np.ones(2)}, "is no tuple of as many parts"),
            ({"d": {0: 4, 1: [5, 6]}}, "is no tuple of as many parts"),
            ({"b": [("c", 3)]}, r"observation 'b' of X .* has no parts by name"),
            ({"b": {}}, "lacks 'c'; the space"),
            ({"b": {"c": 3, "z": 1, 7: 2}}, "adds '7', 'z'; the space"),
            ({"b": {"z": 1}}, "lacks 'c' and adds 'z'; the space"),
        ],
    )
    def test_what_is_not_of_its_space_is_named_with_its_place(self, change, said):
        with pytest.raises(UsageError, match=said):
            read(self.SPACE, {**self.GIVEN, **change})

    def test_those_that_are_not_shown_are_wanted_and_left_out(self):
        space = spaces.Dict(a=PAIR, said=spaces.Text(5))
        assert list(read(space, {"a": [1, 2], "said": "x"})) == ["a"]
        with pytest.raises(UsageError, match="lacks 'said'"):
            read(space, {"a": [1, 2]})


def bounds(space, **options):
    say_once.cache_clear()
    return Bounds(space, "X-v0", **options)


class TestBounds:
    @pytest.mark.parametrize(
        ("space", "low", "high", "wrong"),
        [
            (spaces.Discrete(3), [0], [2], ([-1], [3])),
            (spaces.Discrete(3, start=-4), [-4], [-2], ([-5], [-1])),
            (spaces.MultiDiscrete([2, 5]), [[0, 0]], [[1, 4]], ([[0, -1]], [[0, 5]], [[2, 0]])),
            (spaces.MultiDiscrete([2, 5], start=[3, 1]), [[3, 1]], [[4, 5]], ([[3, 0]], [[3, 6]], [[5, 1]], [[2, 1]])),
            (spaces.MultiBinary(2), [[0, 0]], [[1, 1]], ([[0, 2]], [[-1, 0]])),
        ],
    )
    def test_codes_one_beyond_are_an_error_and_the_limits_are_none(self, space, low, high, wrong, capsys):
        for one in (low, high):
            bounds(space).check(np.array(one), first=True)
        assert capsys.readouterr().err == ""
        for one in wrong:
            for first in (True, False):
                with pytest.raises(UsageError, match="The observation of environment 0 holds"):
                    bounds(space).check(np.array(one), first=first)

    def test_codes_that_were_read_one_by_one_are_not_compared_again(self):
        bounds(spaces.Discrete(3), codes=False).check(np.array([7]))
        bounds(spaces.Dict(a=spaces.Discrete(3)), codes=False).check({"a": np.array([7])})
        with pytest.raises(UsageError, match="holds 7"):
            bounds(spaces.MultiDiscrete([3]), codes=False).check(np.array([[7]]))
        with pytest.raises(UsageError, match="observation 'a' of environment 0 holds 7"):
            bounds(spaces.Dict(a=spaces.Discrete(3))).check({"a": np.array([7])})

    @pytest.mark.parametrize(
        ("low", "high", "nearest", "farthest"),
        [(-1, 1, -3, 3), (2, 6, -2, 10), (0.5, 0.5, 0.499, 0.501), (0, 1e-4, -1e-3, 1.1e-3), (-8, -2, -14, 4)],
    )
    def test_a_first_number_may_be_as_far_outside_as_the_bounds_are_wide(self, low, high, nearest, farthest, capsys):
        space = spaces.Box(low, high, (2,), np.float64)
        for value, beyond in ((nearest, -1e-5), (farthest, 1e-5)):
            bounds(space).check(np.full((1, 2), value - 0.001 * beyond), first=True)
            assert "passed on as they are" in capsys.readouterr().err
            with pytest.raises(UsageError, match=r"holds .* at \[0\]"):
                bounds(space).check(np.full((1, 2), value + beyond), first=True)
            bounds(space).check(np.full((1, 2), value + beyond))
            assert "passed on as they are" in capsys.readouterr().err
        for value in (low, high):
            bounds(space).check(np.full((1, 2), value), first=True)
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(
        "space", [spaces.Box(-np.inf, np.inf, (1,), np.float64), spaces.Box(-1, 1, (1,), np.float64)]
    )
    @pytest.mark.parametrize("sign", [1, -1])
    def test_enormous_is_what_is_beyond_a_million_millions(self, space, sign):
        bounds(space).check(np.array([[sign * 1e12]]))
        for wrong in (np.nextafter(1e12, np.inf), np.inf, np.nan):
            with pytest.raises(UsageError, match=r"holds .* at \[0\]"):
                bounds(space).check(np.array([[sign * wrong]]))

    def test_float16_takes_what_it_holds(self):
        wide = bounds(spaces.Box(-np.inf, np.inf, (1,), np.float16))
        wide.check(np.array([[65504], [-65504]], np.float16), first=True)
        with pytest.raises(UsageError, match="holds inf"):
            wide.check(np.array([[np.inf]], np.float16))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint64, bool])
    def test_of_a_space_of_all_numbers_of_its_kind_nothing_is_compared(self, dtype):
        whole = None if dtype is bool else np.iinfo(dtype)
        space = spaces.Box(whole.min if whole else 0, whole.max if whole else 1, (2,), dtype)
        bounds(space).check("which costs nothing")

    @pytest.mark.parametrize(("low", "high", "wrong"), [(5, 255, 4), (0, 250, 251), (5, 250, 4), (5, 250, 251)])
    def test_bounds_of_bytes_that_are_narrower_are_compared(self, low, high, wrong, capsys):
        space = spaces.Box(low, high, (2,), np.uint8)
        bounds(space).check(np.array([[low, high]], np.uint8))
        assert capsys.readouterr().err == ""
        bounds(space).check(np.array([[low, wrong]], np.uint8))
        assert f"holds {wrong} at [1] (X-v0)" in capsys.readouterr().err

    def test_each_number_has_bounds_of_its_own(self, capsys):
        space = spaces.Box(np.array([0, -5], np.float32), np.array([1, 5], np.float32))
        bounds(space).check(np.array([[0, -5], [1, 5]], np.float32), first=True)
        assert capsys.readouterr().err == ""
        bounds(space).check(np.array([[0, 0], [2, 5]], np.float32), first=True)
        assert (
            f"environment 1 holds 2.0 at [0] (X-v0); of its space {space} agents take 0 to 1. "
            in capsys.readouterr().err
        )
        bounds(space).check(np.array([[1, -6]], np.float32))
        assert "holds -6.0 at [1] (X-v0)" in capsys.readouterr().err
        bounds(spaces.Box(-1, 1, (0,))).check(np.zeros((2, 0)))

    def test_the_first_place_of_several_is_named_and_an_error_before_a_notice(self):
        with pytest.raises(UsageError, match=r"environment 1 holds nan at \[1, 0\]"):
            bounds(spaces.Box(-1, 1, (2, 2))).check(np.array([[[2, 2], [2, 2]], [[0, 2], [np.nan, np.inf]]]))

    def test_what_is_told_once_is_still_an_error_where_it_is_worse(self, capsys):
        one = bounds(PAIR)
        for value in (2, 3, 4):
            one.check(np.full((1, 2), value, np.float32))
            say_once.cache_clear()
        assert capsys.readouterr().err.count("holds") == 1
        with pytest.raises(UsageError, match="holds nan"):
            one.check(np.full((1, 2), np.nan, np.float32))

    def test_rows_are_named_by_their_environments_and_parts_by_their_places(self):
        deep = bounds(spaces.Dict(arm=spaces.Dict(grip=PAIR), at=PAIR), what="final observation")
        batch = {"arm": {"grip": np.zeros((2, 2))}, "at": np.array([[0, 0], [0, np.nan]])}
        with pytest.raises(UsageError, match=r"The final observation 'at' of environment 5 holds nan at \[1\]"):
            deep.check(batch, np.array([3, 5]))
        batch["arm"]["grip"][0, 0] = 9
        with pytest.raises(UsageError, match=r"The final observation 'arm\.grip' of environment 3 holds 9.0 at \[0\]"):
            deep.check(batch, np.array([3, 5]), first=True)


def test_a_copy_is_one_at_any_depth():
    given = {"a": np.zeros(2), "b": (np.zeros(2), {"c": np.zeros(2)}), "d": 3}
    found = copied(given)
    for array in (given["a"], given["b"][0], given["b"][1]["c"]):
        array[:] = 1
    assert type(found["b"]) is tuple and found["d"] == 3
    assert not any(array.any() for array in (found["a"], found["b"][0], found["b"][1]["c"]))
