"""Who is near: an index proposes slots, and the dictionary re-ranks them on the live keys.

Inner products of long rows lose small distances to rounding, and an approximate index misses some entries: neither
matters as long as the true neighbours are among the proposals, so more are proposed than asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol, TypeAlias

import faiss
import torch
from torch import Tensor

from engram_rl.memory.keys.masked import KeyStore
from engram_rl.memory.keys.space import Keys

BLAS_THRESHOLD = 700
"""From this many queries x columns on, one matrix product beats a pass per query."""

MOST_ON_GPU = 2048
"""Neighbours that faiss gives on a GPU."""

SPARE = 16
"""Proposals beyond k, so that hardly ever one of the k nearest is lost to rounding."""


class Proposer(Protocol):
    """Answers queries."""

    exact: bool
    """Whether it looks at every row."""

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """Slots among the first `used` that probably hold the k nearest and a few more, -1 where there are no more.

        Columns are in no promised order. `[B, >= min(k, used)]`
        """


class Index(Proposer, Protocol):
    """A cache over the rows of a `KeyStore`; may be dropped and rebuilt at any time."""

    def attach(self, store: KeyStore) -> None:
        """Serve this store from now on, from scratch."""

    def serving(self, query: Keys, used: int) -> Proposer:
        """Who should answer: itself, or another where it would do badly."""

    def written(self, slots: Tensor) -> None:
        """These slots hold other keys now, or none."""

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """These slots' vectors are about to become these."""

    def report(self) -> dict[str, Any]:
        """How it is doing, for people."""


class ExactIndex:
    """Searches the live rows in place, so it holds nothing and nothing can be stale."""

    exact = True

    def attach(self, store: KeyStore) -> None:
        """Search this store's rows."""
        self._store = store

    def serving(self, query: Keys, used: int) -> Proposer:
        """Every query can be answered."""
        return self

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """The k nearest; with spare ones, up to all, unless a few plain queries can be compared by differences."""
        store = self._store
        plain = store.space.plain
        rows, queries = store.rows[:used], store.queries(query).detach()
        search = search_on(rows.device.type, rows.dtype)
        rounds = not plain or queries.numel() >= BLAS_THRESHOLD or search is not faiss_search
        k = min(k + SPARE * rounds, used)
        if k == 0:
            return torch.empty(len(query), 0, dtype=torch.int64, device=rows.device)
        return search(rows, queries, k, plain)

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
"""Rows `[n, W]`, queries `[B, W]`, k, and whether they are plain -> slots `[B, k]`, best first."""


def search_on(device: str, dtype: torch.dtype) -> Search:
    """The fastest search of raw rows there; faiss takes float32, and CUDA only if it is faiss-gpu."""
    if dtype == torch.float32 and device == "cpu":
        return faiss_search
    if dtype == torch.float32 and device == "cuda" and hasattr(faiss, "StandardGpuResources"):
        return faiss_gpu_search
    return torch_search


def faiss_gpu_search(rows: Tensor, queries: Tensor, k: int, plain: bool) -> Tensor:
    """The same on the GPU, where the rows lie.  `[B, k]`."""
    import faiss.contrib.torch_utils  # lets faiss take CUDA tensors, and changes its functions for that

    if k > MOST_ON_GPU:
        return torch_search(rows, queries, k, plain)
    metric = faiss.METRIC_L2 if plain else faiss.METRIC_INNER_PRODUCT
    with torch.cuda.device(rows.device):
        return faiss.knn_gpu(_gpu_resources(rows.device.index), queries.contiguous(), rows, k, metric=metric)[1]


@cache
def _gpu_resources(device: int) -> Any:
    """Scratch memory, kept from search to search."""
    return faiss.StandardGpuResources()


def faiss_search(rows: Tensor, queries: Tensor, k: int, plain: bool) -> Tensor:
    """The k rows with the least L2 distance if plain, else with the largest inner product; best first.  `[B, k]`."""
    metric = faiss.METRIC_L2 if plain else faiss.METRIC_INNER_PRODUCT
    with products_early():
        return torch.from_numpy(faiss.knn(queries.numpy(), rows.numpy(), k, metric)[1])


def torch_search(rows: Tensor, queries: Tensor, k: int, plain: bool, block: int = 262_144) -> Tensor:
    """The same search in torch, on any device and in any precision, a block of rows at a time.  `[B, k]`."""

    def score(start: int) -> Tensor:
        part = rows[start : start + block]
        products = queries @ part.T  # [B, block]
        return 2 * products - part.square().sum(1) if plain else products

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
