"""Who is near: an index proposes slots, and the dictionary re-ranks them on the live keys.

Inner products of long rows lose small distances to rounding, and an approximate index misses some entries: neither
matters as long as the true neighbours are among the proposals, so more are asked for than wanted.
"""

from __future__ import annotations

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

    def propose(self, rows: Tensor, queries: Tensor, k: int, plain: bool) -> Tensor:
        """Slots of probably near rows, best first, -1 where there are no more.

        Args:
            rows: All rows that may hold an entry. `[n, W]`
            queries: Rows to search for. `[B, W]`
            k: How many.
            plain: Whether near means a small L2 distance; a large inner product otherwise.
        """


class ExactIndex:
    """Searches the live rows in place, so it holds nothing and nothing can be stale."""

    def propose(self, rows: Tensor, queries: Tensor, k: int, plain: bool) -> Tensor:
        """The `min(k, n)` best rows.  `[B, min(k, n)]`."""
        k = min(k, len(rows))
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
    best = queries.new_empty(len(queries), 0)
    slots = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        score = -torch.cdist(queries, part) if plain else queries @ part.T  # [B, block]
        top = score.topk(min(k, len(part)), dim=1)
        best, slots = torch.cat([best, top.values], 1), torch.cat([slots, top.indices + start], 1)
        keep = best.topk(min(k, best.shape[1]), dim=1)
        best, slots = keep.values, slots.gather(1, keep.indices)
    return slots
