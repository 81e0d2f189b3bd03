"""Timing side by side, and what one figure looks like."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch


@dataclass
class Options:
    """Measure the memory against the bare tuned search, side by side; one JSON object a figure.

    python -m benchmarks.memory out=FILE
    python -m benchmarks.memory only=[masked,write_growth] threads=2 out=FILE

    out: where the figures go. What is there of the same commit, and was measured with the same threads and seed, is
        kept and not measured again, so the same command goes on where it stopped; figures of other code are replaced.
    threads: of torch and faiss alike.
    seed: of keys, values and queries.
    only: names of figures; all by default.
    tiny: sizes for a test of the benchmark itself; the figures then mean nothing.
    """

    out: str = "results/memory.jsonl"
    threads: int = 1
    seed: int = 0
    only: list[str] = field(default_factory=list)
    tiny: bool = False

    def size(self, full: int, tiny: int) -> int:
        """One of the two."""
        return tiny if self.tiny else full


@dataclass
class Figure:
    """One measured figure.

    Attributes:
        name: As in the table of claims.
        value: Measured.
        unit: Of `value`.
        limit: What it has to stay within, with its relation, such as "<= 1.15".
        sizes: Entries, queries, threads and whatever else was measured on the way.
    """

    name: str
    value: float
    unit: str
    limit: str
    sizes: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """A flat JSON object."""
        record = asdict(self)
        sizes = record.pop("sizes")
        return record | {"ok": self.holds} | sizes

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit."""
        relation, number = self.limit.split()
        return self.value <= float(number) if relation == "<=" else self.value >= float(number)


def set_threads(threads: int) -> None:
    """The same number for torch and faiss."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)


def side_by_side(
    rounds: int, calls: Mapping[str, Callable[[], object]], clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds of each call in each round, the calls taking turns, so that what disturbs one disturbs all."""
    for call in calls.values():
        call()
    seconds = {name: np.empty(rounds) for name in calls}
    gc.disable()
    try:
        for i in range(rounds):
            for name, call in calls.items():
                start = clock()
                call()
                seconds[name][i] = clock() - start
    finally:
        gc.enable()
    return seconds


def ratio(seconds: dict[str, np.ndarray], one: str, other: str) -> float:
    """Median of one by median of the other."""
    return float(np.median(seconds[one]) / np.median(seconds[other]))


def milliseconds(seconds: dict[str, np.ndarray]) -> dict[str, float]:
    """Median of each, in milliseconds, by name."""
    return {f"{name}_ms": round(1e3 * float(np.median(taken)), 4) for name, taken in seconds.items()}


def slowest(seconds: np.ndarray) -> list[float]:
    """The five longest, in milliseconds."""
    return [round(1e3 * float(s), 3) for s in np.sort(seconds)[::-1][:5]]


def apart(measure: Callable[..., Any], options: Options, *arguments: Any) -> Any:
    """What `measure(options, ...)` gives in a process of its own, so that its peak is its own; here if tiny."""
    if options.tiny:
        return measure(options, *arguments)
    with get_context("spawn").Pool(1, set_threads, (options.threads,)) as pool:
        return pool.apply(measure, (options, *arguments))


def peak_bytes() -> int:
    """Most memory this process has held; unlike getrusage's figure, without what its parent held before it began."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def trajectories(n: int, dim: int, generator: torch.Generator, *, encoder: torch.Tensor | None = None) -> torch.Tensor:
    """Keys as an encoder gives them along episodes: random walks of 200 steps in 8 dimensions, squashed into `dim`.

    Episodes start anywhere and cross each other, so the neighbours of a key come from many of them.
    """
    episodes = -(-n // 200)
    start = torch.randn(episodes, 1, 8, generator=generator)
    walk = start + 0.1 * torch.randn(episodes, 200, 8, generator=generator).cumsum(1)  # [E, 200, 8]
    encoder = encoder_of(dim) if encoder is None else encoder
    keys = torch.tanh(walk.reshape(-1, 8)[:n] @ encoder)
    return keys + 0.02 * torch.randn(keys.shape, generator=generator)


def encoder_of(dim: int, seed: int = 0) -> torch.Tensor:
    """A random linear map from 8 dimensions.  `[8, dim]`."""
    return torch.randn(8, dim, generator=torch.Generator().manual_seed(seed)) / 8**0.5
