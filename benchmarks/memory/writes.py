"""Writing into a full memory whose victims are found by strength."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.memory.measure import Figure, Options, milliseconds, ratio, side_by_side, slowest
from engram_rl.memory import Decay, DifferentiableNeuralDictionary

D, ROWS = 64, 32


def write_growth(options: Options) -> Iterator[Figure]:
    """32 new entries with identities and priorities, in a large and a small full memory."""
    small, large = options.size(10_000, 100), options.size(1_000_000, 1000)
    writers = {"small": _writer(small, options.seed), "large": _writer(large, options.seed)}
    taken = side_by_side(options.size(4000, 5), writers)
    sizes: dict[str, Any] = {"entries": large, "entries_small": small, "rows": ROWS, "d": D}
    sizes |= {"writes": len(taken["large"])} | milliseconds(taken)
    value = ratio(taken, "large", "small")
    yield Figure("write_growth", value, f"times the median at {small}", "<= 1.5", sizes)
    # A write that the machine interrupts for another process seems to stall; its own processor time tells.
    worked = side_by_side(options.size(4000, 5), {"large": writers["large"]}, time.process_time)["large"]
    longest = {"slowest_ms": slowest(taken["large"]), "slowest_processor_ms": slowest(worked)}
    yield Figure("write_stall_ms", longest["slowest_ms"][0], "ms, longest of all writes", "<= 20", sizes | longest)


def _writer(entries: int, seed: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(seed)
    memory = DifferentiableNeuralDictionary(D, 1, entries, forgetting=Decay(half_life=entries))

    def write(rows: int) -> None:
        memory.write(
            torch.randn(rows, D, generator=generator),
            torch.randn(rows, 1, generator=generator),
            priority=torch.rand(rows, generator=generator),
            identity=torch.randint(2**62, (rows,), generator=generator),
        )

    for start in range(0, entries, 50_000):
        write(min(50_000, entries - start))
    for _ in range(100):  # into the steady state
        write(ROWS)
    return lambda: write(ROWS)
