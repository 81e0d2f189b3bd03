"""The index proposes, torch disposes: neighbours re-ranked by distances taken from the keys themselves.

Searching by inner products rounds small distances away, so an exact search is checked: when rows that were not proposed
might be nearer than those that were, by more than one part in a thousand, the query is searched again by differences.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from memory.index import Index, torch_topk
from memory.keys import Keys
from memory.store import KeyStore

SPARE = 16
"""Proposals beyond k, so that hardly ever one of the k nearest is lost to the rounding of the search."""

TOLERANCE = 1e-3
"""How much nearer, relatively, an entry may be that rounding hides."""


class Neighbours(NamedTuple):
    """Nearest first.

    Attributes:
        slots: -1 where there is none. `[B, k]`
        distances: Weighted squared distances, 0 where there is none. `[B, k]`
        valid: Whether there is one. `[B, k]` bool
    """

    slots: Tensor
    distances: Tensor
    valid: Tensor


@torch.no_grad()
def nearest(
    store: KeyStore, index: Index, query: Keys, k: int, used: int, alive: Tensor, excluded: Tensor | None
) -> Neighbours:
    """The k nearest of the first `used` slots that are alive and not excluded for their query (`[B, E]` slots)."""
    wanted = k + SPARE + (0 if excluded is None else excluded.shape[1])
    searched = store.queries(query)
    rows = store.rows[:used]
    proposals = index.propose(rows, searched, wanted, store.space.plain)
    entries = store.gather(proposals.clamp(min=0))
    distances = store.distances(query, entries)  # [B, k']
    if index.rounds(searched, store.space.plain) and k < proposals.shape[1] < used:
        doubtful = _doubtful(store, query, searched, entries, distances, k).nonzero().squeeze(1)
        if len(doubtful):
            again = query[doubtful]
            proposals[doubtful] = by_differences(store, again, proposals.shape[1], used)
            distances[doubtful] = store.distances(again, store.gather(proposals[doubtful]))
    usable = (proposals >= 0) & alive[proposals]
    if excluded is not None:
        usable &= (proposals.unsqueeze(2) != excluded.unsqueeze(1)).all(2)
    return _best(proposals, distances.masked_fill(~usable, torch.inf), k)


def by_differences(store: KeyStore, query: Keys, k: int, used: int) -> Tensor:
    """The k nearest by a pass over all keys that takes no products, so that nothing is lost to rounding.  `[B, k]`."""
    block = max(1, 2**20 // max(1, len(query) * store.space.vector_size))

    def score(start: int) -> Tensor:
        slots = torch.arange(start, min(start + block, used), device=store.rows.device)
        entries = store.gather(slots.expand(len(query), -1))
        return -store.distances(query, entries)  # [B, block]

    return torch_topk(score, range(0, used, block), k)


def _best(proposals: Tensor, distances: Tensor, k: int) -> Neighbours:
    order = distances.topk(min(k, distances.shape[1]), dim=1, largest=False)
    slots, distances = proposals.gather(1, order.indices), order.values
    valid = distances.isfinite()
    slots, distances = slots.masked_fill(~valid, -1), distances.masked_fill(~valid, 0)
    short = (0, k - slots.shape[1])
    if short[1] == 0:
        return Neighbours(slots, distances, valid)
    pad = torch.nn.functional.pad
    return Neighbours(pad(slots, short, value=-1), pad(distances, short), pad(valid, short))


def _doubtful(store: KeyStore, query: Keys, searched: Tensor, entries: Keys, distances: Tensor, k: int) -> Tensor:
    """Queries for which a row that was not proposed may be nearer than the k-th that was.  `[B]` bool.

    Such a row scored worse than every proposal, so its distance is at least their largest less twice the rounding
    error: a few units in the last place of the largest terms, `(2 |q| + sqrt(d_k))^2`. A proposal of visibly other
    codes was ranked behind every match, so nothing is missing then.
    """
    match = distances.isfinite()
    kth = distances.kthvalue(k, dim=1).values  # [B]
    farthest = distances.masked_fill(~match, 0).amax(1)
    near = torch.minimum(kth, farthest)
    terms = (2 * query.vectors.norm(dim=1) + (near / store.weights.min()).sqrt()).square() * store.weights.max()
    if store.discrete:
        terms = terms + 16 * searched.abs().amax(1)
    rounding = 8 * torch.finfo(distances.dtype).eps * terms
    doubtful = (farthest - rounding).clamp(min=0) < (1 - TOLERANCE) * kth
    if not store.discrete:
        return doubtful
    return doubtful & (match | store.signatures_agree(query, entries)).all(1)
