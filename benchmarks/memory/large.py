"""Ten million entries, in a process of their own so that its peak is theirs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory.approximate import fill, recall
from benchmarks.memory.measure import Figure, Options, apart, peak_bytes, ratio, side_by_side, trajectories
from engram_rl.memory import DifferentiableNeuralDictionary, ExactIndex, IVFIndex

D, K, TARGET = 32, 50, 0.97


def ten_million(options: Options) -> Iterator[Figure]:
    """Built, queried, saved and loaded."""
    seen = apart(_measure, options)
    entries = seen["entries"]
    limit = 1.25 * 4 * (D + 1) + 60
    yield Figure("bytes_per_entry", seen["bytes_per_entry"], "bytes, without the index's own copy", f"<= {limit}", seen)
    yield Figure("ten_million_speedup", seen["speedup"], "times the exact search", ">= 60", seen)
    yield Figure("ten_million_recall", seen["recall"], "recall@50", f">= {TARGET}", {"entries": entries})
    yield Figure("ten_million_build_s", seen["build_s"], "s, writing and filing", "<= 90", {"entries": entries})
    yield Figure("ten_million_peak_gib", seen["used_gib"], "GiB, whole process", "<= 3", {"entries": entries})


def _measure(options: Options) -> dict[str, Any]:
    entries = options.size(10_000_000, 5000)
    generator = torch.Generator().manual_seed(options.seed)
    size: dict[str, int] = {"lists": 32, "start": 1000} if options.tiny else {"lists": 4096, "start": 100_000}
    index = IVFIndex(**size, probes=16, target=TARGET)
    memory = DifferentiableNeuralDictionary(D, 1, entries, K, index=index)
    written = fill(memory, entries, lambda n: trajectories(n, D, generator))
    start = time.perf_counter()
    index.build(memory.used)
    filed = time.perf_counter() - start
    for _ in range(options.size(1000, 2)):  # until the index has found out how many lists it needs
        memory.lookup(trajectories(32 * 20, D, generator)[::20], touch=False)
    query = trajectories(32 * 20, D, generator)[::20]
    exact = ExactIndex()
    exact.attach(memory.store)
    packed = memory.space.pack(query)
    with torch.no_grad():
        taken = side_by_side(
            options.size(10, 2),
            {
                "ivf": lambda: [memory.lookup(query, touch=False) for _ in range(10)],
                "exact": lambda: exact.propose(packed, K, entries),
            },
        )
    seen = {
        "entries": entries,
        "d": D,
        "k": K,
        "queries": 32,
        "speedup": 10 / ratio(taken, "ivf", "exact"),
        "recall": recall(memory, trajectories(options.size(320, 32) * 7, D, generator)[::7]),
        "write_s": written,
        "file_s": filed,
        "build_s": written + filed,
        **{f"index_{name}": value for name, value in index.report().items()},
        "bytes_per_entry": memory.describe()["bytes_per_entry"],
    }
    seen["used_gib"] = peak_bytes() / 2**30  # before anything is saved or loaded
    seen |= _saved_and_loaded(memory, query)
    return seen | {"peak_gib": peak_bytes() / 2**30}


def _saved_and_loaded(memory: DifferentiableNeuralDictionary, query: torch.Tensor) -> dict[str, float]:
    exact = ExactIndex()
    exact.attach(memory.store)
    before = exact.propose(memory.space.pack(query), K, memory.used)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory"
        start = time.perf_counter()
        memory.save(path)
        saved = time.perf_counter() - start
        size = path.stat().st_size
        memory.index = exact  # lets go of the inverted file
        memory.store.rows = memory.values = torch.empty(0)
        start = time.perf_counter()
        twin = DifferentiableNeuralDictionary.load(path)
        loaded = time.perf_counter() - start
    after = twin.index.propose(twin.space.pack(query), K, twin.used)
    if not torch.equal(before, after):
        raise RuntimeError("the loaded memory finds other entries than the saved one")
    return {"save_s": saved, "load_s": loaded, "file_gib": size / 2**30}
