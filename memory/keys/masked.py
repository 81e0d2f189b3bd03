"""Keys of several modalities, any of which a query or an entry may lack: one search serves every mask.

A stored row is, side by side,

    vectors x | signatures s of the discrete modalities | |x_m|^2 | lacks m | empty

and a query row weighs each column so that their inner product ranks entries by masked distance:

    2 w_m q_m | P s(q_m) | -w_m | w_m (|q_m|^2 - penalty_m), and a full match of P if discrete | -1

which is `sum_m w_m |q_m|^2 - d` up to a constant for an entry at distance d.
The first columns are the keys themselves (the truth); the others are a cache that `put` and `move` refresh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.keys.signatures import SIGNATURE, signature
from engram_rl.memory.keys.space import KeyInput, Keys, KeySpace, Present, unit

LAST = 1e30
"""What the last column of a row without an entry holds, so that the search ranks it last."""


class MaskedStore:
    """A `KeyStore` of several modalities, or of codes."""

    by_distance = False

    def __init__(self, space: KeySpace, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        self.space = space
        self._discrete = [m for m, part in enumerate(space) if part.kind == "discrete"]
        self._continuous = [m for m, part in enumerate(space) if part.kind != "discrete"]
        self.rows = torch.zeros(capacity, self.row_width(space), dtype=dtype, device=device)  # [N, W]
        self.vectors = self.rows[:, : space.vector_size]
        self.codes = torch.zeros(capacity, space.code_size, dtype=torch.int64, device=device)
        self.present = torch.zeros(capacity, len(space), dtype=torch.bool, device=device)
        self._weights = torch.tensor([m.weight for m in space], dtype=dtype, device=device)  # [M]
        self._membership = self._memberships()  # [D, continuous M], 1 where a column belongs to a modality
        self.column_weights = self._membership @ self._weights[self._continuous]
        self.spread = Spread(space, dtype, device)

    @staticmethod
    def row_width(space: KeySpace) -> int:
        """Numbers in a row: the key's vectors, and what lets one search serve every mask."""
        discrete = sum(part.kind == "discrete" for part in space)
        columns = space.vector_size + SIGNATURE * discrete + (len(space) - discrete) + len(space) + 1
        return -(-columns // 16) * 16  # rows of whole cache lines search faster

    def pack(self, keys: KeyInput, present: Present = None) -> Keys:
        """Check keys and lay them out."""
        return self.space.pack(keys, present, dtype=self.rows.dtype, device=self.rows.device)

    # ---- comparing

    def distances(self, query: Keys, entries: Keys) -> Tensor:
        """Weighted squared distance over the modalities a query asks for; inf if a code differs.  `[B, k]`."""
        return self.weighted(self._parts(query, entries), query)

    def distances_at(self, query: Keys, slots: Tensor, vectors: Tensor | None = None) -> Tensor:
        """The same to the entries at `slots`, with `vectors` in place of theirs if given.  `[B, k]`."""
        return self.weighted(self.parts_at(query, slots, vectors), query)

    def parts_at(self, query: Keys, slots: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Squared distance by modality: the penalty where an entry lacks it, inf where a code differs.  `[B, k, M]`."""
        if vectors is None:
            vectors = torch.embedding(self.vectors, slots)  # [B, k, D]
        return self._parts(
            query, Keys(vectors, torch.embedding(self.codes, slots), torch.embedding(self.present, slots))
        )

    def weighted(self, parts: Tensor, query: Keys) -> Tensor:
        """The sum of the parts that are asked for, by weight.  `[B, k, M]` -> `[B, k]`."""
        return torch.where(query.present.unsqueeze(1), parts * self._weights, 0).sum(-1)

    def penalties(self) -> Tensor:
        """What lacking each modality costs, as a squared distance.  `[M]`."""
        return self.spread.typical()

    def _parts(self, query: Keys, entries: Keys) -> Tensor:
        squared = (query.vectors.unsqueeze(1) - entries.vectors).square()  # [B, k, D]
        parts = squared.new_zeros(*entries.present.shape)
        if self._continuous:
            parts[..., self._continuous] = squared @ self._membership
        if self._discrete:
            parts[..., self._discrete] = torch.where(self._same_codes(query, entries.codes), 0.0, torch.inf).to(parts)
        return torch.where(entries.present, parts, self.penalties())

    def _same_codes(
        self, query: Keys, stored: Tensor, seen_as: Callable[[Tensor], Tensor] = lambda codes: codes
    ) -> Tensor:
        """Of queries and entries' codes `[B, k, C]`, by discrete modality.  `[B, k, discrete M]` bool."""
        pairs = [(seen_as(self._code(m, query.codes)), seen_as(self._code(m, stored))) for m in self._discrete]
        return torch.stack([(asked.unsqueeze(1) == stored).all(-1) for asked, stored in pairs], dim=-1)

    # ---- searching

    def queries(self, query: Keys) -> Tensor:
        """The rows to search for.  `[B, W]`."""
        asked = query.present * self._weights  # [B, M]
        out = self.rows.new_zeros(asked.shape[0], self.rows.shape[1])
        at = self.space.vector_size
        out[:, :at] = 2 * query.vectors * (asked[:, self._continuous] @ self._membership.T)
        lacking = -asked * self.penalties()
        lacking[:, self._continuous] += asked[:, self._continuous] * (query.vectors.square() @ self._membership)
        for m in self._discrete:
            beyond = self._beyond(query) * query.present[:, m]
            out[:, at : at + SIGNATURE] = signature(self._code(m, query.codes)) * beyond.unsqueeze(1)
            lacking[:, m] += SIGNATURE * beyond
            at += SIGNATURE
        out[:, at : at + len(self._continuous)] = -asked[:, self._continuous]
        at += len(self._continuous)
        out[:, at : at + asked.shape[1]] = lacking
        out[:, -1] = -1
        return out

    def rounding(self, query: Keys, near: Tensor) -> Tensor:
        """A few units in the last place of the largest terms, `(2 |q| + |q - x|)^2` or a match of codes.  `[B]`."""
        terms = (2 * query.vectors.norm(dim=1) + (near / self._weights.min()).sqrt()).square() * self._weights.max()
        if self._discrete:
            terms = terms + 16 * self.largest_term(query)
        return 8 * torch.finfo(near.dtype).eps * terms

    def comparable(self, query: Keys, slots: Tensor) -> Tensor:
        """Whether the signatures of all codes that a query asks for agree, so that distance decides.  `[B, k]` bool."""
        if not self._discrete:
            return torch.ones_like(slots, dtype=torch.bool)
        alike = self._same_codes(query, torch.embedding(self.codes, slots), signature)
        lacking = ~torch.embedding(self.present, slots)[..., self._discrete]
        asked = query.present[:, self._discrete].unsqueeze(1)
        return (alike | lacking | ~asked).all(-1)

    def largest_term(self, query: Keys) -> Tensor:
        """No column of `queries` is larger in size.  `[B]`."""
        squared = self._weights.max() * query.vectors.square().sum(1)
        return SIGNATURE * self._beyond(query) + squared + (self._weights * self.penalties()).max() + 1

    def _beyond(self, query: Keys) -> Tensor:
        """More than any distance.  `[B]`."""
        lengths = query.vectors.norm(dim=1) + self.spread.longest
        return self._weights.max() * lengths.square() + (self._weights * self.penalties()).sum()

    # ---- changing

    def put(self, slots: Tensor, keys: Keys) -> None:
        """Store new or replacing keys."""
        self.codes[slots] = keys.codes
        self.present[slots] = keys.present
        self._refresh(slots, keys)
        self.spread.add(keys)

    def move(self, slots: Tensor, vectors: Tensor) -> None:
        """Put the vectors of existing entries elsewhere; what an entry lacks stays absent.  `[n, D]`."""
        if not self._continuous:
            return  # codes stay where they are
        present = self.present[slots]
        parts = []
        for m in self._continuous:
            part, has = self.space.modalities[m], present[:, m]
            moved = torch.where(has.unsqueeze(1), vectors[:, self.space.columns[part.name]], 0)
            parts.append(unit(part.name, moved, has) if part.kind == "cosine" else moved)
        self._refresh(slots, Keys(torch.cat(parts, dim=1), self.codes[slots], present))

    def erase(self, slots: Tensor) -> None:
        """Make the search rank these rows behind every entry."""
        self.rows[slots] = 0
        self.rows[slots, -1] = LAST
        self.present[slots] = False

    def state_dict(self, used: int) -> dict[str, Any]:
        """The spread of the vectors, by which penalties go."""
        return {"spread": self.spread.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.spread.load_state_dict(state["spread"])

    def _refresh(self, slots: Tensor, keys: Keys) -> None:
        columns = [keys.vectors]
        columns += [signature(self._code(m, keys.codes)) * keys.present[:, m : m + 1] for m in self._discrete]
        columns += [keys.vectors.square() @ self._membership, ~keys.present]
        row = torch.cat([c.to(self.rows.dtype) for c in columns], dim=1)
        self.rows[slots] = torch.nn.functional.pad(row, (0, self.rows.shape[1] - row.shape[1]))

    def _code(self, modality: int, codes: Tensor) -> Tensor:
        return codes[..., self.space.columns[self.space.names[modality]]]

    def _memberships(self) -> Tensor:
        membership = self.rows.new_zeros(self.space.vector_size, len(self._continuous))
        for i, m in enumerate(self._continuous):
            membership[self.space.columns[self.space.names[m]], i] = 1
        return membership


class Spread:
    """Running mean and variance of the stored vectors: how far apart two entries typically are."""

    def __init__(self, space: KeySpace, dtype: torch.dtype, device: torch.device) -> None:
        self.space = space
        self.count = torch.zeros(space.vector_size, dtype=torch.float64, device=device)
        self.mean = torch.zeros_like(self.count)
        self.squares = torch.zeros_like(self.count)
        self.longest = 0.0
        """No stored vector was ever longer than this."""
        self._dtype = dtype
        self._typical: Tensor | None = None

    def add(self, keys: Keys) -> None:
        """Take in a batch of stored keys (Chan et al. 1979, parallel variance)."""
        has = torch.zeros_like(keys.vectors, dtype=torch.bool)
        for m, part in enumerate(self.space.modalities):
            if part.kind != "discrete":
                has[:, self.space.columns[part.name]] = keys.present[:, m : m + 1]
        self._typical = None
        batch = keys.vectors.to(torch.float64)
        n = has.sum(0)  # [D]
        mean = batch.sum(0) / n.clamp(min=1)  # absent values are 0
        squares = ((batch - mean).square() * has).sum(0)
        total = (self.count + n).clamp(min=1)
        shift = mean - self.mean
        self.squares += squares + shift.square() * self.count * n / total
        self.mean += shift * n / total
        self.count += n
        self.longest = max(self.longest, float(batch.square().sum(1).max().sqrt()))

    def state_dict(self) -> dict[str, Tensor]:
        """The running sums."""
        longest = torch.tensor(self.longest, dtype=torch.float64)
        sums = {"count": self.count, "mean": self.mean, "squares": self.squares}
        return {name: x.clone() for name, x in sums.items()} | {"longest": longest}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave."""
        for name, mine in (("count", self.count), ("mean", self.mean), ("squares", self.squares)):
            mine.copy_(state[name])
        self._typical = None
        self.longest = float(state["longest"])

    def typical(self) -> Tensor:
        """The penalties that modalities state; else twice the variance, the mean squared distance of two entries.

        `[M]`, 1 if discrete; computed once for what is stored.
        """
        if self._typical is None:
            self._typical = self._computed()
        return self._typical

    def _computed(self) -> Tensor:
        variance = self.squares / self.count.clamp(min=1)
        typical = torch.ones(len(self.space.modalities), dtype=self._dtype, device=self.count.device)
        for m, part in enumerate(self.space.modalities):
            if part.penalty is not None:
                typical[m] = part.penalty
            elif part.kind != "discrete":
                typical[m] = 2 * variance[self.space.columns[part.name]].sum()
        return typical
