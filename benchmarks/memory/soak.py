"""A memory that is written for ever and asked for parts of keys only: `python -m benchmarks.memory.soak out=FILE`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.cli import parse, run_main, write_lines
from engram_rl.memory import AutoIndex, DifferentiableNeuralDictionary, Index, IVFIndex, Modality

PARTS = 20
"""Of the writes, after each of which resident bytes are read."""

BATCH = 64

VECTORS = [Modality("view", 8), Modality("place", 2)]
SPACES = {
    "exact": [*VECTORS, Modality("action", kind="discrete")],
    "cached": [*VECTORS, Modality("action", kind="discrete")],
    "ivf": VECTORS,
    "auto": VECTORS,
}
"""Keys by index: an inverted file serves none with discrete parts."""


@dataclass
class MemorySoak:
    """Write a small full memory again and again, ask it for single parts only, and see that nothing piles up.

    python -m benchmarks.memory.soak writes=1000000 out=results/memory_soak.jsonl

    writes: entries written with each kind of index, in batches of 64, a lookup of one part after each.
    capacity: most of the run is spent replacing entries.
    """

    writes: int = 1_000_000
    capacity: int = 5_000
    seed: int = 0
    out: str = "results/memory_soak.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Run with each index, print how resident memory moved over the second half, write a row for each."""
    bench = parse(MemorySoak, list(arguments))
    rows = [soak(index, bench) for index in SPACES]
    for row in rows:
        print(f"{row['index']}: {row['writes']} writes, resident {row['growth_mb']:+.2f} MB since half of them")
    write_lines(bench.out, rows)
    return 0


def soak(index: str, bench: MemorySoak) -> dict[str, Any]:
    """How resident memory moved with one kind of index."""
    generator = torch.Generator().manual_seed(bench.seed)
    options: dict[str, Any] = {"write_rule": "last", "index": _index(index, bench.capacity)}
    memory = DifferentiableNeuralDictionary(SPACES[index], 1, bench.capacity, k=10, **options)
    batches = max(PARTS, bench.writes // BATCH)
    resident: list[int] = []
    for turn in range(batches):
        keys = _keys(memory, generator)
        names = torch.randint(4 * bench.capacity, (BATCH,), generator=generator)
        slots = memory.write(keys, torch.rand(BATCH, 1), torch.rand(BATCH, generator=generator), names)
        memory.link(slots[slots >= 0][:1], slots[slots >= 0][-1:])
        part = memory.space.names[turn % len(memory.space)]
        with torch.no_grad():
            memory.lookup({part: keys[part][:8]})
        if turn % 100 == 0:
            memory.forget(slots[:4])
        if (turn + 1) * PARTS // batches > turn * PARTS // batches:
            resident.append(_resident())
    growth = (resident[-1] - resident[PARTS // 2]) / 2**20
    megabytes = [round(r / 2**20, 2) for r in resident]
    return {"index": index, "writes": batches * BATCH, "growth_mb": round(growth, 3), "resident_mb": megabytes}


def _index(kind: str, capacity: int) -> Index | str:
    kinds = {"ivf": IVFIndex, "auto": AutoIndex}
    return kinds[kind](lists=16, start=capacity // 2) if kind in kinds else kind


def _keys(memory: DifferentiableNeuralDictionary, generator: torch.Generator) -> dict[str, Tensor]:
    return {
        part.name: torch.randint(8, (BATCH, part.size), generator=generator)
        if part.kind == "discrete"
        else torch.randn(BATCH, part.size, generator=generator)
        for part in memory.space
    }


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    run_main(main)
