"""What a machine has room for: asked before anything is allocated, so that no number in a file takes it all."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch

CONTAINERS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what the processes of a container may use, in its two versions."""


@cache
def room(device: torch.device) -> int:
    """Bytes of memory that a device has, whatever is free just now; on the CPU no more than a container may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([installed, *_granted()])


def _granted() -> list[int]:
    told = [Path(name).read_text(encoding="ascii").strip() for name in CONTAINERS if Path(name).is_file()]
    return [int(limit) for limit in told if limit.isdecimal()]


def require_room(what: str, size: int, remedy: str, device: torch.device | str = "cpu") -> None:
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
    if size > (limit := room(device)):
        raise ValueError(
            f"{what} would take {size / 2**30:.1f} GiB, more than the {limit / 2**30:.1f} GiB of memory that this "
            f"{'GPU' if device.type == 'cuda' else 'machine'} has; {remedy}"
        )
