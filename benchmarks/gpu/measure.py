"""Timing on a device whose work goes on while the host does something else, and what the device can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

COPIED = 2**28
"""Numbers that are copied to find the bandwidth; one GiB."""

SQUARE = 8192
"""Rows of the matrices that are multiplied to find the rate."""


@dataclass
class Options:
    """Measure on a GPU what has a path there, beside the processor of the same machine and beside the device's limits.

    python -m benchmarks.gpu out=docs/results/gpu.jsonl
    python -m benchmarks.gpu only=[search,cores] device=cpu tiny=true

    What needs a package that is missing here is left out, and said. Rows are written as they come.

    only: parts; all by default: limits, search, synchronisations, cores, pictures, learning.
    device: what is measured. With `cpu` everything runs and nothing is faster: for a look at the benchmark itself.
    seconds: of the whole; a part that would begin later is left out, and said.
    workers: agents that learn side by side.
    seed: of keys, queries, weights and worlds.
    tiny: sizes for a test of the benchmark itself; the figures then mean nothing.
    out: rows are written here; those of other parts stay.
    """

    only: list[str] = field(default_factory=list)
    device: str = "cuda"
    seconds: float = 420.0
    workers: int = 6
    seed: int = 0
    tiny: bool = False
    out: str = "results/gpu.jsonl"

    def size(self, full: int, tiny: int) -> int:
        """One of the two."""
        return tiny if self.tiny else full


def settled() -> None:
    """Wait until the device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_turns(rounds: int, calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of each call until its work is done, the calls taking turns."""
    for call in calls.values():
        call()
        call()
    settled()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            settled()
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: float(np.median(one)) for name, one in taken.items()}


def limits(options: Options) -> dict[str, float]:
    """What the device does at best: `gb_s`, read and written in a copy, and `tflop_s`, of a float32 matrix product."""
    return {"gb_s": _copied(options), "tflop_s": _multiplied(options)}


def _copied(options: Options) -> float:
    source = torch.randn(options.size(COPIED, 2**12), device=options.device)
    target = torch.empty_like(source)
    taken = in_turns(options.size(10, 1), {"copy": lambda: target.copy_(source)})["copy"]
    return 8 * len(source) / taken / 1e6


def _multiplied(options: Options) -> float:
    rows = options.size(SQUARE, 32)
    left = torch.randn(rows, rows, device=options.device)
    product = torch.empty_like(left)
    taken = in_turns(options.size(10, 1), {"product": lambda: torch.mm(left, left, out=product)})["product"]
    return 2 * rows**3 / taken / 1e9


def device_name(device: str) -> str:
    """What it calls itself."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Four digits of each number."""
    return {name: float(f"{one:.4g}") if isinstance(one, float) else one for name, one in figures.items()}
