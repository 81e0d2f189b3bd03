"""Entries in lists by the nearest of some centres, each in a few bits, which faiss scans many at a time ("fast scan").

A key is seen from the middle of all, on the scale of their spread, and turned so that its numbers vary independently.
What it differs by from the centre of its list is kept in 4 bits for one or two numbers (product quantisation: Jégou et
al. 2011; in registers: André et al. 2017). Packed lists take no change in place: a key that moves is filed once more,
under a new name, and what was filed before is taken out when its list is tidied.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.indexes.exact import products_early

BITS = 4
LEVELS = 2**BITS

BY_ITSELF = 16
"""Numbers of a key up to which each has a code of its own; beyond, two share one."""

BLOCK = 32
"""Codes that are scanned at a time."""

BY_QUERY = 11
"""Of faiss's ways to scan, the one that takes query by query and keeps many candidates: fastest for some dozens."""

AT_ONCE = 1024
"""Queries whose distances from all centres are held at a time."""

GROUP = 8
"""Centres that are looked at together."""

FEW = 4096
"""Distances from centres among which the nearest are found faster without groups."""

FITTED_TO = 2048
"""Rows from which codes are learnt."""

SLOT = 2**32 - 1
"""The digits of a filing's name that say of which slot it is."""

FARTHEST = 1e6
"""Spreads from the middle, beyond which a key is filed at that distance."""


class PackedLists:
    """Slots by what their keys are near to.

    Args:
        view: How keys are seen.
        centres: Of the lists, along the main axes. `[L, P]`
        residuals: What some keys differ by from the centres of their lists, as seen. `[n, D']`
        levels: What codes stand for in each part of a key. `[parts, LEVELS, D' / parts]`
        capacity: Slots, N.

    Attributes:
        filed: Whether a slot is filed. `[N]` bool
        blur: Typical distance between a key and what its code says, on the scale of the keys.
    """

    def __init__(
        self, view: View, centres: np.ndarray, residuals: np.ndarray, levels: np.ndarray, capacity: int
    ) -> None:
        self.view, self.centres = view, centres
        size, main = residuals.shape[1], centres.shape[1]
        self._nearest = Nearest(torch.from_numpy(centres))
        self._flat = faiss.IndexFlatL2(main)
        self._flat.add(centres)
        self._along = faiss.LinearTransform(size, main, False)
        faiss.copy_array_to_vector(view.main_of_seen.numpy().ravel(), self._along.A)
        self._along.is_trained = self._along.is_orthonormal = True
        self._quantizer = faiss.IndexPreTransform(self._along, self._flat)
        file: Any = faiss.IndexIVFPQFastScan(
            self._quantizer, size, len(centres), len(levels), BITS, faiss.METRIC_L2, BLOCK
        )
        file.by_residual = True
        file.implem = BY_QUERY
        faiss.copy_array_to_vector(levels.ravel(), file.pq.centroids)
        file.precompute_table()
        file.is_trained = True
        self._file: Any = file
        decoded = file.pq.decode(file.pq.compute_codes(residuals))
        self.blur = float(np.sqrt(np.square(decoded - residuals).sum(1).mean())) * view.spread
        self.filed = np.zeros(capacity, dtype=bool)
        self._times = np.zeros(capacity, dtype=np.int32)
        """How often each slot has been filed; a filing is named by that and the slot. `[N]`"""
        self._packer = file.get_CodePacker()
        self.void = 0
        """Filings that no longer count."""
        self._next = 0
        """The list to be tidied next."""

    def __len__(self) -> int:
        """Slots that are filed."""
        return int(self._file.ntotal) - self.void

    def add(self, slots: np.ndarray, vectors: Tensor) -> None:
        """File distinct slots under these keys; what was filed of them before no longer counts.  `[n]`, `[n, D]`."""
        self.remove(slots)
        if len(slots):
            self._times[slots] += 1
            with products_early():
                self._file.add_with_ids(self.view.seen(vectors).numpy(), self._names(slots))
            self.filed[slots] = True

    def remove(self, slots: np.ndarray) -> None:
        """What is filed of distinct slots no longer counts.  `[n]`."""
        gone = slots[self.filed[slots]]
        if len(gone):
            self.void += len(gone)
            self.filed[gone] = False

    def tidy(self, lists: int) -> None:
        """Take what no longer counts out of so many lists, the next in turn."""
        for _ in range(lists if self.void else 0):
            self._tidy(self._next)
            self._next = (self._next + 1) % len(self.centres)

    def _tidy(self, which: int) -> None:
        """Write a list anew without them.

        faiss can remove entries too, but leaves their codes behind the end of a list, and mixes those that are added
        later with them.
        """
        filed: Any = faiss.downcast_InvertedLists(self._file.invlists)
        n = filed.list_size(which)
        names = faiss.rev_swig_ptr(filed.get_ids(which), n).copy() if n else np.empty(0, np.int64)
        stands = self._stands(names)
        if stands.all():
            return
        blocks = -(-n // BLOCK)
        packed = faiss.rev_swig_ptr(filed.get_codes(which), blocks * filed.block_size).reshape(blocks, -1)
        codes = np.empty((blocks, BLOCK, self._packer.code_size), np.uint8)
        for block, plain in zip(packed, codes, strict=True):
            self._packer.unpack_all(faiss.swig_ptr(block), faiss.swig_ptr(plain))
        kept = codes.reshape(-1, self._packer.code_size)[:n][stands]
        blocks = -(-len(kept) // BLOCK)
        codes = np.zeros((blocks, BLOCK, self._packer.code_size), np.uint8)
        codes.reshape(-1, self._packer.code_size)[: len(kept)] = kept
        packed = np.zeros((blocks, filed.block_size), np.uint8)
        for block, plain in zip(packed, codes, strict=True):
            self._packer.pack_all(faiss.swig_ptr(plain), faiss.swig_ptr(block))
        names = names[stands]
        filed.resize(which, 0)
        if len(names):
            filed.add_entries(which, len(names), faiss.swig_ptr(names), faiss.swig_ptr(packed))
        self._file.ntotal -= n - len(names)
        self.void -= n - len(names)

    def near(self, seen: Tensor, lists: Tensor, distances: Tensor, candidates: int) -> np.ndarray:
        """Slots whose codes are nearest, of those in some lists, -1 where there are no more.

        Args:
            seen: Queries. `[B, D']`
            lists: Where to look. `[B, n]`
            distances: From their centres, as `lists_near` gives them. `[B, n]`
            candidates: How many to give.

        Returns:
            `[B, candidates]`
        """
        self._file.nprobe = lists.shape[1]
        names = self._file.search_preassigned(seen.numpy(), candidates, lists.numpy(), distances.numpy())[1]
        return np.where(self._stands(names), names & SLOT, -1)

    def lists_near(self, seen: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """The lists with the nearest centres, and how near but for the same for all.  `[B, D']` -> `[B, n]`s."""
        return self._nearest(seen @ self.view.main_of_seen.T, n)

    @property
    def imbalance(self) -> float:
        """Factor by which uneven lists make searches slower."""
        return float(self._file.invlists.imbalance_factor())

    def _stands(self, names: np.ndarray) -> np.ndarray:
        """Which of these filings still count; -1 is none."""
        slots = names & SLOT
        stands = (names >= 0) & (self._times.take(slots, mode="clip") == names >> 32)
        return stands & self.filed.take(slots, mode="clip")

    def _names(self, slots: np.ndarray) -> np.ndarray:
        return self._times[slots].astype(np.int64) << 32 | slots


class Nearest:
    """The nearest of some centres, found group by group: the nearest n are in the n groups whose best are nearest.

    Args:
        centres: `[L, P]`
    """

    def __init__(self, centres: Tensor) -> None:
        missing = -len(centres) % GROUP
        self._squares = torch.nn.functional.pad(centres.square().sum(1), (0, missing), value=torch.inf)  # [L']
        self._transposed = torch.nn.functional.pad(centres, (0, 0, 0, missing)).T.contiguous()  # [P, L']

    def __call__(self, points: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Which, and their squared distances but for the points' own squares.  `[B, P]` -> `[B, n]` int64, `[B, n]`."""
        if len(points) > AT_ONCE:
            parts = [self(some, n) for some in points.split(AT_ONCE)]
            return torch.cat([lists for lists, _ in parts]), torch.cat([near for _, near in parts])
        distances = torch.addmm(self._squares, points, self._transposed, alpha=-2)  # [B, L']
        groups = distances.view(points.shape[0], -1, GROUP)
        if n >= groups.shape[1] or distances.numel() <= FEW:
            near, lists = distances.topk(n, dim=1, largest=False)
            return lists, near
        best = groups.amin(2).topk(n, dim=1, largest=False, sorted=False).indices  # [B, n]
        inside = groups.gather(1, best.unsqueeze(2).expand(-1, -1, GROUP)).flatten(1)  # [B, n GROUP]
        near, at = inside.topk(n, dim=1, largest=False)
        return best.gather(1, at // GROUP) * GROUP + at % GROUP, near


class View:
    """How keys are seen: from their middle, on the scale of their spread, turned; and along their main axes alone.

    Args:
        middle: Of the keys, weighted. `[D]`
        spread: Root of the mean squared distance from there.
        main: The main axes: orthonormal columns. `[D, P]`
        axes: What a key is turned by: orthonormal rows. `[D, D']`
    """

    def __init__(self, middle: Tensor, spread: float, main: Tensor, axes: Tensor) -> None:
        self._middle, self.spread, self._main = middle, spread, main
        self._turn = axes / spread
        self.main_of_seen = (main.T @ axes).contiguous()  # [P, D']

    def seen(self, vectors: Tensor) -> Tensor:
        """Weighted keys as seen.  `[n, D]` -> `[n, D']`."""
        return ((vectors - self._middle) @ self._turn).clamp_(-FARTHEST, FARTHEST)

    def unseen(self, points: Tensor) -> Tensor:
        """Weighted keys at these places along the main axes, in the middle of all others.  `[n, P]` -> `[n, D]`."""
        return points @ self._main.T * self.spread + self._middle
