"""The index proposes, torch disposes: neighbours re-ranked by distances taken from the keys themselves.

Searching by inner products rounds small distances away, so an exact search is checked: when rows that were not proposed
might be nearer than those that were, by more than one part in a thousand, the query is searched again by differences.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engram_rl.memory.indexes.exact import Index, torch_topk
from engram_rl.memory.keys.masked import KeyStore
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.writing.slots import Slots

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
    proposals = proposer.propose(query, wanted, used)
    at = proposals if proposer.exact else proposals.clamp(min=0)
    distances = store.distances_at(query, at)  # [B, k']
    anyone = proposer.exact and excluded is None and not slots.holes
    if anyone and proposals.shape[1] == k < used and store.space.plain:  # compared by differences, so in order
        return Neighbours(proposals, distances, torch.ones_like(proposals, dtype=torch.bool), True)
    if proposer.exact and wanted < proposals.shape[1] < used:
        doubtful = _doubtful(store, query, at, distances, wanted).nonzero().squeeze(1)
        if len(doubtful):
            again = query[doubtful]
            proposals[doubtful] = at[doubtful] = by_differences(store, again, at.shape[1], used)
            distances[doubtful] = store.distances_at(again, at[doubtful])
    if not anyone:
        usable = (proposals >= 0) & slots.alive[at]
        if excluded is not None:
            usable &= (proposals.unsqueeze(2) != excluded.unsqueeze(1)).all(2)
        distances = distances.masked_fill(~usable, torch.inf)
    return _best(proposals, distances, k)


def by_differences(store: KeyStore, query: Keys, k: int, used: int) -> Tensor:
    """The k nearest by a pass over all keys that takes no products, so that nothing is lost to rounding.  `[B, k]`."""
    block = max(1, 2**20 // max(1, len(query) * store.space.vector_size))

    def score(start: int) -> Tensor:
        slots = torch.arange(start, min(start + block, used), device=store.rows.device)
        return -store.distances_at(query, slots.expand(len(query), -1))  # [B, block]

    return torch_topk(score, range(0, used, block), k)


def _best(proposals: Tensor, distances: Tensor, k: int) -> Neighbours:
    distances, order = distances.topk(min(k, distances.shape[1]), dim=1, largest=False)
    slots, valid = proposals.gather(1, order), distances.isfinite()
    short = (0, k - slots.shape[1])
    if short[1] == 0 and valid.all():
        return Neighbours(slots, distances, valid, True)
    pad = torch.nn.functional.pad
    slots, distances = slots.masked_fill(~valid, -1), distances.masked_fill(~valid, 0)
    return Neighbours(pad(slots, short, value=-1), pad(distances, short), pad(valid, short), False)


def _doubtful(store: KeyStore, query: Keys, at: Tensor, distances: Tensor, k: int) -> Tensor:
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
        terms = terms + 16 * store.largest_term(query)
    rounding = 8 * torch.finfo(distances.dtype).eps * terms
    doubtful = (farthest - rounding).clamp(min=0) < (1 - TOLERANCE) * kth
    if not store.discrete or not doubtful.any():
        return doubtful
    return doubtful & (match | store.signatures_agree(query, store.gather(at))).all(1)
