"""Who is near: an index proposes slots, and the dictionary re-ranks them on the live keys.

Inner products of long rows lose small distances to rounding, and an approximate index misses some entries: neither
matters as long as the true neighbours are among the proposals, so more are asked for than wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import faiss
import numpy as np
import torch
from torch import Tensor

from memory.errors import unknown

BLAS_THRESHOLD = 700
"""From this many queries x columns on, one matrix product beats a pass per query."""


class Index(Protocol):
    """A cache over the rows of a `KeyStore`; may be dropped and rebuilt at any time."""

    exact: bool
    """Whether it looks at every row."""

    def propose(self, rows: Tensor, queries: Tensor, k: int, plain: bool) -> Tensor:
        """Slots of probably near rows, best first, -1 where there are no more.

        Args:
            rows: All rows that may hold an entry. `[n, W]`
            queries: Rows to search for. `[B, W]`
            k: How many.
            plain: Whether near means a small L2 distance; a large inner product otherwise.
        """

    def rounds(self, queries: Tensor, plain: bool) -> bool:
        """Whether the order of the proposals may be off, so that a few more are worth asking for."""


class ExactIndex:
    """Searches the live rows in place, so it holds nothing and nothing can be stale."""

    exact = True

    def rounds(self, queries: Tensor, plain: bool) -> bool:
        """Few plain queries are compared by differences; anything else by products."""
        return not plain or queries.numel() >= BLAS_THRESHOLD or queries.device.type != "cpu"

    def propose(self, rows: Tensor, queries: Tensor, k: int, plain: bool) -> Tensor:
        """The `min(k, n)` best rows.  `[B, min(k, n)]`."""
        k = min(k, len(rows))
        if k == 0:
            return torch.empty(len(queries), 0, dtype=torch.int64, device=rows.device)
        if rows.device.type == "cpu" and rows.dtype == torch.float32:
            return _faiss_search(rows.numpy(), queries.detach().numpy(), k, plain)
        return torch_search(rows, queries.detach(), k, plain)


def make_index(index: Index | str) -> Index:
    """An index from its name, with its defaults."""
    indexes = {"exact": ExactIndex}
    if not isinstance(index, str):
        return index
    if index not in indexes:
        raise unknown("index", index, indexes)
    return indexes[index]()


def _faiss_search(rows: np.ndarray, queries: np.ndarray, k: int, plain: bool) -> Tensor:
    metric = faiss.METRIC_L2 if plain else faiss.METRIC_INNER_PRODUCT
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = BLAS_THRESHOLD
    try:
        slots = faiss.knn(queries, rows, k, metric)[1]
    finally:
        faiss.cvar.distance_compute_blas_threshold = before
    return torch.from_numpy(slots)


def torch_search(rows: Tensor, queries: Tensor, k: int, plain: bool, block: int = 65_536) -> Tensor:
    """The same search in torch, for other devices and precisions, a block of rows at a time.  `[B, k]`."""

    def score(start: int) -> Tensor:
        part = rows[start : start + block]
        return -torch.cdist(queries, part) if plain else queries @ part.T

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
