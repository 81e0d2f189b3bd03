"""A memory in shards beside one memory: the same answers, and what a lookup and a write cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.runs import Row
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.sharded import ShardedMemory

DIM, K, QUERIES, AT_ONCE = 64, 50, 32, 20_000

Memory = DifferentiableNeuralDictionary | ShardedMemory


def sharded(entries: int, shards: tuple[int, ...], turns: int) -> Row:
    """Fill one memory and as many sharded ones, then look up and write in turns.

    Args:
        entries: In each.
        shards: Of each sharded one.
        turns: How often each is timed.

    Returns:
        By memory, the one first: milliseconds of a lookup of 32 queries and of a write of 32 rows, medians, and queries
        a second; and by how much a value found in shards is off at most.
    """
    chance = torch.Generator().manual_seed(0)
    with ExitStack() as opened, torch.no_grad():
        capacity = 2 * entries  # so that nothing makes room
        memories: list[Memory] = [DifferentiableNeuralDictionary(DIM, 1, capacity, k=K)]
        memories += [opened.enter_context(ShardedMemory(DIM, 1, capacity, k=K, shards=n)) for n in shards]
        for start in range(0, entries, AT_ONCE):
            keys, values = _rows(min(AT_ONCE, entries - start), chance)
            for memory in memories:
                memory.write(keys, values)
        asked = [_rows(QUERIES, chance)[0] for _ in range(turns + 1)]
        found = [[memory.lookup(query, touch=False).value for memory in memories] for query in asked]
        off = max(float((one - of[0]).abs().max()) for of in found for one in of[1:])
        reads = [[_ms(partial(memory.lookup, query, touch=False)) for memory in memories] for query in asked[1:]]
        rows = [_rows(QUERIES, chance) for _ in range(turns)]
        writes = [[_ms(partial(memory.write, *row)) for memory in memories] for row in rows]
    lookup, write = ([statistics.median(one) for one in zip(*taken, strict=True)] for taken in (reads, writes))
    return {
        "shards": ["one memory", *shards],
        "lookup_ms": [round(one, 2) for one in lookup],
        "queries_per_second": [round(1000 * QUERIES / one) for one in lookup],
        "write_ms": [round(one, 2) for one in write],
        "largest_difference": off,
        "holds": off < 1e-4,
    }


def _rows(n: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(n, DIM, generator=chance), torch.randn(n, 1, generator=chance)


def _ms(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)
