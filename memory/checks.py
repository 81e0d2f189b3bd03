"""What arguments must be and what fits into this machine: an error names the value, the limit and the remedy."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.waiting import AT_HAND, Checks, require

LARGEST_KEY = 1e14
"""In size; the squared distance of two such keys is still far from what float32 can hold."""

LARGEST_VALUE = 1e30
"""In size; weighing and blending such values cannot overflow."""

MOST_NEIGHBOURS = 2**20

CONTAINERS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what the processes of a container may use, in its two versions."""

RENAMED = {"kept": "cached", "trust": "confidence"}
"""Parts of a memory that had another name in the first version."""

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types that torch stores and converts, but neither compares nor indexes."""

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def whole(name: str, value: Any, least: int = 1, most: int = 2**31 - 1, hint: str = "") -> int:
    """The value as an int; the hint is put behind the limit.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is out of range.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {shown(value)}; it must be a whole number")
    if not least <= value <= most:
        limit = f"at least {least}" if value < least else f"at most {most}"
        raise ValueError(f"{name} is {value}; it must be {limit}{hint}")
    return int(value)


def number(
    name: str,
    value: Any,
    least: float = -math.inf,
    *,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    infinite: bool = False,
    hint: str = "",
) -> float:
    """The value as a float, finite unless `infinite` is allowed; the hint is put behind the limit.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} is {shown(value)}; it must be a number")
    inside = least <= value <= most and (value > above or above == -math.inf) and (value < below or below == math.inf)
    if not inside or (math.isinf(value) and not infinite):
        limits = [f"at least {least:g}"] if least > -math.inf else []
        limits += [f"above {above:g}"] if above > -math.inf else []
        limits += [f"at most {most:g}"] if most < math.inf else []
        limits += [f"below {below:g}"] if below < math.inf else []
        raise ValueError(f"{name} is {value}; it must be {' and '.join(limits or ['finite'])}{hint}")
    return float(value)


def truth(name: str, value: Any) -> bool:
    """The value as a bool.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {shown(value)}; it must be True or False")
    return bool(value)


def ending(name: str, value: Any) -> bool:
    """Whether an environment says that its episode is over: a truth value, or a number or an array of just one.

    Raises:
        TypeError: It is anything else, much of which Python calls true: a dict, a list of False, the word "False".
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float) or hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in "biuf" and not np.isnan(array).any():
            return bool(array.item())
    raise TypeError(f"{name} is {shown(value)}, not one truth value; give True or False")


def endings(name: str, values: Any, count: int) -> np.ndarray:
    """The same of environments side by side. `[count]` of bool.

    Raises:
        TypeError: They are not one truth value each.
    """
    found = np.asarray(values)
    if found.dtype.kind not in "biuf" or found.shape not in ((count,), (count, 1)) or np.isnan(found).any():
        raise TypeError(f"{name} is {shown(values)}, not {count} truth values; give True or False for each")
    return found.reshape(count).astype(bool)


def real(name: str, value: Any) -> Tensor:
    """The value, which is a tensor of real numbers.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} is {shown(value)}; it must be a tensor: torch.as_tensor makes one of an array or a list"
        )
    if value.is_complex():
        raise TypeError(f"{name} is a tensor of {value.dtype}; it must hold real numbers")
    return value


def require_precision(name: str, numbers: Tensor, dtype: torch.dtype) -> None:
    """Raise unless numbers are of this type.

    Raises:
        ValueError: They are not.
    """
    if numbers.dtype != dtype:
        raise ValueError(f"{name} are of {numbers.dtype}; this memory computes in {dtype}, so convert them")


def limited(part: Tensor, most: float = LARGEST_KEY) -> bool:
    """Whether all numbers are finite and at most that in size."""
    return bool(within(part, most))


def within(part: Tensor, most: float) -> Tensor:
    """The same, for whoever asks later.  `[]` bool."""
    if not part.numel():
        return torch.ones((), dtype=torch.bool, device=part.device)
    low, high = part.detach().aminmax()  # NaN if anything is; a tenth of the time of a norm
    return (low >= -most) & (high <= most)


def require_held(name: str, whole_numbers: Tensor, dtype: torch.dtype, remedy: str) -> None:
    """Raise unless a memory of this dtype can hold these integers or truth values, each as it is.

    Raises:
        ValueError: One would be rounded.
    """
    if whole_numbers.dtype == torch.bool or not whole_numbers.numel():
        return
    if whole_numbers.dtype in UNSIGNED:  # of which torch can hardly compute anything
        signed = whole_numbers.to(torch.int64)
        whole_numbers = torch.where(signed < 0, torch.iinfo(torch.int64).max, signed)
    exact = 2 ** (24 if dtype == torch.float32 else 53)
    low, high = (int(end) for end in whole_numbers.aminmax())
    if max(-low, high) > exact:
        rounded = whole_numbers[whole_numbers.to(dtype).to(torch.float64).to(torch.int64) != whole_numbers]
        if len(rounded):
            raise ValueError(
                f"{name} holds the integer {int(rounded[0])}, which {dtype} would round: it holds every integer up to "
                f"{exact} only; {remedy}"
            )


def slots_of(
    name: str, value: Any, capacity: int, device: torch.device | str = "cpu", *, nobody: bool = True, dims: int = 1
) -> Tensor:
    """Slots as int64, `[B]`, where the memory is; `nobody` says whether -1 may stand for none.

    Raises:
        TypeError: It is no tensor of integers.
        ValueError: It has another number of axes, or there is no such slot.
    """
    slots = real(name, value)
    if slots.dtype not in INTEGERS:
        raise TypeError(f"{name} is a tensor of {slots.dtype}; slots are integers, as write and lookup return them")
    if slots.dim() != dims:
        raise ValueError(f"{name} has shape {list(slots.shape)}; it must have {dims} axes")
    if slots.numel():
        ends = slots.aminmax()
        low, high = map(int, ends) if slots.device.type in AT_HAND else torch.stack(ends).tolist()
        if low < (-1 if nobody else 0) or high >= capacity:
            raise ValueError(
                f"{name} holds {low if high < capacity else high}; slots go from 0 to {capacity - 1}"
                f"{', and -1 stands for none' if nobody else ''}"
            )
    return slots.to(device, torch.int64)


def offers(name: str, value: Any, methods: Collection[str], kinds: Collection[str]) -> Any:
    """The value, which is an object that has these attributes.

    Raises:
        TypeError: It is a class, or lacks some.
    """
    if isinstance(value, type):
        raise TypeError(f"{name} is the class {value.__name__}; give an object of it, {value.__name__}(...)")
    lacking = [method for method in methods if not hasattr(value, method)]
    if lacking:
        lacks = "" if len(lacking) == len(methods) else f", which lacks {', '.join(lacking)}"
        raise TypeError(
            f"{name} is {shown(value)}{lacks}; give one of {', '.join(sorted(kinds))}, or "
            f"an object that has {', '.join(methods)}"
        )
    return value


def takes(name: str, value: Any, method: str, *arguments: str) -> None:
    """Raise unless a method of the value can be called with these arguments, in this order.

    Raises:
        TypeError: It cannot.
    """
    form = signature(getattr(value, method))
    try:
        form.bind(*arguments)
    except TypeError as error:
        raise TypeError(
            f"{name} is {shown(value)}, whose {method}{form} is called as {method}({', '.join(arguments)}); give it "
            "these arguments"
        ) from error


def shown(value: Any) -> str:
    """A value as an error shows it: what it is, and what it holds if that is short."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} {list(value.shape)} of {value.dtype}"
    text = repr(value)
    kind = type(value).__name__
    return f"of type {kind}" if len(text) > 40 else f"{text} ({kind})"


def brief(value: Any) -> str:
    """A value, such as a space of hundreds of numbers, on one line, its middle left out where it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= 400 else f"{text[:300]} ... {text[-90:]}"


def checked_k(k: Any) -> int:
    """Neighbours of a lookup."""
    return whole("k", k, most=MOST_NEIGHBOURS)


def checked_place(device: Any, dtype: Any) -> tuple[torch.device, torch.dtype]:
    """Where a memory lives and in which precision.

    Raises:
        TypeError: These are no device or no precision.
        ValueError: torch knows no such device, or a memory has no such precision.
    """
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device is {shown(device)}; give cpu, cuda or cuda:0")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {shown(dtype)}; use torch.float32, or torch.float64 to check gradients")
    try:
        return torch.device(device), dtype
    except RuntimeError as error:
        raise ValueError(f"device is {shown(device)}; give cpu, cuda or cuda:0") from error


def check_moved(
    name: str, new: Tensor | None, slots: int, like: Tensor, most: Tensor | float, checks: Checks | None = None
) -> None:
    """Raise unless these rows may take the place of so many of those stored, `[N, ...]`; `most` may go by column.

    Numbers are checked here, unless `checks` takes what is to be checked of them.
    """
    if new is None:
        return
    if real(name, new).shape != (slots, like.shape[1]):
        raise ValueError(
            f"{name} have shape {list(new.shape)}; expected [{slots}, {like.shape[1]}], a row for each slot"
        )
    if not new.is_floating_point():
        require_held(name, new, like.dtype, "scale it, or build the memory with dtype=torch.float64")
    new = new.to(like)
    sound = within(new, most) if isinstance(most, float) else (new.detach().abs() <= most).all()
    require(checks, sound, lambda: _too_far(name, most))


def _too_far(name: str, most: Tensor | float) -> ValueError:
    least = float(torch.as_tensor(most).min())
    return ValueError(
        f"{name} would become NaN, infinite or larger than {least:g}; lower the learning rate or clip the gradient"
    )


def unknown(what: str, name: Any, valid: Iterable[str]) -> ValueError:
    """The error for a `name` that is none of `valid`: says which one was probably meant, then lists all."""
    choices = sorted(valid)
    near = get_close_matches(str(name), choices, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if RENAMED.get(str(name)) in choices:
        hint = f"it is {RENAMED[name]!r} now; "
    return ValueError(f"unknown {what} {name!r}: {hint}choose from {', '.join(choices)}")


@cache
def ram(device: torch.device) -> int:
    """Bytes of memory that a device has, whatever is free just now; on the CPU no more than a container may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return min([_installed(), *_granted()])


def _installed() -> int:
    """Bytes of RAM that the system reports, or the largest address where it does not say, as on Windows."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _installed_on_windows() or sys.maxsize


def _installed_on_windows() -> int:
    kilobytes = ctypes.c_ulonglong()
    system = getattr(ctypes, "windll", None)
    known = system is not None and system.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
    return kilobytes.value * 1024 if known else 0


def _granted() -> list[int]:
    told = [Path(name).read_text(encoding="ascii").strip() for name in CONTAINERS if Path(name).is_file()]
    return [int(limit) for limit in told if limit.isdecimal()]


def require_ram(what: str, size: int, remedy: str, device: torch.device | str = "cpu") -> None:
    """Raise unless so many bytes fit into the whole memory of a device.

    Args:
        what: Would take them, with the values that make it so.
        size: Bytes.
        remedy: What to lower.
        device: Where.

    Raises:
        ValueError: They do not.
    """
    device = torch.device(device)
    if size > (limit := ram(device)):
        raise ValueError(
            f"{what} would take {size / 2**30:.1f} GiB, more than the {limit / 2**30:.1f} GiB of memory that this "
            f"{'GPU' if device.type == 'cuda' else 'machine'} has; {remedy}"
        )
