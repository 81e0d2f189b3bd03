"""The exact lookup against the bare search; masks; the gradient without the search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations, cycle
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks.memory.measure import Figure, Options, milliseconds, ratio, side_by_side
from engram_rl.memory import DifferentiableNeuralDictionary, Index, Keys, KeySpace, KeyStore, Modality, Proposer
from engram_rl.memory.indexes.exact import products_early

D, K = 64, 50
PARTS = [Modality("view", 32), Modality("place", 16), Modality("goal", 16)]


def lookup_overhead(options: Options, name: str, queries: int, entries: int, limit: str) -> Iterator[Figure]:
    """A whole lookup without gradients by the bare search of the same rows."""
    generator = torch.Generator().manual_seed(options.seed)
    memory = filled(D, entries, generator)
    query = torch.randn(queries, D, generator=generator)
    rows = memory.store.rows.numpy()
    with torch.no_grad(), products_early():
        taken = side_by_side(
            options.size(max(30, 4_000_000 // entries), 3),
            {
                "bare": lambda: faiss.knn(query.numpy(), rows, K),
                "lookup": lambda: memory.lookup(query, touch=False),
            },
        )
    sizes: dict[str, Any] = {"entries": entries, "queries": queries, "d": D, "k": K}
    yield Figure(name, ratio(taken, "lookup", "bare"), "times bare faiss.knn", limit, sizes | milliseconds(taken))


def masked(options: Options) -> Iterator[Figure]:
    """The search under every mask by the plain search of keys as long; and nearest neighbours lost to rounding."""
    entries, queries = options.size(100_000, 500), 32
    generator = torch.Generator().manual_seed(options.seed)
    plain, parted = filled(D, entries, generator), filled(KeySpace(PARTS), entries, generator)
    query = torch.randn(queries, D, generator=generator)
    packed = {names: parted.space.pack(_only(query, names)) for names in _masks()}
    whole = plain.space.pack(query)
    with torch.no_grad():
        calls: dict[str, Callable[[], object]] = {
            "+".join(names): partial(parted.index.propose, q, K, entries) for names, q in packed.items()
        }
        plainly = partial(plain.index.propose, whole, K, entries)
        taken = side_by_side(options.size(30, 2), {"plain": plainly} | calls)
    worst = max(ratio(taken, name, "plain") for name in calls)
    lost, asked = _lost(options, generator)
    sizes: dict[str, Any] = {"entries": entries, "queries": queries, "d": D, "k": K, "masks": len(calls)}
    sizes |= {"nearest_lost": lost, "nearest_asked": asked} | milliseconds(taken)
    yield Figure("masked", worst, "times the plain search, worst mask", "<= 1.3", sizes)
    yield Figure("masked_lost", lost, "nearest neighbours lost to rounding", "<= 0", {"asked": asked, "d": D})


def backward_growth(options: Options) -> Iterator[Figure]:
    """Forward and backward of the read, without the search: large by small memory."""
    small, large = options.size(10_000, 200), options.size(1_000_000, 2000)
    generator = torch.Generator().manual_seed(options.seed)
    calls = {"small": _reader(small, generator), "large": _reader(large, generator)}
    taken = side_by_side(options.size(200, 3), calls)
    sizes: dict[str, Any] = {"entries": large, "entries_small": small, "queries": 32, "d": D, "k": K}
    value = ratio(taken, "large", "small")
    yield Figure("backward_growth", value, f"times that at {small}", "<= 1.5", sizes | milliseconds(taken))


class _Given:
    """An index that does not search: it proposes what it is told."""

    exact = False

    def __init__(self, proposals: Iterable[torch.Tensor]) -> None:
        self._proposals = iter(proposals)

    def attach(self, store: KeyStore) -> None:
        """Nothing is kept of it."""

    def serving(self, query: Keys, used: int) -> Proposer:
        """Itself."""
        return self

    def propose(self, query: Keys, k: int, used: int) -> torch.Tensor:
        """The next slots.  `[B, k]`."""
        return next(self._proposals)

    def written(self, slots: torch.Tensor) -> None:
        """Nothing is kept."""

    def moving(self, slots: torch.Tensor, vectors: torch.Tensor) -> None:
        """Nothing is kept."""

    def report(self) -> dict[str, Any]:
        """Its kind."""
        return {"kind": "given"}


def _reader(entries: int, generator: torch.Generator) -> Callable[[], object]:
    query = torch.randn(32, D, generator=generator).requires_grad_()
    found_slots = torch.randint(entries, (200, 32, K), generator=generator)
    memory = filled(D, entries, generator, index=_Given(cycle(found_slots)))

    def forward_and_backward() -> None:
        memory.lookup(query, touch=False).value.sum().backward()

    return forward_and_backward


def filled(
    space: KeySpace | int, entries: int, generator: torch.Generator, index: Index | str = "exact"
) -> DifferentiableNeuralDictionary:
    """A full memory of random keys."""
    memory = DifferentiableNeuralDictionary(space, 1, entries, K, index=index)
    for start in range(0, entries, 50_000):
        n = min(50_000, entries - start)
        memory.write(torch.randn(n, memory.space.dim, generator=generator), torch.randn(n, 1, generator=generator))
    return memory


def _masks() -> list[tuple[str, ...]]:
    names = [m.name for m in PARTS]
    return [c for size in (1, 2, 3) for c in combinations(names, size)]


def _only(query: torch.Tensor, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    parts = dict(zip((m.name for m in PARTS), query.split([m.size for m in PARTS], dim=1), strict=True))
    return {name: parts[name] for name in names}


def _lost(options: Options, generator: torch.Generator) -> tuple[int, int]:
    """Queries whose nearest entry, of many near-duplicates away from the origin, was not found; under every mask."""
    places, copies = options.size(200, 4), 100
    keys = 1 + torch.randn(places, D, generator=generator).repeat_interleave(copies, 0)
    keys += 1e-3 * torch.randn(keys.shape, generator=generator)
    memory = DifferentiableNeuralDictionary(KeySpace(PARTS), 1, len(keys), K)
    memory.write(keys, torch.zeros(len(keys), 1))
    query = keys[:: copies // 2] + 1e-4 * torch.randn(keys[:: copies // 2].shape, generator=generator)
    lost = asked = 0
    for names in _masks():
        found = memory.lookup(_only(query, names), touch=False).slots[:, 0]
        columns = np.concatenate([np.arange(D)[memory.space.columns[name]] for name in names])
        wanted, stored = query[:, columns].double(), keys[:, columns].double()
        for row, slot in zip(wanted, found.tolist(), strict=True):
            true = (row - stored).square().sum(1)  # [N]
            lost += int(true[slot] > true.min() * (1 + 1e-3))
        asked += len(query)
    return lost, asked
