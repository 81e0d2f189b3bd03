"""The index proposes, torch disposes: proposals of any index, re-ranked on the keys themselves; and the exact index.

An exact search ranks all rows, in the fastest way there is: by inner products, which round small distances away. So
more are proposed than asked for, and when a row that was not proposed might be nearer than those that were, by more
than one part in a thousand, the query is searched again by differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import faiss
import torch
from torch import Tensor

from engram_rl.memory.indexes.index import Index, Proposer
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore
from engram_rl.memory.writing.slots import Slots

BLAS_THRESHOLD = 700
"""From this many queries x columns on, one matrix product beats a pass per query."""

MOST_ON_GPU = 2048
"""Neighbours that faiss gives on a GPU."""

SPARE = 16
"""Proposals beyond k, so that hardly ever one of the k nearest is lost to rounding."""

TOLERANCE = 1e-3
"""How much nearer, relatively, an entry may be that rounding hides."""


class Neighbours(NamedTuple):
    """Nearest first.

    Attributes:
        slots: -1 where there is none. `[B, k]`
        distances: Weighted squared distances, 0 where there is none. `[B, k]`
        valid: Whether there is one. `[B, k]` bool
        complete: Whether there is one everywhere.
    """

    slots: Tensor
    distances: Tensor
    valid: Tensor
    complete: bool


@torch.no_grad()
def nearest(
    store: KeyStore, index: Index, query: Keys, k: int, slots: Slots, excluded: Tensor | None = None
) -> Neighbours:
    """The k nearest entries, without those excluded for their query (`[B, E]` slots)."""
    used, wanted = slots.used, k + (0 if excluded is None else excluded.shape[1])
    proposer = index.serving(query, used)
    proposals = proposer.propose(query, wanted, used)  # [B, k']
    at = proposals if proposer.exact else proposals.clamp(min=0)
    distances = store.distances_at(query, at)  # [B, k']
    anyone = proposer.exact and excluded is None and not slots.free.shape[0]
    if anyone and proposals.shape[1] == k < used and store.by_distance:  # compared by differences, so in order
        return Neighbours(proposals, distances, torch.ones_like(proposals, dtype=torch.bool), True)
    if proposer.exact and wanted < proposals.shape[1] < used:
        match = distances.isfinite()
        kth = distances.kthvalue(wanted, dim=1).values  # [B]
        farthest = distances.masked_fill(~match, 0).amax(1)  # what was not proposed is hardly nearer than this
        hidden = store.rounding(query, torch.minimum(kth, farthest))
        doubtful = (farthest - hidden).clamp(min=0) < (1 - TOLERANCE) * kth
        if doubtful.any():
            doubtful &= (match | store.comparable(query, at)).all(1)  # others were ranked behind every match
            _search_again(store, query, doubtful.nonzero().squeeze(1), proposals, distances, used)
    if not anyone:
        usable = (proposals >= 0) & slots.alive[at]
        if excluded is not None:
            usable &= (proposals.unsqueeze(2) != excluded.unsqueeze(1)).all(2)
        distances = distances.masked_fill(~usable, torch.inf)
    distances, order = distances.topk(min(k, distances.shape[1]), dim=1, largest=False)
    valid = distances.isfinite()
    found = proposals.gather(1, order)
    if found.shape[1] == k and valid.all():
        return Neighbours(found, distances, valid, True)
    return _padded(found, distances, valid, k)


def _search_again(store: KeyStore, query: Keys, rows: Tensor, proposals: Tensor, distances: Tensor, used: int) -> None:
    """Put better proposals, and their distances, in these rows, by a search that loses nothing to rounding.  `[n]`."""
    if rows.shape[0]:
        again = query[rows]
        proposals[rows] = by_differences(store, again, proposals.shape[1], used)
        distances[rows] = store.distances_at(again, proposals[rows])


def by_differences(store: KeyStore, query: Keys, k: int, used: int) -> Tensor:
    """The k nearest by a pass over all keys that takes no products, so that nothing is lost to rounding.  `[B, k]`."""
    block = max(1, 2**20 // max(1, len(query) * store.space.vector_size))

    def score(start: int) -> Tensor:
        slots = torch.arange(start, min(start + block, used), device=store.rows.device)
        return -store.distances_at(query, slots.expand(len(query), -1))  # [B, block]

    return torch_topk(score, range(0, used, block), k)


def _padded(slots: Tensor, distances: Tensor, valid: Tensor, k: int) -> Neighbours:
    """With k columns, and nothing said where there is no neighbour."""
    short, pad = (0, k - slots.shape[1]), torch.nn.functional.pad
    slots, distances = slots.masked_fill(~valid, -1), distances.masked_fill(~valid, 0)
    return Neighbours(pad(slots, short, value=-1), pad(distances, short), pad(valid, short), False)


class ExactIndex:
    """Searches the live rows in place, so it holds nothing and nothing can be stale."""

    exact = True

    def attach(self, store: KeyStore) -> None:
        """Search this store's rows."""
        self._store = store
        self._search = search_on(store.rows.device.type, store.rows.dtype)

    def serving(self, query: Keys, used: int) -> Proposer:
        """Every query can be answered."""
        return self

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """The k nearest, and spare ones unless a few queries can be compared by differences.  `[B, k']`."""
        store = self._store
        rows, queries = store.rows[:used], store.queries(query).detach()
        rounds = not store.by_distance or queries.numel() >= BLAS_THRESHOLD or self._search is not faiss_search
        k = min(k + SPARE * rounds, used)
        if k == 0:
            return torch.empty(queries.shape[0], 0, dtype=torch.int64, device=rows.device)
        return self._search(rows, queries, k, store.by_distance)

    def written(self, slots: Tensor) -> None:
        """Nothing is kept."""

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """Nothing is kept."""

    def report(self) -> dict[str, Any]:
        """Its kind."""
        return {"kind": "exact"}


@contextmanager
def products_early() -> Iterator[None]:
    """Have faiss switch to matrix products where they begin to pay, and leave its setting as it was."""
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = BLAS_THRESHOLD
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


Search: TypeAlias = Callable[[Tensor, Tensor, int, bool], Tensor]
"""Rows `[n, W]`, queries `[B, W]`, k, by distance or by product -> slots `[B, k]`, best first."""


def search_on(device: str, dtype: torch.dtype) -> Search:
    """The fastest search of raw rows there; faiss takes float32, and CUDA only if it is faiss-gpu."""
    if dtype == torch.float32 and device == "cpu":
        return faiss_search
    if dtype == torch.float32 and device == "cuda" and hasattr(faiss, "StandardGpuResources"):
        return faiss_gpu_search
    return torch_search


def faiss_gpu_search(rows: Tensor, queries: Tensor, k: int, by_distance: bool) -> Tensor:
    """The same on the GPU, where the rows lie.  `[B, k]`."""
    import faiss.contrib.torch_utils  # lets faiss take CUDA tensors, and changes its functions for that

    if k > MOST_ON_GPU:
        return torch_search(rows, queries, k, by_distance)
    metric = faiss.METRIC_L2 if by_distance else faiss.METRIC_INNER_PRODUCT
    with torch.cuda.device(rows.device):
        return faiss.knn_gpu(_gpu_resources(rows.device.index), queries.contiguous(), rows, k, metric=metric)[1]


@cache
def _gpu_resources(device: int) -> Any:
    """Scratch memory, kept from search to search."""
    return faiss.StandardGpuResources()


def faiss_search(rows: Tensor, queries: Tensor, k: int, by_distance: bool) -> Tensor:
    """The k rows with the least L2 distance, or with the largest inner product; best first.  `[B, k]`."""
    metric = faiss.METRIC_L2 if by_distance else faiss.METRIC_INNER_PRODUCT
    with products_early():
        return torch.from_numpy(faiss.knn(queries.numpy(), rows.numpy(), k, metric)[1])


def torch_search(rows: Tensor, queries: Tensor, k: int, by_distance: bool, block: int = 262_144) -> Tensor:
    """The same search in torch, on any device and in any precision, a block of rows at a time.  `[B, k]`."""

    def score(start: int) -> Tensor:
        part = rows[start : start + block]
        products = queries @ part.T  # [B, block]
        return 2 * products - part.square().sum(1) if by_distance else products

    return torch_topk(score, range(0, len(rows), block), k)


def torch_topk(score: Callable[[int], Tensor], starts: range, k: int) -> Tensor:
    """The columns of the k largest scores, best first, when `score(start)` gives those of one block.  `[B, k]`."""
    best: list[Tensor] = []
    slots: list[Tensor] = []
    for start in starts:
        values = score(start)  # [B, block]
        columns = torch.arange(start, start + values.shape[1], device=values.device).expand_as(values)
        values, columns = torch.cat([*best, values], 1), torch.cat([*slots, columns], 1)
        top = values.topk(min(k, values.shape[1]), dim=1)
        best, slots = [top.values], [columns.gather(1, top.indices)]
    return slots[0]
