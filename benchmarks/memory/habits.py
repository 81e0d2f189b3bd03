"""What agents do again and again: write what is weaker than what is stored, ask for other numbers of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.memory.measure import Figure, Options, apart, milliseconds, peak_bytes, ratio, side_by_side
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.indexes.exact import torch_search

D, ROWS = 16, 256


def weaker_newcomers(options: Options) -> Iterator[Figure]:
    """256 rows, weaker than all that is stored, into full memories: by priority, and by latest use."""
    entries = options.size(100_000, 1000)
    calls = {policy: _writer(policy, entries, options.seed) for policy in ("lru", "priority")}
    taken = side_by_side(options.size(200, 3), calls)
    sizes: dict[str, Any] = {"entries": entries, "rows": ROWS, "d": D}
    value = ratio(taken, "priority", "lru")
    yield Figure("weaker_newcomers", value, "times lru", "<= 2", sizes | milliseconds(taken))


def alternating_k(options: Options) -> Iterator[Figure]:
    """A pair of lookups in the cached index with two numbers of neighbours by a pair with one."""
    entries = options.size(10_000, 200)
    generator = torch.Generator().manual_seed(options.seed)
    keys, query = torch.randn(entries, D, generator=generator), torch.randn(8, D, generator=generator)
    one, two = (DifferentiableNeuralDictionary(D, 1, entries, 11, index="cached") for _ in range(2))
    for memory in (one, two):
        memory.write(keys, torch.zeros(entries, 1))

    def pair(memory: DifferentiableNeuralDictionary, second: int) -> None:
        memory.lookup(query, 11, touch=False)
        memory.lookup(query, second, touch=False)

    with torch.no_grad():
        taken = side_by_side(options.size(400, 3), {"one": partial(pair, one, 11), "two": partial(pair, two, 10)})
    sizes: dict[str, Any] = {"entries": entries, "queries": 8, "k": [11, 10], "d": D}
    value = ratio(taken, "two", "one")
    yield Figure("alternating_k", value, "times one k", "<= 1.3", sizes | milliseconds(taken))


def torch_search_mib(options: Options) -> Iterator[Figure]:
    """What a search in torch takes up beside its answer, at most, over batches of several sizes."""
    taken = {batch: apart(_searched, options, batch) for batch in (1, 32, 512, 4096)}
    sizes: dict[str, Any] = {"entries": options.size(100_000, 1000), "d": 64, "k": 50, "dtype": "float64"}
    sizes |= {f"batch_{batch}": round(mib, 1) for batch, mib in taken.items()}
    yield Figure("torch_search_mib", max(taken.values()), "MiB", "<= 256", sizes)


def _searched(options: Options, batch: int) -> float:
    """MiB by which this process grows in a search, in a process of its own."""
    generator = torch.Generator().manual_seed(options.seed)
    rows = torch.randn(options.size(100_000, 1000), 64, generator=generator, dtype=torch.float64)
    queries = torch.randn(batch, 64, generator=generator, dtype=torch.float64)
    torch_search(rows[:100], queries[:1], 50, True)
    before = peak_bytes()
    answer = torch_search(rows, queries, 50, True)
    return (peak_bytes() - before - answer.nbytes) / 2**20


def _writer(policy: str, entries: int, seed: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(seed)
    memory = DifferentiableNeuralDictionary(D, 1, entries, 11, forgetting=policy)
    memory.write(torch.randn(entries, D, generator=generator), torch.zeros(entries, 1), 1 + torch.rand(entries))
    keys, nothing = torch.randn(ROWS, D, generator=generator), torch.zeros(ROWS, 1)
    weak = torch.rand(ROWS, generator=generator)
    return partial(memory.write, keys, nothing, weak)
