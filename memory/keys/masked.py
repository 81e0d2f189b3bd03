"""The key buffers, and beside them what one search for every mask needs.

With several modalities a stored row is, side by side,

    vectors x | signatures s of the discrete modalities | |x_m|^2 | lacks m | empty

and a query row weighs each column so that their inner product ranks entries by masked distance:

    2 w_m q_m | P s(q_m) | -w_m | w_m (|q_m|^2 - penalty_m), and a full match of P if discrete | -1

which is `sum_m w_m |q_m|^2 - d` up to a constant for an entry at distance d.
The first columns are the keys themselves (the truth); the others are a cache that `put` and `move` refresh. With one
vector modality a row is just the key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from engram_rl.memory.keys.space import Keys, KeySpace, unit

FAR = 1e15
"""What a row without an entry holds, so that the search ranks it last; its square is still finite in float32."""

SIGNATURE = 16
"""Columns of +-1 that stand for one discrete modality in the search."""

TABLED = 1024
"""Codes from 0 to below this have their signatures kept."""


class KeyStore:
    """Keys in preallocated rows, one per slot.

    Attributes:
        rows: What the search runs over; the keys' vectors are its first columns. `[N, W]`
        codes: Codes of the discrete modalities. `[N, C]` int64
        present: Which modalities an entry has. `[N, M]` bool
    """

    def __init__(self, space: KeySpace, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        self.space = space
        self.discrete = [m for m, part in enumerate(space) if part.kind == "discrete"]
        self.continuous = [m for m, part in enumerate(space) if part.kind != "discrete"]
        self.rows = torch.zeros(capacity, row_width(space), dtype=dtype, device=device)
        self.codes = torch.zeros(capacity, space.code_size, dtype=torch.int64, device=device)
        self.present = torch.zeros(capacity, len(space), dtype=torch.bool, device=device)
        self.weights = torch.tensor([m.weight for m in space], dtype=dtype, device=device)  # [M]
        self.membership = self._membership()  # [D, continuous M], 1 where a column belongs to a modality
        self.spread = Spread(space, dtype, device)

    @property
    def vectors(self) -> Tensor:
        """The keys' vectors, in place.  `[N, D]`."""
        return self.rows[:, : self.space.vector_size]

    def put(self, slots: Tensor, keys: Keys) -> None:
        """Store new or replacing keys."""
        self.codes[slots] = keys.codes
        self.present[slots] = keys.present
        self._refresh(slots, keys)
        if not self.space.plain:
            self.spread.add(keys)

    def move(self, slots: Tensor, vectors: Tensor) -> None:
        """Put the vectors of existing entries elsewhere; what an entry lacks stays absent.  `[n, D]`."""
        if self.space.plain and self.space.modalities[0].kind == "l2":
            self.rows.index_copy_(0, slots, vectors)
            return
        if not self.continuous:
            return  # codes stay where they are
        present = self.present[slots]
        parts = []
        for m in self.continuous:
            part, has = self.space.modalities[m], present[:, m]
            moved = torch.where(has.unsqueeze(1), vectors[:, self.space.columns[part.name]], 0)
            parts.append(unit(part.name, moved, has) if part.kind == "cosine" else moved)
        self._refresh(slots, Keys(torch.cat(parts, dim=1), self.codes[slots], present))

    def erase(self, slots: Tensor) -> None:
        """Make the search rank these rows behind every entry."""
        if self.space.plain:
            self.rows[slots] = FAR
        else:
            self.rows[slots] = 0
            self.rows[slots, -1] = FAR**2
        self.present[slots] = False

    def gather(self, slots: Tensor) -> Keys:
        """The keys at slots of any shape.  `[..., D]`, `[..., C]`, `[..., M]`."""
        return Keys(rows_at(self.vectors, slots), rows_at(self.codes, slots), rows_at(self.present, slots))

    def distances(self, query: Keys, entries: Keys) -> Tensor:
        """Weighted squared distance over the modalities a query asks for, differentiable; inf if a code differs.

        Args:
            query: B keys.
            entries: k for each of them: `[B, k, D]`, `[B, k, C]`, `[B, k, M]`.

        Returns:
            `[B, k]`
        """
        if self.space.plain:
            return self.plain_distances(query.vectors, entries.vectors)
        return self.weighted(self.part_distances(query, entries), query)

    def distances_at(self, query: Keys, slots: Tensor) -> Tensor:
        """The same, to the entries at `slots`.  `[B, k]` -> `[B, k]`."""
        if self.space.plain:
            return self.plain_distances(query.vectors, rows_at(self.rows, slots))
        return self.distances(query, self.gather(slots))

    def weighted(self, parts: Tensor, query: Keys) -> Tensor:
        """The sum of the parts that are asked for, by weight.  `[B, k, M]` -> `[B, k]`."""
        return torch.where(query.present.unsqueeze(1), parts * self.weights, 0).sum(-1)

    def part_distances(self, query: Keys, entries: Keys) -> Tensor:
        """Squared distance by modality: the penalty where an entry lacks it, inf where a code differs.  `[B, k, M]`."""
        squared = (query.vectors.unsqueeze(1) - entries.vectors).square()  # [B, k, D]
        parts = squared.new_zeros(*entries.present.shape)
        if self.continuous:
            parts[..., self.continuous] = squared @ self.membership
        if self.discrete:
            parts[..., self.discrete] = torch.where(self._same_codes(query, entries), 0.0, torch.inf).to(parts)
        return torch.where(entries.present, parts, self.penalties())

    def penalties(self) -> Tensor:
        """What lacking each modality costs, as a squared distance.  `[M]`."""
        return self.spread.typical()

    def queries(self, query: Keys) -> Tensor:
        """The rows to search for.  `[B, W]`."""
        if self.space.plain:
            return query.vectors
        asked = query.present * self.weights  # [B, M]
        out = self.rows.new_zeros(len(query), self.rows.shape[1])
        at = self.space.vector_size
        out[:, :at] = 2 * query.vectors * (asked[:, self.continuous] @ self.membership.T)
        lacking = -asked * self.penalties()
        lacking[:, self.continuous] += asked[:, self.continuous] * (query.vectors.square() @ self.membership)
        farther = self._beyond(query) if self.discrete else query.vectors.new_zeros(len(query))
        for m in self.discrete:
            beyond = farther * query.present[:, m]  # [B], more than any distance
            out[:, at : at + SIGNATURE] = signature(self._code(m, query.codes)) * beyond.unsqueeze(1)
            lacking[:, m] += SIGNATURE * beyond
            at += SIGNATURE
        out[:, at : at + len(self.continuous)] = -asked[:, self.continuous]
        at += len(self.continuous)
        out[:, at : at + len(self.space)] = lacking
        out[:, -1] = -1
        return out

    def _refresh(self, slots: Tensor, keys: Keys) -> None:
        if self.space.plain:
            self.rows[slots] = keys.vectors
            return
        columns = [keys.vectors]
        columns += [signature(self._code(m, keys.codes)) * keys.present[:, m : m + 1] for m in self.discrete]
        columns += [keys.vectors.square() @ self.membership, ~keys.present]
        row = torch.cat([c.to(self.rows.dtype) for c in columns], dim=1)
        self.rows[slots] = torch.nn.functional.pad(row, (0, self.rows.shape[1] - row.shape[1]))

    def _beyond(self, query: Keys) -> Tensor:
        lengths = query.vectors.norm(dim=1) + self.spread.longest
        return self.weights.max() * lengths.square() + (self.weights * self.penalties()).sum()

    def largest_term(self, query: Keys) -> Tensor:
        """No column of `queries` is larger in size.  `[B]`."""
        squared = self.weights.max() * query.vectors.square().sum(1)
        return SIGNATURE * self._beyond(query) + squared + (self.weights * self.penalties()).max() + 1

    def signatures_agree(self, query: Keys, entries: Keys) -> Tensor:
        """Whether the search could not tell an entry's codes from the query's.  `[B, k]` bool."""
        alike = self._same_codes(query, entries, signature)
        asked = query.present[:, self.discrete].unsqueeze(1)
        return (alike | ~entries.present[..., self.discrete] | ~asked).all(-1)

    def plain_distances(self, queries: Tensor, vectors: Tensor) -> Tensor:
        """For one vector modality, `[B, D]` and `[B, k, D]` -> `[B, k]`."""
        squared = (queries.unsqueeze(1) - vectors).square().sum(-1)  # [B, k]
        weight = self.space.modalities[0].weight
        return squared if weight == 1 else squared * weight

    def _same_codes(
        self, query: Keys, entries: Keys, seen_as: Callable[[Tensor], Tensor] = lambda codes: codes
    ) -> Tensor:
        """`[B, k, discrete M]` bool."""
        pairs = [(seen_as(self._code(m, query.codes)), seen_as(self._code(m, entries.codes))) for m in self.discrete]
        return torch.stack([(asked.unsqueeze(1) == stored).all(-1) for asked, stored in pairs], dim=-1)

    def _code(self, modality: int, codes: Tensor) -> Tensor:
        return codes[..., self.space.columns[self.space.names[modality]]]

    def _membership(self) -> Tensor:
        membership = self.rows.new_zeros(self.space.vector_size, len(self.continuous))
        for i, m in enumerate(self.continuous):
            membership[self.space.columns[self.space.names[m]], i] = 1
        return membership


def row_width(space: KeySpace) -> int:
    """Numbers in a row: the key's vectors, and what lets one search serve every mask."""
    if space.plain:
        return space.vector_size
    discrete = sum(part.kind == "discrete" for part in space)
    columns = space.vector_size + SIGNATURE * discrete + (len(space) - discrete) + len(space) + 1
    return -(-columns // 16) * 16  # rows of whole cache lines search faster


def entry_bytes(space: KeySpace, value_dim: int, dtype: torch.dtype) -> int:
    """Bytes that a slot takes up, all that is kept beside key and value included; links come on top."""
    return dtype.itemsize * (row_width(space) + value_dim) + 8 * space.code_size + len(space) + 64


def rows_at(buffer: Tensor, slots: Tensor) -> Tensor:
    """The rows of a buffer at slots of any shape.  `[N, ...]` at `[...]`."""
    return buffer.index_select(0, slots.reshape(-1)).reshape(*slots.shape, *buffer.shape[1:])


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
        for m, part in enumerate(self.space):
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
        typical = torch.ones(len(self.space), dtype=self._dtype, device=self.count.device)
        for m, part in enumerate(self.space):
            if part.penalty is not None:
                typical[m] = part.penalty
            elif part.kind != "discrete":
                typical[m] = 2 * variance[self.space.columns[part.name]].sum()
        return typical


def signature(codes: Tensor) -> Tensor:
    """+-1 columns of codes: they always differ between small codes, mostly between others.  `[..., S]` -> `[..., 16]`.

    Small is below 2**15 in size for one column, below 125 for two.
    """
    if codes.shape[-1] == 1 and codes.device.type == "cpu" and codes.numel():
        low, high = torch.aminmax(codes)
        if low >= 0 and high < TABLED:
            return _tabled()[codes.squeeze(-1)]
    return _computed_signature(codes)


@cache
def _tabled() -> Tensor:
    """Signatures of the codes that are met most.  `[TABLED, 16]`."""
    return _computed_signature(torch.arange(TABLED).unsqueeze(1))


def _computed_signature(codes: Tensor) -> Tensor:
    folded = torch.zeros_like(codes[..., 0])
    for code in codes.unbind(-1):
        mixed = folded * 251 + ((code << 1) ^ (code >> 63))  # signed to unsigned: 0, -1, 1, -2, ...
        folded = (mixed ^ (mixed >> 16) ^ (mixed >> 32) ^ (mixed >> 48)) & 0xFFFF
    folded = folded * 0x9E3779B1  # spreads small codes over all bits; odd, so codes stay distinct
    return ((folded.unsqueeze(-1) >> torch.arange(SIGNATURE, device=codes.device)) & 1) * 2 - 1
