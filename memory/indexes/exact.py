"""The index proposes, torch disposes: proposals of any index, re-ranked on the keys themselves; and the exact index.

An exact search ranks all rows, in the fastest way there is: by inner products, which round small distances away. So
more are proposed than asked for, and when a row that was not proposed might be nearer than those that were, by more
than one part in a thousand, the query is searched again by differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.indexes.index import Index, Proposer
from engram_rl.memory.keys.coded import Group
from engram_rl.memory.keys.plain import PlainStore
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore
from engram_rl.memory.waiting import AT_HAND, Checks, told
from engram_rl.memory.writing.slots import Slots

BLAS_THRESHOLD = 700
"""From this many queries x columns on, one matrix product beats a pass per query."""

MOST_ON_GPU = 2048
"""Neighbours that faiss gives on a GPU."""

SPARE = 16
"""Proposals beyond k, so that hardly ever one of the k nearest is lost to rounding."""

SEEN_FROM_AMID = 2**22
"""Numbers of rows at a time that are seen from amid the keys: a copy of them is taken for that."""

MOST_BYTES = {"cpu": 256 * 2**20}
"""What a search in torch may take up beside its answer, by kind of device."""

MOST_BYTES_ELSEWHERE = 2**31
"""On a GPU, where a few large steps take less time than many small ones."""

MOST_QUERIES = 1024
"""Rows of which a block holds at least the scores."""

GROUP = 32
"""Neighbouring scores that are first seen as one, their largest."""

MANY = 2**18
"""Scores from which on that pays."""

FEWEST_SCORES, MOST_SCORES = 2**16, 2**23
"""Scores of few queries, from which on a product with squares at hand beats a pass for each; and at most, in 32 MiB."""

APART = 16
"""Scores, far apart, of which the least is first seen for all."""

TOLERANCE = 1e-3
"""How much nearer, relatively, an entry may be that rounding hides."""


class Neighbours(NamedTuple):
    """Nearest first.

    Attributes:
        slots: -1 where there is none. `[B, k]`
        distances: Weighted squared distances, 0 where there is none. `[B, k]`
        valid: Whether there is one. `[B, k]` bool
        complete: Whether there is one everywhere.
        nobody: Whether it is known that there is none anywhere.
    """

    slots: Tensor
    distances: Tensor
    valid: Tensor
    complete: bool
    nobody: bool = False


class Asked(NamedTuple):
    """What `nearest` is asked, as its arguments say."""

    store: KeyStore
    proposing: Index
    query: Keys
    k: int
    slots: Slots
    excluded: Tensor | None = None


@torch.no_grad()
def nearest(
    store: KeyStore,
    index: Index,
    query: Keys,
    k: int,
    slots: Slots,
    excluded: Tensor | None = None,
    checks: Checks | None = None,
) -> Neighbours:
    """The k nearest entries, without those excluded for their query (`[B, E]` slots); after these checks, if any.

    Of entries with the codes that are asked for, if nothing else is, those written last are the nearest.
    """
    asked, used = Asked(store, index, query, k, slots, excluded), slots.used
    proposer = index.serving(query, used)
    proposals = proposer.propose(query, k + (0 if excluded is None else excluded.shape[1]), used)  # [B, k']
    anyone = proposer.exact and excluded is None and not slots.holes and store.by_distance
    if anyone and k <= proposals.shape[1] and k < used and not checks and proposals.device.type in AT_HAND:
        return _nearest_of_all(asked, proposals)
    return _nearest_of_some(asked, proposals, proposer.exact, anyone, checks)


def _nearest_of_all(asked: Asked, proposals: Tensor) -> Neighbours:
    """The k nearest where every proposal is an entry that counts, and answers are at hand."""
    store, _, query, k, slots, _ = asked
    distances = store.distances_at(query, proposals)  # [B, k']
    everywhere = torch.ones(proposals.shape[0], k, dtype=torch.bool)
    if proposals.shape[1] == k:  # compared by differences, so in order
        return Neighbours(proposals, distances, everywhere, True)
    near, order = distances.topk(k, dim=1, largest=False)
    if proposals.shape[1] < slots.used:
        kth, farthest = near[:, -1], distances.amax(1)
        hidden = store.rounding(query, torch.minimum(kth, farthest))
        doubtful = (farthest - hidden).clamp(min=0) < (1 - TOLERANCE) * kth
        if doubtful.any():
            if store.see_from_amid(slots.used):
                return nearest(*asked)
            _search_again(store, query, doubtful.nonzero().squeeze(1), proposals, distances, slots.used)
            near, order = distances.topk(k, dim=1, largest=False)
    return Neighbours(proposals.gather(1, order), near, everywhere, True)


def _nearest_of_some(asked: Asked, proposals: Tensor, exact: bool, anyone: bool, checks: Checks | None) -> Neighbours:
    """The k nearest of those proposals that count.

    Args:
        asked: How many of whom.
        proposals: -1 for none. `[B, k']`
        exact: Whether nobody but by rounding is nearer than these.
        anyone: Whether each of them is an entry that counts.
        checks: To be made before.
    """
    store, _, query, k, slots, excluded = asked
    used, wanted = slots.used, k + (0 if excluded is None else excluded.shape[1])
    distances = store.distances_at(query, proposals.clamp(min=0))  # [B, k']
    if not anyone:
        distances = distances.masked_fill(proposals < 0, torch.inf)
    doubtful = None
    if exact and wanted < proposals.shape[1] < used:
        kth = distances.kthvalue(wanted, dim=1).values  # [B]
        farthest = distances.masked_fill(distances.isinf(), 0).amax(1)  # what was not proposed is hardly nearer
        hidden = store.rounding(query, torch.minimum(kth, farthest))
        doubtful = (farthest - hidden).clamp(min=0) < (1 - TOLERANCE) * kth
    at_hand = proposals.device.type in AT_HAND
    if at_hand and doubtful is not None and doubtful.any():
        if store.see_from_amid(used):
            return nearest(*asked, checks)
        doubtful &= (proposals >= 0).all(1)  # else there are no others
        _search_again(store, query, doubtful.nonzero().squeeze(1), proposals, distances, used)
    near = distances
    if not anyone:
        usable = (proposals >= 0) & slots.alive[proposals.clamp(min=0)]
        if not store.by_distance:
            usable &= query.present.any(1, keepdim=True)  # who asks for nothing finds nothing
        if excluded is not None:
            usable &= (proposals.unsqueeze(2) != excluded.unsqueeze(1)).all(2)
        near = near.masked_fill(~usable, torch.inf)
    if store.codes.shape[1]:  # many may be equally near, and the first are those that count
        near, order = (part[:, :k] for part in near.sort(dim=1, stable=True))
    else:
        near, order = near.topk(min(k, near.shape[1]), dim=1, largest=False)
    valid = near.isfinite()
    found = Neighbours(proposals.gather(1, order), near, valid, False)
    if not at_hand:
        return _told(asked, found, proposals, distances, doubtful, checks or [])
    return found._replace(complete=True) if near.shape[1] == k and valid.all() else _padded(found, k)


def _told(
    asked: Asked, found: Neighbours, proposals: Tensor, distances: Tensor, doubtful: Tensor | None, checks: Checks
) -> Neighbours:
    """The nearest, which were found as if nothing were in doubt, once all that is has been asked at once."""
    store, _, query, k, slots, excluded = asked
    none, valid = found.valid.new_zeros(0), found.valid
    doubtful = none if doubtful is None else doubtful & (proposals >= 0).all(1)  # else there are no others
    stale = none if store.doubt is None else store.doubt
    everywhere, anywhere, doubts, lost = told(checks, valid.all(), valid.any(), doubtful, stale)
    store.settle(bool(lost.any()))
    if lost.any() or (doubts.any() and store.see_from_amid(slots.used)):
        return nearest(*asked)
    if doubts.any():
        rows = torch.from_numpy(np.flatnonzero(doubts)).to(proposals.device, non_blocking=True)
        _search_again(store, query, rows, proposals, distances, slots.used)
        return nearest(store, _Proposed(proposals), query, k, slots, excluded)
    if valid.shape[1] == k and everywhere:
        return found._replace(complete=True)
    return _padded(found, k)._replace(nobody=not anywhere)


def nearest_alike(store: KeyStore, index: Index, query: Keys, slots: Slots) -> Neighbours:
    """The nearest entry that has the same modalities, of each query."""
    used = slots.used
    held = store.present[:used]
    alive = slots.alive[:used]
    kinds, which = torch.unique(query.present, dim=0, return_inverse=True)
    alike = [(held == kind).all(1) & alive for kind in kinds]
    if all(bool((one == alive).all()) for one in alike):
        return nearest(store, index, query, 1, slots)
    found = torch.full((len(query), 1), -1, device=held.device)
    distances = torch.full((len(query), 1), torch.inf, dtype=store.rows.dtype, device=held.device)
    exact = ExactIndex()
    exact.attach(store)
    for kind, among in enumerate(alike):
        rows = (which == kind).nonzero().squeeze(1)
        proposals = exact.among(query[rows], 1, used, among)
        if not proposals.shape[1]:
            continue
        near = store.distances_at(query[rows], proposals.clamp(min=0)).masked_fill(proposals < 0, torch.inf)
        kth, farthest = near.amin(1), near.masked_fill(near.isinf(), 0).amax(1)
        doubtful = (farthest - store.rounding(query[rows], kth.clamp(max=farthest))).clamp(min=0) <= kth
        again = (doubtful & (proposals >= 0).all(1)).nonzero().squeeze(1)
        _search_again(store, query[rows], again, proposals, near, used, among)
        distances[rows], best = near.min(dim=1, keepdim=True)
        found[rows] = proposals.gather(1, best)
    return _padded(Neighbours(found, distances, distances.isfinite(), False), 1)


def _search_again(
    store: KeyStore,
    query: Keys,
    rows: Tensor,
    proposals: Tensor,
    distances: Tensor,
    used: int,
    among: Tensor | None = None,
) -> None:
    """Put better proposals, and their distances, in these rows, by a search that loses nothing to rounding.  `[n]`."""
    if rows.shape[0]:
        again = query[rows]
        proposals[rows] = by_differences(store, again, proposals.shape[1], used, among)
        near = store.distances_at(again, proposals[rows].clamp(min=0))
        distances[rows] = near.masked_fill(proposals[rows] < 0, torch.inf)


def by_differences(store: KeyStore, query: Keys, k: int, used: int, among: Tensor | None = None) -> Tensor:
    """The k nearest by a pass over all keys that takes no products, so that nothing is lost to rounding.  `[B, k]`.

    Args:
        store: Holds the keys.
        query: B keys.
        k: How many; -1 stands where there are fewer.
        used: Slots to look at.
        among: Those that count, of these; all entries by default. `[used]` bool
    """
    block = max(1, 2**20 // max(1, len(query) * store.space.vector_size))
    counts = store.present[:used].any(1) if among is None else among  # [used]

    def score(start: int) -> Tensor:
        slots = torch.arange(start, min(start + block, used), device=store.rows.device)
        near = store.distances_at(query, slots.expand(len(query), -1))  # [B, block]
        return -near.masked_fill(~counts[slots], torch.inf)

    scores, slots = torch_topk(score, range(0, used, block), k)
    return slots.masked_fill(scores.isinf(), -1)


def _padded(found: Neighbours, k: int) -> Neighbours:
    """With k columns, and nothing said where there is no neighbour."""
    slots, distances, valid, *_ = found
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
        coded = store.space.code_size > 0
        if coded and (latest := store.latest(query, k, used)) is not None:
            return latest
        rows, queries = store.rows[:used], store.queries(query).detach()
        rounds = not store.by_distance or queries.numel() >= BLAS_THRESHOLD or self._search is not faiss_search
        width = min(k + SPARE * rounds, used)
        if width == 0:
            return torch.empty(queries.shape[0], 0, dtype=torch.int64, device=rows.device)
        groups = store.groups(query, used) if coded else None
        if groups is not None:
            return self._in_groups(groups, query, queries, k, width)
        if rounds and store.by_distance and store.centre is not None:
            return self._from_amid(rows, queries, width, store.centre, query)
        pays = queries.shape[0] > 1 and FEWEST_SCORES <= queries.shape[0] * used <= MOST_SCORES
        if pays and not rounds and isinstance(store, PlainStore):
            near = nearest_by_products(rows, store.squares[:used], queries, min(k + SPARE, used))
            return self._by_differences(query, near, width, used)
        return self._search(rows, queries, width, store.by_distance)

    def _by_differences(self, query: Keys, near: Tensor, k: int, used: int) -> Tensor:
        """The k nearest of these, in the order of a pass over all by differences; who is in doubt has that pass.

        Args:
            query: B keys.
            near: The nearest by products. `[B, k']`
            k: How many.
            used: Slots to look at.
        """
        store, rows, queries = self._store, self._store.rows, self._store.queries(query).detach()
        slots = near.sort(dim=1).values.numpy()  # of those equally near, the first slots come first
        squared = squared_by_faiss(rows, queries, slots)
        order = squared.argsort(axis=1, kind="stable")
        found = torch.from_numpy(np.take_along_axis(slots, order[:, :k], axis=1))
        if near.shape[1] == used:
            return found
        last = np.take_along_axis(squared, order[:, [k - 1, -1]], axis=1)
        kth, farthest = (torch.from_numpy(last) * store.column_weights[0]).unbind(1)
        doubtful = (farthest - store.rounding(query, farthest) <= kth).nonzero().squeeze(1)
        if len(doubtful):
            found[doubtful] = self._search(rows[:used], queries[doubtful], k, True)
        return found

    def _from_amid(self, rows: Tensor, queries: Tensor, width: int, centre: Tensor, query: Keys) -> Tensor:
        """The nearest rows by products of what rows and queries differ by from a point amid them.  `[B, width]`."""
        block = max(1, SEEN_FROM_AMID // rows.shape[1])
        seen, found = queries - centre, []
        for start in range(0, len(rows), block):
            part = rows[start : start + block] - centre
            found.append(self._search(part, seen, min(width, len(part)), True) + start)
        if len(found) == 1:
            return found[0]
        slots = torch.cat(found, dim=1)
        best = self._store.distances_at(query, slots).topk(width, dim=1, largest=False).indices
        return slots.gather(1, best)

    def among(self, query: Keys, k: int, used: int, among: Tensor) -> Tensor:
        """The k nearest of some entries, and spare ones; -1 where there are no more.

        Args:
            query: B keys.
            k: How many.
            used: Slots to look at.
            among: Which of them. `[used]` bool

        Returns:
            `[B, k']`
        """
        width = min(k + SPARE, used)
        groups = self._store.groups(query, used) or [
            Group(torch.arange(len(query), device=among.device), torch.arange(used, device=among.device))
        ]
        groups = [Group(rows, slots[among[slots]]) for rows, slots in groups]
        return self._in_groups(groups, query, self._store.queries(query).detach(), k, width)

    def _in_groups(self, groups: list[Group], query: Keys, queries: Tensor, k: int, width: int) -> Tensor:
        """What is nearest to each query among the entries of its group.  `[B, width]`."""
        store = self._store
        found = torch.full((len(query), width), -1, device=queries.device)
        only_codes = ~query.present[:, [m for m, part in enumerate(store.space) if part.kind != "discrete"]].any(1)
        any_alone = bool(only_codes.any())
        for rows, slots in groups:
            if any_alone and (alone := only_codes[rows]).any():
                best = self._latest(query, rows[alone], slots, k)
                found[rows[alone], : best.shape[0]] = best
                rows = rows[~alone]
            n = min(width, slots.shape[0])
            if n == slots.shape[0]:
                found[rows, :n] = slots
            elif len(rows):
                held = store.rows.index_select(0, slots)
                near = self._search(held, queries.index_select(0, rows), n, store.by_distance)
                found[rows, :n] = slots.take(near)
        return found

    def _latest(self, query: Keys, rows: Tensor, slots: Tensor, k: int) -> Tensor:
        """Of entries with the codes that all these queries ask for: the nearest, then the latest.  `[k]`."""
        ordered = self._store.latest_first(slots)
        distances = self._store.distances_at(query[rows[:1]], ordered.unsqueeze(0)).squeeze(0)
        return ordered[distances.argsort(stable=True)[:k]]

    def written(self, slots: Tensor) -> None:
        """Nothing is kept."""

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """Nothing is kept."""

    def report(self) -> dict[str, Any]:
        """Its kind."""
        return {"kind": "exact"}


class _Proposed(ExactIndex):
    """Has proposed already, and is not to be doubted."""

    exact = False

    def __init__(self, proposals: Tensor) -> None:
        self._proposals = proposals

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """What has been proposed.  `[B, k']`."""
        return self._proposals


class _Early:
    """How many searches are under way that have faiss's setting changed, and what it was before the first."""

    lock = Lock()
    under_way = 0
    before = 0


@contextmanager
def products_early() -> Iterator[None]:
    """Have faiss switch to matrix products where they begin to pay, and leave its setting as it was.

    The setting is one for all threads: the first of several that search at once changes it, the last puts it back.
    """
    import faiss

    with _Early.lock:
        if not _Early.under_way:
            _Early.before = faiss.cvar.distance_compute_blas_threshold
            faiss.cvar.distance_compute_blas_threshold = BLAS_THRESHOLD
        _Early.under_way += 1
    try:
        yield
    finally:
        with _Early.lock:
            _Early.under_way -= 1
            if not _Early.under_way:
                faiss.cvar.distance_compute_blas_threshold = _Early.before


Search: TypeAlias = Callable[[Tensor, Tensor, int, bool], Tensor]
"""Rows `[n, W]`, queries `[B, W]`, k, by distance or by product -> slots `[B, k]`, best first."""


def search_on(device: str, dtype: torch.dtype) -> Search:
    """The fastest search of raw rows there; faiss takes float32, and CUDA only if it is faiss-gpu."""
    if dtype == torch.float32 and device == "cpu":
        return faiss_search
    import faiss

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
    import faiss

    return faiss.StandardGpuResources()


def faiss_search(rows: Tensor, queries: Tensor, k: int, by_distance: bool) -> Tensor:
    """The k rows with the least L2 distance, or with the largest inner product; best first.  `[B, k]`."""
    import faiss  # here and not above: it takes long, and nobody waits for it who only imports the memory

    metric = faiss.METRIC_L2 if by_distance else faiss.METRIC_INNER_PRODUCT
    with products_early():
        return torch.from_numpy(faiss.knn(queries.numpy(), rows.numpy(), k, metric)[1])


def nearest_by_products(rows: Tensor, squares: Tensor, queries: Tensor, k: int) -> Tensor:
    """The k rows with the least L2 distance by one matrix product, best first but for rounding.

    Args:
        rows: `[n, W]`
        squares: Their squared lengths. `[n]`
        queries: `[B, W]`
        k: How many, at most n.

    Returns:
        `[B, k]`
    """
    scores = torch.addmm(squares, queries, rows.T, alpha=-2)  # [B, n]
    groups = scores.shape[1] // APART
    if groups <= k:
        return scores.topk(k, dim=1, largest=False).indices
    grouped = scores[:, : groups * APART].unflatten(1, (APART, groups))
    best = grouped.amin(1).topk(k, dim=1, largest=False, sorted=False).indices  # [B, k], in which the nearest must lie
    members = (best.unsqueeze(1) + groups * torch.arange(APART).unsqueeze(1)).flatten(1)  # [B, APART k]
    rest = torch.arange(groups * APART, scores.shape[1]).expand(len(queries), -1)
    columns = torch.cat([members, rest], 1)
    return columns.gather(1, scores.gather(1, columns).topk(k, dim=1, largest=False).indices)


def squared_by_faiss(rows: Tensor, queries: Tensor, slots: np.ndarray) -> np.ndarray:
    """Squared distances to the rows in these slots, to the bit as faiss's pass over all has them.

    Args:
        rows: `[n, W]`
        queries: `[B, W]`
        slots: `[B, k]`

    Returns:
        `[B, k]`
    """
    import faiss

    by_slot: Any = faiss.fvec_L2sqr_by_idx  # type: ignore[attr-defined]
    squared, queries = np.empty(slots.shape, np.float32), queries.contiguous()
    arrays = (squared, queries.numpy(), rows.numpy(), slots)
    by_slot(*map(faiss.swig_ptr, arrays), rows.shape[1], *slots.shape)
    return squared


def torch_search(
    rows: Tensor,
    queries: Tensor,
    k: int,
    by_distance: bool,
    block: int | None = None,
    most_bytes: int | None = None,
) -> Tensor:
    """The same search in torch, on any device and in any precision, in blocks whose scores fit into so many bytes.

    Args:
        rows: `[n, W]`
        queries: `[B, W]`
        k: How many, at most n.
        by_distance: By L2 distance, else by inner product.
        block: Rows at a time; by default as many as fit.
        most_bytes: What a search may take up beside its answer; by default what such a device has to spare.

    Returns:
        `[B, k]`
    """
    if most_bytes is None:
        most_bytes = MOST_BYTES.get(rows.device.type, MOST_BYTES_ELSEWHERE)
    size = rows.element_size()
    each = 2 * size + 16  # bytes of a score on its way to the best: itself, the best before, their columns
    at_once = max(1, most_bytes // (2 * each * (k + MOST_QUERIES)))
    if len(queries) > at_once:
        parts = [torch_search(rows, some, k, by_distance, block, most_bytes) for some in queries.split(at_once)]
        return torch.cat(parts)
    fits = most_bytes // (each * max(1, len(queries)) + 2 * size * rows.shape[1]) - k
    block = max(1, fits if block is None else block)

    def score(start: int) -> Tensor:
        part = rows[start : start + block]
        if not by_distance:
            return queries @ part.T  # [B, block]
        return torch.addmm(torch.linalg.vector_norm(part, dim=1).square_(), queries, part.T, beta=-1, alpha=2)

    return torch_topk(score, range(0, len(rows), block), k)[1]


def torch_topk(score: Callable[[int], Tensor], starts: range, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores, best first, and their columns, when `score(start)` gives those of one block.  `[B, k]`s."""
    best: list[Tensor] = []
    slots: list[Tensor] = []
    for start in starts:
        values, columns = largest(score(start), k)
        values, columns = torch.cat([*best, values], 1), torch.cat([*slots, columns + start], 1)
        top = values.topk(min(k, values.shape[1]), dim=1)
        best, slots = [top.values], [columns.gather(1, top.indices)]
    return best[0], slots[0]


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, and their columns, in one pass over all: they lie in the k groups of largest maxima.

    Args:
        values: `[B, n]`
        k: How many; all if there are fewer.

    Returns:
        `[B, k]`s
    """
    groups = values.shape[1] // GROUP
    if groups < 2 * k or values.numel() < MANY:
        top = values.topk(min(k, values.shape[1]), dim=1)
        return top.values, top.indices
    grouped = values[:, : groups * GROUP].unflatten(1, (groups, GROUP))  # [B, groups, GROUP]
    inside = torch.arange(GROUP, device=values.device)
    most = grouped.amax(2).topk(k, dim=1).indices  # [B, k]
    rest = torch.arange(groups * GROUP, values.shape[1], device=values.device).expand(len(values), -1)
    columns = torch.cat([(most.unsqueeze(2) * GROUP + inside).flatten(1), rest], 1)  # [B, k GROUP + n % GROUP]
    top = values.gather(1, columns).topk(k, dim=1)
    return top.values, columns.gather(1, top.indices)
