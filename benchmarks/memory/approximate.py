"""A million entries behind an inverted file, against the exact search, while entries change."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmarks.memory.measure import Figure, Options, encoder_of, slowest, trajectories
from engram_rl.memory import DifferentiableNeuralDictionary, ExactIndex, IVFIndex

D, K, QUERIES, REWRITTEN, MOVED = 64, 50, 32, 32, 1600

STEPS, ROUNDS = 40, 200
"""Steps with the file to one without, and how often."""

Make: TypeAlias = Callable[[int], Tensor]
"""So many keys.  `[n, D]`"""


def under_churn(options: Options) -> Iterator[Figure]:
    """Trajectory-like keys; and recall after half of all entries were rewritten and the index has repaired itself."""
    generator = torch.Generator().manual_seed(options.seed)
    memory, index = yield from _measured("ann", lambda n: trajectories(n, D, generator), options, generator)
    yield from _after_rewriting_half(memory, index, options, generator)


def offset(options: Options) -> Iterator[Figure]:
    """The same keys, a hundred spreads away from the origin."""
    generator = torch.Generator().manual_seed(options.seed)
    away = 100 * float(trajectories(1000, D, generator).std(0).norm()) / D**0.5
    yield from _measured("ann_offset", lambda n: trajectories(n, D, generator) + away, options, generator)


def clustered(options: Options) -> Iterator[Figure]:
    """Keys around a thousand centres, a tenth as far from them as these are from each other."""
    generator = torch.Generator().manual_seed(options.seed)
    centres = torch.randn(options.size(1000, 10), D, generator=generator)

    def around(n: int) -> Tensor:
        which = torch.randint(len(centres), (n,), generator=generator)
        return centres[which] + 0.1 * torch.randn(n, D, generator=generator)

    yield from _measured("ann_clusters", around, options, generator)


def _measured(
    name: str, make: Make, options: Options, generator: torch.Generator
) -> Generator[Figure, None, tuple[DifferentiableNeuralDictionary, IVFIndex]]:
    """Speed, longest step and recall in use."""
    entries = options.size(1_000_000, 4000)
    index = IVFIndex(start=min(entries, 50_000)) if not options.tiny else IVFIndex(lists=64, probes=16, start=1000)
    ivf, exact = (DifferentiableNeuralDictionary(D, 1, entries, K, index=i) for i in (index, ExactIndex()))
    fill(ivf, entries, make)
    exact.load_state_dict(ivf.state_dict())
    started = time.perf_counter()
    index.build(ivf.used)
    built = time.perf_counter() - started
    for _ in range(options.size(2000, 2)):  # until the index has found out how many lists it needs
        _step(ivf, make, generator)
    fast, slow = _in_use(ivf, exact, make, options, generator)
    sizes: dict[str, Any] = {
        "entries": entries,
        "queries": QUERIES,
        "rewritten": REWRITTEN,
        "moved": MOVED,
        "d": D,
        "k": K,
        "steps": len(fast),
        "build_s": built,
        "ivf_ms": 1e3 * float(np.mean(fast[:, 0])),
        "exact_ms": 1e3 * float(np.mean(slow[:, 0])),
        "ivf_typical_ms": 1e3 * float(np.median(fast[:, 0])),
    }
    # The mean, so that checks and repairs count in full.
    value = float(np.mean(slow[:, 0]) / np.mean(fast[:, 0]))
    yield Figure(f"{name}_speedup", value, "times the exact search", ">= 30", sizes | _state(index))
    longest = {"longest_ms": slowest(fast[:, 0]), "longest_processor_ms": slowest(fast[:, 1])}
    yield Figure(f"{name}_stall_ms", longest["longest_ms"][0], "ms, longest step", "<= 30", sizes | longest)
    reported = index.report()["recall"]
    held_out = torch.cat([make(QUERIES) for _ in range(options.size(64, 2))])
    found = recall(ivf, held_out)
    yield Figure(f"{name}_recall", found, "recall@50", ">= 0.95", sizes | _state(index))
    error = {"reported": reported, "measured": found}
    yield Figure(f"{name}_recall_error", abs(reported - found), "reported by measured recall", "<= 0.01", error)
    return ivf, index


def fill(memory: DifferentiableNeuralDictionary, entries: int, make: Make) -> float:
    """Write such keys up to this many entries; returns the seconds that writing took."""
    seconds = 0.0
    for start in range(0, entries, 100_000):
        n = min(100_000, entries - start)
        keys, values = make(n), torch.zeros(n, 1)
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
    make: Make,
    options: Options,
    generator: torch.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds, and seconds of processor time, of steps with either, in turns.  `[steps, 2]`s."""
    fast: list[tuple[float, float]] = []
    slow: list[tuple[float, float]] = []
    for _ in range(options.size(ROUNDS, 2)):
        fast += [_step(ivf, make, generator) for _ in range(options.size(STEPS, 8))]
        slow.append(_step(exact, make, generator))
    return np.array(fast), np.array(slow)


@torch.no_grad()
def _step(memory: DifferentiableNeuralDictionary, make: Make, generator: torch.Generator) -> tuple[float, float]:
    """32 queries, their neighbours and others moved as by a gradient, 32 entries rewritten."""
    query, keys, nothing = make(QUERIES), make(REWRITTEN), torch.zeros(REWRITTEN, 1)
    push = torch.randn(MOVED, D, generator=generator)
    push *= 0.02 / push.norm(dim=1, keepdim=True)
    others = torch.randint(memory.used, (2 * MOVED,), generator=generator)
    start, worked = time.perf_counter(), time.process_time()
    found = memory.lookup(query)
    taken, busy = time.perf_counter() - start, time.process_time() - worked
    near = torch.unique(found.slots[found.valid])
    moved = torch.cat([near, torch.unique(others[~torch.isin(others, near)])])[:MOVED]
    pushed = memory.key_vectors[moved] + push[: len(moved)]
    start, worked = time.perf_counter(), time.process_time()
    memory.move(moved, keys=pushed)
    memory.write(keys, nothing)
    return taken + time.perf_counter() - start, busy + time.process_time() - worked


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
