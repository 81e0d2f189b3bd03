"""A check lets through what lies on its limits, and names every limit when it refuses."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, Modality, checks
from engram_rl.memory.checks import (
    check_moved,
    checked_place,
    ending,
    limited,
    number,
    offers,
    real,
    require_held,
    require_precision,
    require_ram,
    shown,
    slots_of,
    truth,
    unknown,
    whole,
)


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


def test_a_part_has_the_precision_that_it_is_computed_in():
    for dtype in (torch.float32, torch.float64):
        require_precision("keys", torch.zeros(2, dtype=dtype), dtype)
    for wrong in (torch.float16, torch.float64, torch.int64):
        with pytest.raises(ValueError, match=f"keys are of {wrong}; this memory computes in torch.float32"):
            require_precision("keys", torch.zeros(2, dtype=wrong), torch.float32)


def test_numbers_are_limited_on_either_side_and_by_1e14_unless_told():
    for most, beyond in ((None, 1.01e14), (3.0, 3.01)):
        given = () if most is None else (most,)
        for sign in (1, -1):
            assert limited(torch.tensor([[0.0, sign * (most or 1e14)]]), *given) is True
            assert limited(torch.tensor([[0.0], [sign * beyond]]), *given) is False
    assert limited(torch.empty(0, 3)) and limited(torch.zeros(2, requires_grad=True))
    assert not limited(torch.tensor([math.nan])) and not limited(torch.tensor([-math.inf]))


@pytest.mark.parametrize("wrong", [np.zeros(2), [1.0], None, torch.zeros(2, dtype=torch.complex64)])
def test_only_tensors_of_real_numbers_are_taken(wrong):
    memory = DifferentiableNeuralDictionary([Modality("a", 1), Modality("b", 1)], 1, 4)
    plain = DifferentiableNeuralDictionary(2, 1, 4)
    zero = torch.zeros(2, 1)
    says = "must hold real numbers" if isinstance(wrong, torch.Tensor) else "must be a tensor|give a tensor"
    flat = wrong.reshape(1, 2) if isinstance(wrong, torch.Tensor) else wrong
    part = wrong.reshape(2, 1) if isinstance(wrong, torch.Tensor) else wrong
    for call in (
        lambda: real("x", wrong),
        lambda: memory.lookup(flat),
        lambda: plain.lookup(flat),
        lambda: memory.lookup({"a": part}),
        lambda: plain.lookup({"key": wrong}),
        lambda: memory.write({"a": zero}, part),
    ):
        with pytest.raises(TypeError, match=says):
            call()
    if wrong is not None:
        with pytest.raises(TypeError, match=says):
            memory.lookup({"a": zero}, exclude=(zero.long()[:, 0], wrong))
        with pytest.raises(TypeError, match=says):
            memory.write({"a": zero}, zero, priority=wrong)
        with pytest.raises(TypeError, match=says):
            memory.write({"a": zero}, zero, identity=wrong)
    with pytest.raises(TypeError, match="slots"):
        memory.move(wrong)
    assert len(memory) == 0


def test_a_present_is_a_bool_for_each_row_by_name():
    memory = DifferentiableNeuralDictionary([Modality("a", 1), Modality("b", 1)], 1, 4)
    with pytest.raises(TypeError, match="give a bool tensor \\[2\\] for each modality by name"):
        memory.write(torch.zeros(2, 2), torch.zeros(2, 1), present=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"present\['a'\] is torch.bool \(3,\); expected bool \[2\]"):
        memory.write(torch.zeros(2, 2), torch.zeros(2, 1), present={"a": torch.ones(3, dtype=torch.bool)})
    memory.write(torch.zeros(2, 2), torch.zeros(2, 1), present={})
    assert memory.store.present[:2].all()


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_a_truth_value_is_one_and_nothing_else_is(value):
    assert truth("touch", value) is bool(value) and ending("done", value) is bool(value)
    for wrong in (1, 0.0, "True", None):
        with pytest.raises(TypeError, match=r"touch is .*; it must be True or False"):
            truth("touch", wrong)
    assert [ending("done", one) for one in (1, 0, 1.0, 0.0, np.array([[0]]), np.float32(2))] == [
        *(True, False, True, False, False, True)
    ]
    for wrong in ("x", None, np.zeros(2), np.array("a"), np.array(1j), math.nan, [True]):
        with pytest.raises(TypeError, match="not one truth value"):
            ending("done", wrong)


def test_a_place_is_a_device_and_one_of_two_precisions():
    assert checked_place("cpu", torch.float64) == (torch.device("cpu"), torch.float64)
    assert checked_place(torch.device("meta"), torch.float32)[0].type == "meta"
    for wrong in (torch.float16, torch.int64, "float32"):
        with pytest.raises(ValueError, match=r"use torch.float32, or torch.float64 to check gradients"):
            checked_place("cpu", wrong)
    with pytest.raises(ValueError, match="device is 'moon'"):
        checked_place("moon", torch.float32)
    with pytest.raises(TypeError, match=r"device is 3 \(int\)"):
        checked_place(3, torch.float32)


def test_whole_numbers_of_unsigned_types_beyond_the_signed_ones_are_rounded():
    require_held("codes", torch.tensor([2**53], dtype=torch.uint64), torch.float64, "")
    with pytest.raises(ValueError, match="the integer 9223372036854775807"):
        require_held("codes", torch.tensor([2**64 - 1], dtype=torch.uint64), torch.float64, "")


def test_ram_is_that_of_the_machine_where_it_says_so(monkeypatch):
    sizes = {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(checks.os, "sysconf", sizes.__getitem__)
    assert checks._installed() == 3 * 4096

    for error in (AttributeError, ValueError, OSError):

        def fail(name, error=error):
            raise error

        monkeypatch.setattr(checks.os, "sysconf", fail)
        monkeypatch.delattr(checks.ctypes, "windll", raising=False)
        assert checks._installed() == checks.sys.maxsize

        class Kernel:
            @staticmethod
            def GetPhysicallyInstalledSystemMemory(kilobytes):
                kilobytes._obj.value = 7
                return 1

        monkeypatch.setattr(checks.ctypes, "windll", SimpleNamespace(kernel32=Kernel), raising=False)
        assert checks._installed() == 7 * 1024
        monkeypatch.setattr(Kernel, "GetPhysicallyInstalledSystemMemory", staticmethod(lambda _: 0))
        assert checks._installed() == checks.sys.maxsize


def test_what_just_fits_is_let_through_and_a_byte_more_is_told_in_gibibytes(monkeypatch):
    monkeypatch.setattr(checks, "ram", lambda device: 3 * 2**29)
    require_ram("size=9", 3 * 2**29, "lower it")
    with pytest.raises(ValueError) as refused:
        require_ram("size=9", 5 * 2**30, "lower it")
    assert str(refused.value) == (
        "size=9 would take 5.0 GiB, more than the 1.5 GiB of memory that this machine has; lower it"
    )
    with pytest.raises(ValueError, match="that this GPU has"):
        require_ram("size=9", 5 * 2**30, "lower it", "cuda")
    with pytest.raises(ValueError, match="size=9"):
        require_ram("size=9", 3 * 2**29 + 1, "lower it")


def test_rows_that_move_have_the_shape_and_size_that_fit():
    like, most = torch.zeros(9, 2), torch.tensor([10.0, 100.0])
    check_moved("keys", None, 3, like, 1.0)
    check_moved("keys", torch.tensor([[10.0, -100.0]]), 1, like, most)
    check_moved("keys", torch.tensor([[7, 7]]), 1, like, 7.0)
    for new, limit, told in (
        (torch.tensor([[10.5, 0.0]]), most, "larger than 10; lower the learning rate"),
        (torch.tensor([[0.0, -100.5]]), most, "larger than 10;"),
        (torch.tensor([[0.0, math.nan]]), most, "would become NaN"),
        (torch.tensor([[0.0, 7.5]]), 7.0, "larger than 7;"),
        (torch.zeros(2, 2), 7.0, r"keys have shape \[2, 2\]; expected \[1, 2\], a row for each slot"),
        (torch.zeros(1, 3), 7.0, r"keys have shape \[1, 3\]; expected \[1, 2\]"),
    ):
        with pytest.raises(ValueError, match=told):
            check_moved("keys", new, 1, like, limit)
