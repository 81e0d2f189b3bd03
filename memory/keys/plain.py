"""Keys that are one vector: a row is the key, and the nearest rows are the nearest keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.keys.space import KeyInput, Keys, KeySpace, Present, largest_of, too_large, unit
from engram_rl.memory.waiting import Checks

SEEN = 4096
"""Rows from which middle and spread of the keys are taken."""

FAR = 1e15
"""What a row without an entry holds, so that the search ranks it last; its square is still finite in float32."""


class PlainStore:
    """A `KeyStore` of one vector modality; nothing can be absent, and there are no codes."""

    by_distance = True
    doubt: Tensor | None = None

    def __init__(self, space: KeySpace, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        self.space = space
        self._modality = space.modalities[0]
        self._largest = largest_of(self._modality)
        self.rows = zeros(capacity, self.row_width(space), dtype=dtype, device=device)  # [N, D]
        self.codes = torch.zeros(capacity, 0, dtype=torch.int64, device=device)
        self.present = zeros(capacity, 1, dtype=torch.bool, device=device)
        self.squares = zeros(capacity, dtype=dtype, device=device)  # [N], of each row: its squared length
        self.centre: Tensor | None = None
        self._ones = torch.ones(space.vector_size, 1, dtype=dtype, device=device)
        self.column_weights = torch.full((space.vector_size,), self._modality.weight, dtype=dtype, device=device)

    @property
    def vectors(self) -> Tensor:
        """The rows.  `[N, D]`."""
        return self.rows

    @staticmethod
    def row_width(space: KeySpace) -> int:
        """Numbers in a row: those of the key."""
        return space.vector_size

    def pack(self, keys: KeyInput, present: Present = None, checks: Checks | None = None) -> Keys:
        """One tensor, flat or by name, is checked here; everything else, and whatever is wrong, by the key space."""
        part = keys.get(self._modality.name) if isinstance(keys, Mapping) and len(keys) == 1 else keys
        vectors = self._vectors(part, checks) if isinstance(part, Tensor) and present is None else None
        if vectors is None:
            return self.space.pack(keys, present, dtype=self.rows.dtype, device=self.rows.device, checks=checks)
        rows, device = vectors.shape[0], vectors.device
        codes = torch.empty(rows, 0, dtype=torch.int64, device=device)
        given = torch.ones(rows, 1, dtype=torch.bool, device=device)
        if self._modality.kind == "cosine":
            vectors = unit(self._modality.name, vectors, given[:, 0], checks)
        return Keys(vectors, codes, given)

    def queries(self, query: Keys) -> Tensor:
        """The keys.  `[B, D]`."""
        return query.vectors

    def distances(self, query: Keys, entries: Keys) -> Tensor:
        """`weight |q - x|^2`.  `[B, k]`."""
        return self._squared(query, entries.vectors)

    def distances_at(self, query: Keys, slots: Tensor, vectors: Tensor | None = None) -> Tensor:
        """`weight |q - x|^2`.  `[B, k]`."""
        return self._squared(query, torch.embedding(self.rows, slots) if vectors is None else vectors)

    def parts_at(self, query: Keys, slots: Tensor, vectors: Tensor | None = None) -> Tensor:
        """`|q - x|^2`.  `[B, k, 1]`."""
        entries = torch.embedding(self.rows, slots) if vectors is None else vectors
        return (query.vectors.unsqueeze(1) - entries).square() @ self._ones

    def weighted(self, parts: Tensor, query: Keys) -> Tensor:
        """The part by its weight, where it is asked for.  `[B, k, 1]` -> `[B, k]`."""
        return (parts.squeeze(2) * self._modality.weight).masked_fill(~query.present, 0)

    def penalties(self) -> Tensor:
        """What the modality states, else nothing: no entry lacks it.  `[1]`."""
        return self.rows.new_full((1,), self._modality.penalty or 0.0)

    def assume(self, penalties: Tensor) -> None:
        """No entry lacks anything."""

    def settle(self, doubtful: bool) -> None:
        """Nothing is ever in doubt."""

    def rounding(self, query: Keys, near: Tensor) -> Tensor:
        """A few units in the last place of the largest terms, `weight (2 |q - c| + |q - x|)^2`.  `[B]`."""
        weight, vectors = self._modality.weight, query.vectors
        away = torch.linalg.vector_norm(vectors if self.centre is None else vectors - self.centre, dim=1)
        terms = (2 * away + (near / weight).sqrt()).square() * weight
        return 8 * torch.finfo(near.dtype).eps * terms

    def see_from_amid(self, used: int) -> bool:
        """Put the centre in the middle of the keys, if it is farther from there than they are spread."""
        entries = self.present[:used, 0].nonzero().squeeze(1)
        some = self.rows[entries[:: len(entries) // SEEN + 1]].to(torch.float64)
        middle = some.mean(0)
        off = middle if self.centre is None else middle - self.centre
        amid = bool(off.square().sum() <= (some - middle).square().sum(1).mean())
        before, now = self.centre, middle.to(self.rows.dtype)
        if amid or not now.isfinite().all() or (before is not None and torch.equal(before, now)):
            return False
        self.centre = now
        return True

    def groups(self, query: Keys, used: int) -> None:
        """There are no codes."""

    def latest(self, query: Keys, k: int, used: int) -> None:
        """There are no codes."""

    def latest_first(self, slots: Tensor) -> Tensor:
        """As they are: it matters to codes only.  `[m]`."""
        return slots

    def put(self, slots: Tensor, keys: Keys, used: int) -> None:
        """Store new or replacing keys."""
        self.present.index_fill_(0, slots, True)
        self.rows[slots] = keys.vectors
        self._square(slots, keys.vectors)

    def as_kept(self, slots: Tensor, vectors: Tensor, checks: Checks | None = None) -> Tensor:
        """Keys, of unit length if they are directions.  `[n, D]`."""
        if self._modality.kind != "cosine":
            return vectors
        return unit(self._modality.name, vectors, self.present[slots, 0], checks)

    def move(self, slots: Tensor, vectors: Tensor) -> None:
        """Put keys elsewhere.  `[n, D]`."""
        self.rows.index_copy_(0, slots, vectors)
        self._square(slots, vectors)

    def erase(self, slots: Tensor) -> None:
        """Put these rows farther away than any entry."""
        self.rows.index_fill_(0, slots, FAR)
        self._square(slots, self.rows[slots])
        self.present.index_fill_(0, slots, False)

    def state_dict(self, used: int) -> dict[str, Any]:
        """Nothing beside the rows."""
        return {}

    def load_state_dict(self, state: dict[str, Any], used: int) -> None:
        """Restore what `state_dict` gave."""
        torch.linalg.vector_norm(self.rows[:used], dim=1, out=self.squares[:used])
        self.squares[:used].square_()

    def _square(self, slots: Tensor, vectors: Tensor) -> None:
        self.squares[slots] = torch.linalg.vector_norm(vectors, dim=1).square_()

    def _vectors(self, part: Tensor, checks: Checks | None) -> Tensor | None:
        """What is given in this store's precision, if it is well."""
        if part.dim() != 2 or part.shape[1] != self.rows.shape[1] or part.is_complex():
            return None
        vectors = part.to(dtype=self.rows.dtype, device=self.rows.device, non_blocking=not part.is_cuda)
        if not part.is_floating_point():
            return None  # integers that would be rounded are looked for there
        if vectors.numel():
            largest = torch.linalg.vector_norm(vectors.detach(), ord=math.inf)
            if checks is not None:
                checks.append((largest <= self._largest, lambda: too_large(self._modality)))
            elif not largest.item() <= self._largest:  # NaN included
                return None
        return vectors

    def _squared(self, query: Keys, entries: Tensor) -> Tensor:
        squared = (query.vectors.unsqueeze(1) - entries).square().sum(-1)  # [B, k]
        return squared if self._modality.weight == 1 else squared * self._modality.weight
