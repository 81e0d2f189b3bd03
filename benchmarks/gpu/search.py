"""A lookup on the device beside torch's own product and top-k of the same rows; and how often the host waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.measure import Options, in_turns
from engram_rl.memory import (
    Blend,
    Confidence,
    Decay,
    DifferentiableNeuralDictionary,
    FirstInFirstOut,
    Forgetting,
    Found,
    LeastRecentlyUsed,
    Modality,
    Priority,
    RowRMSprop,
)

Row = dict[str, Any]

D, K = 64, 50
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
"""What the profiler calls a host that waits for the device."""

LOOKUP_WAITS, WRITE_WAITS = 1, 2
"""Most that a lookup and a write may take."""

POLICIES: dict[str, Callable[[], Forgetting]] = {
    "lru": LeastRecentlyUsed,
    "fifo": FirstInFirstOut,
    "priority": Priority,
    "confidence": Confidence,
    "decay": lambda: Decay(10_000),
}
SPACES = {
    "plain": [Modality("view", D)],
    "parts": [Modality("view", 32), Modality("place", 16), Modality("goal", 16)],
}


def search(options: Options) -> Iterator[Row]:
    """A whole lookup by what torch needs for the scores and the best k of them."""
    entries = options.size(1_000_000, 500)
    memory = filled(options, SPACES["plain"], entries, LeastRecentlyUsed())
    rows = memory.store.rows[:entries]
    for queries in (32, 512):
        query = torch.randn(queries, D, device=options.device)
        with torch.no_grad():
            taken = in_turns(
                options.size(30, 1),
                {
                    "lookup": lambda query=query: memory.lookup(query, touch=False),  # type: ignore[misc]
                    "torch": lambda query=query: (query @ rows.T).topk(K),  # type: ignore[misc]
                },
            )
        ratio = taken["lookup"] / taken["torch"]
        yield {
            "name": f"search_{queries}",
            "value": ratio,
            "unit": "times torch's product and top-k",
            "limit": "<= 1.2",
            "entries": entries,
            "queries": queries,
            "lookup_ms": taken["lookup"],
            "torch_ms": taken["torch"],
            "gb_s": 4 * D * entries / taken["lookup"] / 1e6,
        }


def synchronisations(options: Options) -> Iterator[Row]:
    """How often the host waits in a lookup, in a write to a full memory, and in a step of the rows' optimiser."""
    if not options.device.startswith("cuda"):
        return
    for keys, space in SPACES.items():
        for policy, make in POLICIES.items():
            memory = filled(options, space, 4096, make(), Blend(0.1))
            yield _waits(f"lookup {keys} {policy}", LOOKUP_WAITS, _lookup(memory))
            yield _waits(f"write {keys} {policy}", WRITE_WAITS, _write(memory))
            yield _waits(f"write again {keys} {policy}", WRITE_WAITS, _write(memory, again=True))
    memory = filled(options, SPACES["plain"], 4096, LeastRecentlyUsed())
    optimiser, read = RowRMSprop(memory, lr=1e-3, value_lr=1e-3), iter([_read(memory) for _ in range(2)])
    yield _waits("row optimiser", WRITE_WAITS, lambda: optimiser.step(next(read)))


def _read(memory: DifferentiableNeuralDictionary) -> Found:
    """What a lookup found, gradients included."""
    found = memory.lookup(torch.randn(32, D, device=memory.device))
    found.value.sum().backward()
    return found


def _lookup(memory: DifferentiableNeuralDictionary) -> Callable[[], object]:
    query = torch.randn(32, D, device=memory.device)
    return lambda: memory.lookup(query)


def _write(memory: DifferentiableNeuralDictionary, again: bool = False) -> Callable[[], object]:
    """A batch of new entries, or of some that the memory has already."""
    keys, values = torch.randn(32, D, device=memory.device), torch.randn(32, 1, device=memory.device)
    drawn = iter(torch.arange(10**9, 10**9 + 32 * 100).split(32))
    known = next(drawn)
    memory.write(keys, values, identity=known)
    return lambda: memory.write(keys, values, identity=known if again else next(drawn))


def _waits(name: str, most: int, call: Callable[[], object]) -> Row:
    call()
    torch.cuda.synchronize()
    without = _counted(lambda: None)
    return {
        "name": name.replace(" ", "_"),
        "value": float(_counted(call) - without),
        "unit": "times the host waits",
        "limit": f"<= {most}",
    }


def _counted(call: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as told:
        call()
    return sum(event.count for event in told.key_averages() if event.key in WAITS)


def filled(
    options: Options, space: list[Modality], entries: int, forgetting: Forgetting, rule: Any = "append"
) -> DifferentiableNeuralDictionary:
    """A full memory of random keys, each with an identity."""
    torch.manual_seed(options.seed)
    memory = DifferentiableNeuralDictionary(
        space, 1, entries, K, device=options.device, forgetting=forgetting, write_rule=rule
    )
    for names in torch.arange(entries).split(100_000):
        keys = torch.randn(len(names), D, device=options.device)
        memory.write(keys, torch.randn(len(names), 1, device=options.device), identity=names)
    return memory
