"""A million entries behind an inverted file, against the exact search, while entries change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.memory.measure import Figure, Options, encoder_of, trajectories
from engram_rl.memory import DifferentiableNeuralDictionary, ExactIndex, IVFIndex

D, K, QUERIES, REWRITTEN, MOVED = 64, 50, 32, 32, 1600


def under_churn(options: Options) -> Iterator[Figure]:
    """Speed and recall in use; recall after half of all entries were rewritten and the index has repaired itself."""
    entries = options.size(1_000_000, 4000)
    generator = torch.Generator().manual_seed(options.seed)
    index = IVFIndex(start=min(entries, 50_000)) if not options.tiny else IVFIndex(lists=64, probes=16, start=1000)
    ivf, exact = (DifferentiableNeuralDictionary(D, 1, entries, K, index=i) for i in (index, ExactIndex()))
    fill(ivf, entries, generator)
    exact.load_state_dict(ivf.state_dict())
    started = time.perf_counter()
    index.build(ivf.used)
    built = time.perf_counter() - started
    fast, slow = _in_use(ivf, exact, options, generator)
    sizes: dict[str, Any] = {
        "entries": entries,
        "queries": QUERIES,
        "rewritten": REWRITTEN,
        "moved": MOVED,
        "d": D,
        "k": K,
    }
    sizes |= {"ivf_ms": 1e3 * float(np.median(fast)), "exact_ms": 1e3 * float(np.median(slow))}
    sizes |= {"longest_ms": 1e3 * max(fast), "build_s": built}
    # The mean, so that checks and repairs count in full.
    yield Figure("ann_speedup", float(np.mean(slow) / np.mean(fast)), "times the exact search", ">= 20", sizes)
    held_out = trajectories(options.size(1000, 50), D, generator)
    yield Figure("ann_recall", recall(ivf, held_out), "recall@50", ">= 0.95", sizes | _state(index))
    yield from _after_rewriting_half(ivf, index, options, generator)


def fill(memory: DifferentiableNeuralDictionary, entries: int, generator: torch.Generator) -> float:
    """Write trajectory-like keys up to this many entries; returns the seconds that writing took."""
    seconds = 0.0
    for start in range(0, entries, 100_000):
        n = min(100_000, entries - start)
        keys, values = trajectories(n, memory.space.dim, generator), torch.zeros(n, 1)
        begun = time.perf_counter()
        memory.write(keys, values)
        seconds += time.perf_counter() - begun
    return seconds


def recall(memory: DifferentiableNeuralDictionary, queries: Tensor) -> float:
    """Share of the true 50 nearest that a lookup finds."""
    exact = ExactIndex()
    exact.attach(memory.store)
    shares = []
    with torch.no_grad():
        for query in queries.split(32):
            packed = memory.space.pack(query)
            proposed = exact.propose(packed, K, memory.used)
            nearest = memory.store.distances_at(packed, proposed).topk(K, largest=False).indices
            true = proposed.gather(1, nearest)
            found = memory.lookup(query, touch=False).slots
            shares.append((true.unsqueeze(2) == found.unsqueeze(1)).any(2).double().mean(1))
    return float(torch.cat(shares).mean())


def _in_use(
    ivf: DifferentiableNeuralDictionary,
    exact: DifferentiableNeuralDictionary,
    options: Options,
    generator: torch.Generator,
) -> tuple[list[float], list[float]]:
    """Seconds of steps with either, in turns: twenty with the file, one without."""
    fast: list[float] = []
    slow: list[float] = []
    for _ in range(options.size(20, 2)):
        fast += [_step(ivf, generator) for _ in range(20)]
        slow.append(_step(exact, generator))
    return fast, slow


@torch.no_grad()
def _step(memory: DifferentiableNeuralDictionary, generator: torch.Generator) -> float:
    """32 queries, the neighbours moved as by a gradient, 32 entries rewritten."""
    query, keys = (trajectories(n, D, generator) for n in (QUERIES, REWRITTEN))
    push = torch.randn(MOVED, D, generator=generator)
    push *= 0.02 / push.norm(dim=1, keepdim=True)
    others = torch.randint(memory.used, (4 * MOVED,), generator=generator)
    start = time.perf_counter()
    found = memory.lookup(query)
    searched = time.perf_counter()
    moved = torch.unique(torch.cat([found.slots.flatten(), others]))[:MOVED]
    resumed = time.perf_counter()
    memory.move(moved, keys=memory.key_vectors[moved] + push[: len(moved)])
    memory.write(keys, torch.zeros(len(keys), 1))
    return time.perf_counter() - resumed + searched - start


def _after_rewriting_half(
    memory: DifferentiableNeuralDictionary, index: IVFIndex, options: Options, generator: torch.Generator
) -> Iterator[Figure]:
    drifted = encoder_of(D) + 0.5 * encoder_of(D, seed=1)
    for _ in range(memory.capacity // 2 // 1000):
        memory.write(trajectories(1000, D, generator, encoder=drifted), torch.zeros(1000, 1))
    held_out = trajectories(options.size(1000, 50), D, generator, encoder=drifted)
    unrepaired = recall(memory, held_out)
    searches, longest = 0, 0.0
    while searches < options.size(20_000, 50) and (index.report()["repairing"] or searches < 16 * index.check_every):
        query = trajectories(QUERIES, D, generator, encoder=drifted)
        start = time.perf_counter()
        memory.lookup(query, touch=False)
        longest, searches = max(longest, time.perf_counter() - start), searches + 1
    sizes: dict[str, Any] = {
        "entries": memory.capacity,
        "before_repair": unrepaired,
        "searches": searches,
        "longest_ms": 1e3 * longest,
    }
    value = recall(memory, held_out)
    yield Figure("ann_recall_after_churn", value, "recall@50", ">= 0.95", sizes | _state(index))


def _state(index: IVFIndex) -> dict[str, object]:
    return {f"index_{name}": value for name, value in index.report().items()}
