"""Sequences in which episodes begin, as pieces without a beginning that are laid side by side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor


class Pieces:
    """Where each step of T x B goes when every row is cut where an episode begins.

    However many episodes there are, a core then takes as many steps as the longest piece has, on as many rows as there
    are pieces of that length or more: the pieces are sorted by length, the longest first, so that those still going on
    are always the first ones.

    Args:
        reset: Which inputs open an episode. `[T, B]` of bool

    Attributes:
        count: K, how many pieces there are.
        sizes: How many pieces have a step 0, 1, ... `[L]` of int64 on the CPU, as PyTorch packs sequences
        first: Of each row its first piece. `[B]`
        last: Of each row its last piece. `[B]`
    """

    def __init__(self, reset: Tensor) -> None:
        piece, place = _numbered(reset)  # [T * B] each
        longest_first = piece.bincount().argsort(descending=True, stable=True)  # [K]
        rank = longest_first.argsort()  # [K]
        batch = reset.shape[1]
        self.count = len(rank)
        self.sizes = place.bincount().cpu()
        self.first, self.last = rank[piece[:batch]], rank[piece[-batch:]]
        self._shape = reset.shape
        self._order = (place * self.count + rank[piece]).argsort()  # step after step of all pieces side by side
        self._back = self._order.argsort()

    def laid_out(self, xs: Tensor) -> Tensor:
        """`[T, B, D]` to `[T * B, D]`: the first step of every piece, then the second of those that have one, ..."""
        return xs.flatten(0, 1)[self._order]

    def put_back(self, rows: Tensor) -> Tensor:
        """The inverse. `[T * B, D]` to `[T, B, D]`."""
        return rows[self._back].unflatten(0, self._shape)

    def runs(self) -> Iterator[tuple[int, int]]:
        """Steps that follow each other on the same pieces: how many pieces, and how many steps."""
        sizes = self.sizes.tolist()
        opens = [0, *(t for t in range(1, len(sizes)) if sizes[t] != sizes[t - 1]), len(sizes)]
        for start, end in pairwise(opens):
            yield sizes[start], end - start


def _numbered(reset: Tensor) -> tuple[Tensor, Tensor]:
    """Which piece each step belongs to, and its place there. `[T, B]` to `[T * B]`, `[T * B]`."""
    begins = reset.clone()
    begins[0] = True
    flat = begins.T.flatten()  # [B * T], one row's steps after the other's
    piece = flat.cumsum(0) - 1
    first = flat.nonzero().flatten()  # [K]
    place = torch.arange(len(flat), device=reset.device) - first[piece]
    return _in_time(piece, reset), _in_time(place, reset)


def _in_time(rows: Tensor, reset: Tensor) -> Tensor:
    """One row's steps after the other's to one step's rows after the other's. `[B * T]` to `[T * B]`."""
    return rows.unflatten(0, (reset.shape[1], reset.shape[0])).T.flatten()
