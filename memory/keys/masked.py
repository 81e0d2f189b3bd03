"""Keys of several modalities, any of which a query or an entry may lack: one search serves every mask.

A stored row is, side by side, with c a point amid the keys,

    vectors x | |x_m - c_m|^2 | lacks m | empty

and a query row weighs each column so that their inner product ranks entries by masked distance:

    2 w_m (q_m - c_m) | -w_m | w_m (|q_m - c_m|^2 + 2 (q_m - c_m) c_m - penalty_m) | -1

which is `sum_m w_m (|q_m - c_m|^2 + 2 (q_m - c_m) c_m) - d` for an entry at distance d. Terms are as large as keys are
far from c, not from the origin. Codes take no part: entries that have them are picked before (`coded.py`).
The first columns are the keys themselves (the truth); the others are a cache that `put` and `move` refresh.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.keys.coded import Codes, Group
from engram_rl.memory.keys.space import KeyInput, Keys, KeySpace, Present, unit
from engram_rl.memory.waiting import AT_HAND, Checks

LAST = 1e36
"""What the last column of a row without an entry holds, so that the search ranks it last."""

CANCELLED = 1e-8
"""Share of the largest sum of squares below which too few of its digits are left: it is summed up anew."""

SAME = 1e-28
"""Share of the mean's square below which a variance is nothing but its rounding."""


class MaskedStore:
    """A `KeyStore` of several modalities, or of codes."""

    by_distance = False

    def __init__(self, space: KeySpace, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        self.space = space
        self._discrete = [m for m, part in enumerate(space) if part.kind == "discrete"]
        self._continuous = [m for m, part in enumerate(space) if part.kind != "discrete"]
        self._of_codes = torch.tensor(self._discrete, dtype=torch.int64, device=device)
        self._of_vectors = torch.tensor(self._continuous, dtype=torch.int64, device=device)
        self._sizes = [space.modalities[m].size for m in self._continuous]
        owner = [m for m, size in zip(self._continuous, self._sizes, strict=True) for _ in range(size)]
        self._owner = torch.tensor(owner, dtype=torch.int64, device=device)  # [D], the modality of a column
        self.rows = zeros(capacity, self.row_width(space), dtype=dtype, device=device)  # [N, W]
        self.present = zeros(capacity, len(space), dtype=torch.bool, device=device)
        self.coded = Codes(space, capacity, self.present, device)
        self.codes = self.coded.codes
        self._weights = torch.tensor([m.weight for m in space], dtype=dtype, device=device)  # [M]
        self.column_weights = self._weights[self._owner]
        self.spread = Spread(space, dtype, device)
        self.centre = torch.zeros(space.vector_size, dtype=dtype, device=device)
        self._having = torch.zeros(len(space), dtype=torch.int64, device=device)  # [M], entries that have each
        self._penalties: Tensor | None = None
        """Of what is stored, once they have been asked for."""
        self.doubt: Tensor | None = None
        self._until_centred = 0
        self._end = 0
        """Slots from here on have never held an entry."""

    @property
    def vectors(self) -> Tensor:
        """The keys' vectors, in place: a view, made anew as pickling would copy one that is kept.  `[N, D]`."""
        return self.rows[:, : self.space.vector_size]

    @staticmethod
    def row_width(space: KeySpace) -> int:
        """Numbers in a row: the key's vectors, and what lets one search serve every mask."""
        continuous = sum(part.kind != "discrete" for part in space)
        columns = space.vector_size + continuous + len(space) + 1
        return -(-columns // 16) * 16  # rows of whole cache lines search faster

    def pack(self, keys: KeyInput, present: Present = None, checks: Checks | None = None) -> Keys:
        """Check keys and lay them out."""
        return self.space.pack(keys, present, dtype=self.rows.dtype, device=self.rows.device, checks=checks)

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
        return (parts * self._weights).masked_fill(~query.present.unsqueeze(1), 0).sum(-1)

    def penalties(self) -> Tensor:
        """What lacking each modality costs, as a squared distance.  `[M]`."""
        penalties = self._typical()
        if self.doubt is None:
            return penalties
        self.settle(bool(self.doubt))
        return self._typical()

    def _typical(self) -> Tensor:
        """The penalties, if nothing is in doubt.  `[M]`."""
        if self._penalties is None:
            lost = self.spread.lost_digits()
            if lost.device.type not in AT_HAND:
                self.doubt = lost
            elif lost:
                self._sum_up()
            self._penalties = self.spread.typical()
        return self._penalties

    def assume(self, penalties: Tensor) -> None:
        """Have these in place of what is stored, until that changes: it is part of something larger.  `[M]`."""
        self._penalties, self.doubt = penalties, None

    def settle(self, doubtful: bool) -> None:
        """The answer to `doubt`: whether the sums by which penalties go have to be begun anew."""
        self.doubt = None
        if doubtful:
            self._sum_up()
            self._penalties = None

    def _parts(self, query: Keys, entries: Keys) -> Tensor:
        squared = (query.vectors.unsqueeze(1) - entries.vectors).square()  # [B, k, D]
        parts = squared.new_zeros(*entries.present.shape)
        if self._continuous:
            parts[..., self._of_vectors] = self._by_part(squared)
        if self._discrete:
            same = self.coded.same(query.codes, entries.codes)
            parts[..., self._of_codes] = parts.new_zeros(same.shape).masked_fill(~same, torch.inf)
        return torch.where(entries.present, parts, self._typical())

    def _by_part(self, columns: Tensor) -> Tensor:
        """Sums over the columns of each continuous modality, without products of any precision.  `[..., D]`."""
        return torch.stack([part.sum(-1) for part in columns.split(self._sizes, -1)], -1)

    # ---- searching

    def groups(self, query: Keys, used: int) -> list[Group] | None:
        """Queries by the codes they ask for, each with the entries to compare; None if none asks for any."""
        return self.coded.groups(query, used, bool((self._having == used).all())) if self._discrete else None

    def latest(self, query: Keys, k: int, used: int) -> Tensor | None:
        """For queries that ask for codes alone: the k latest entries that have them; None if these are others."""
        return self.coded.latest(query, k, used) if self._discrete else None

    def latest_first(self, slots: Tensor) -> Tensor:
        """The slots in the order of their writes, the latest first.  `[m]`."""
        return self.coded.latest_first(slots)

    def queries(self, query: Keys) -> Tensor:
        """The rows to search for.  `[B, W]`."""
        asked = query.present * self._weights  # [B, M]
        out = self.rows.new_zeros(asked.shape[0], self.rows.shape[1])
        at = self.space.vector_size
        away = (query.vectors - self.centre) * query.present[:, self._owner]  # [B, D]
        out[:, :at] = 2 * away * asked[:, self._owner]
        lacking = -asked * self._typical()
        if self._continuous:
            lacking[:, self._of_vectors] += asked[:, self._of_vectors] * self._by_part(away * (away + 2 * self.centre))
        out[:, at : at + len(self._continuous)] = -asked[:, self._of_vectors]
        at += len(self._continuous)
        out[:, at : at + asked.shape[1]] = lacking
        out[:, -1] = -1
        return out

    def rounding(self, query: Keys, near: Tensor) -> Tensor:
        """A few units in the last place of the largest terms.  `[B]`.

        With a the weighted query and C the weighted centre, as seen from there: `(2 |a| + |q - x|)^2 + 4 |a| |C|`, and
        the penalties where entries lack anything.
        """
        root = self.column_weights.sqrt()
        away = ((query.vectors - self.centre) * root * query.present[:, self._owner]).norm(dim=1)  # [B]
        terms = (2 * away + near.sqrt()).square() + 4 * away * (self.centre * root).norm()
        lacking = (self._having != self._end).any()
        if lacking.device.type not in AT_HAND or lacking:
            terms = terms + (query.present * self._weights * self._typical() * lacking).sum(1)
        return 8 * torch.finfo(near.dtype).eps * terms

    def see_from_amid(self, used: int) -> bool:
        """No: the centre is seen to as keys change."""
        return False

    # ---- changing

    def put(self, slots: Tensor, keys: Keys, used: int) -> None:
        """Store new or replacing keys; slots from `used` on have never held an entry."""
        if not len(slots):
            return
        self._leave(slots)
        self._end = used
        self.present[slots] = keys.present
        self._having += keys.present.sum(0)
        if self._discrete:
            self.coded.put(slots, keys.codes)
        self.spread.add(keys.vectors, keys.present[:, self._owner])
        self._refresh(slots, keys.vectors, keys.present)
        self._centre_again(len(slots))

    def as_kept(self, slots: Tensor, vectors: Tensor, checks: Checks | None = None) -> Tensor:
        """Vectors as entries keep them: directions of unit length, and 0 where an entry lacks the part.  `[n, D]`."""
        if not self._continuous or not len(slots):
            return vectors
        present = self.present[slots]
        parts = []
        for m in self._continuous:
            part, has = self.space.modalities[m], present[:, m]
            moved = vectors[:, self.space.columns[part.name]].masked_fill(~has.unsqueeze(1), 0)
            parts.append(unit(part.name, moved, has, checks) if part.kind == "cosine" else moved)
        return torch.cat(parts, dim=1)

    def move(self, slots: Tensor, vectors: Tensor) -> None:
        """Put the vectors of existing entries elsewhere, which are `as_kept`.  `[n, D]`."""
        if not self._continuous or not len(slots):
            return  # codes stay where they are
        present = self.present[slots]
        has = present[:, self._owner]
        self.spread.remove(self.vectors[slots], has)
        self.spread.add(vectors, has)
        self._refresh(slots, vectors, present)
        self._centre_again(len(slots))

    def erase(self, slots: Tensor) -> None:
        """Make the search rank these rows behind every entry."""
        self._leave(slots)
        self._penalties = None
        self.coded.erase(slots)
        self.present.index_fill_(0, slots, False)
        self.rows.index_fill_(0, slots, 0)
        self.rows[:, -1].index_fill_(0, slots, LAST)

    def state_dict(self, used: int) -> dict[str, Any]:
        """The sums over the vectors, by which penalties go, where they are seen from, and the order of the writes."""
        centre = {"centre": self.centre.clone(), "until_centred": self._until_centred}
        return {"spread": self.spread.state_dict() | centre} | self.coded.state_dict(used)

    def load_state_dict(self, state: dict[str, Any], used: int) -> None:
        """Restore what `state_dict` gave, after the keys of `used` slots, from which all else is worked out."""
        self._end, self._penalties = used, None
        self._having = self.present[:used].sum(0)
        self._sum_up()
        self.spread.adopt(state["spread"])
        self.centre = state["spread"]["centre"].to(self.centre).clone()
        self._until_centred = int(state["spread"]["until_centred"])
        self.rows[:used, self.space.vector_size :] = 0
        self._refresh_all()
        self.coded.load_state_dict(state, used)

    def _leave(self, slots: Tensor) -> None:
        """What these slots held counts no more."""
        present = self.present[slots]
        if present.device.type not in AT_HAND or present.any():
            self._having -= present.sum(0)
            self.spread.remove(self.vectors[slots], present[:, self._owner])

    def _sum_up(self) -> None:
        """Begin the sums anew."""
        self.spread.clear()
        self.spread.add(self.vectors[: self._end], self.present[: self._end][:, self._owner])

    def _centre_again(self, changed: int) -> None:
        """See whether the centre is still amid the keys, once for as many changes as there are entries."""
        self._penalties = None
        self._until_centred -= changed
        if self._until_centred > 0:
            return
        off = self.spread.mean.to(self.centre) - self.centre
        away = (off.square() * self.column_weights).sum() > (self.spread.variance() * self.column_weights).sum()
        most, beside = torch.stack([self._having.max(), away]).tolist()
        self._until_centred = most
        if beside:
            self.centre = self.spread.mean.to(self.centre)
            self._refresh_all()

    def _refresh_all(self) -> None:
        slots = self.present[: self._end].any(1).nonzero().squeeze(1)
        for some in slots.split(2**16):
            self._refresh(some, self.vectors[some], self.present[some])

    def _refresh(self, slots: Tensor, vectors: Tensor, present: Tensor) -> None:
        columns = [vectors]
        if self._continuous:
            columns.append(self._by_part((vectors - self.centre).square()) * present[:, self._of_vectors])
        row = torch.cat([*columns, (~present).to(vectors)], dim=1)
        self.rows[slots] = torch.nn.functional.pad(row, (0, self.rows.shape[1] - row.shape[1]))


class Spread:
    """Mean and variance of the vectors that are stored now, column by column, in double precision.

    Batches are taken in and out by the rule of Chan et al. 1979. An outlier that goes takes the digits of the others
    with it; `lost_digits` says so, and the sums have to be begun anew from what is stored.

    Attributes:
        count: Entries that have the column. `[D]`
        mean: Of these. `[D]`
        squares: Sum of squared differences from the mean. `[D]`
    """

    def __init__(self, space: KeySpace, dtype: torch.dtype, device: torch.device) -> None:
        stated = [1.0 if part.penalty is None else part.penalty for part in space]
        self._stated = torch.tensor(stated, dtype=torch.float64, device=device)  # [M]
        unstated = [part.penalty is None and part.kind != "discrete" for part in space]
        self._unstated = [(m, space.columns[part.name]) for m, part in enumerate(space) if unstated[m]]
        self._size, self._dtype, self._device = space.vector_size, dtype, device
        self.clear()

    def clear(self) -> None:
        """Of no entries."""
        self.count, self.mean, self.squares, self._largest = (
            torch.zeros(self._size, dtype=torch.float64, device=self._device) for _ in range(4)
        )

    def add(self, vectors: Tensor, has: Tensor) -> None:
        """Take in keys `[n, D]` where they are present, `[n, D]` bool; absent numbers are 0."""
        self._take(*_sums(vectors, has))

    def _take(self, n: Tensor, mean: Tensor, squares: Tensor) -> None:
        total = (self.count + n).clamp(min=1)
        shift = mean - self.mean
        self.squares = self.squares + squares + shift.square() * self.count * n / total
        self.mean = self.mean + shift * n / total
        self.count = self.count + n
        self._largest = torch.maximum(self._largest, self.squares)

    def join(self, sums: dict[str, Tensor]) -> None:
        """Take in the keys of which another has these sums."""
        self._take(*(sums[name] for name in ("count", "mean", "squares")))

    def remove(self, vectors: Tensor, has: Tensor) -> None:
        """Leave out keys that were taken in."""
        n, mean, squares = _sums(vectors, has)
        left = self.count - n
        none = left <= 0
        mean_left = (self.mean + (self.mean - mean) * n / left.clamp(min=1)).masked_fill(none, 0)
        both = (mean - mean_left).square() * left * n / self.count.clamp(min=1)
        self.squares = (self.squares - squares - both).clamp(min=0).masked_fill(none, 0)
        self.mean, self.count = mean_left, left

    def lost_digits(self) -> Tensor:
        """Whether the sums have to be begun anew.  `[]` bool."""
        return ((self.squares < CANCELLED * self._largest) & (self.count > 0)).any()

    def variance(self) -> Tensor:
        """`[D]`, 0 where all are equal."""
        variance = self.squares / self.count.clamp(min=1)
        return variance.masked_fill(variance <= SAME * self.mean.square(), 0)

    def typical(self) -> Tensor:
        """The penalties that modalities state; else the mean squared distance of two entries drawn from those stored.

        Where that says nothing yet, since there is one entry or all are equal, what it would be of entries as far from
        the origin on either side; 1 at the origin, and for codes. `[M]`
        """
        variance, square = self.variance(), self.mean.square()
        typical = self._stated.clone()
        for m, columns in self._unstated:
            apart, away = variance[columns].sum(), square[columns].sum()
            typical[m] = 2 * torch.where(apart > 0, apart, away.masked_fill(away <= 0, 0.5))
        return typical.to(self._dtype)

    def state_dict(self) -> dict[str, Tensor]:
        """The sums."""
        return {"count": self.count.clone(), "mean": self.mean.clone(), "squares": self.squares.clone()}

    def adopt(self, state: dict[str, Tensor]) -> None:
        """Take saved sums in place of these if they are the same but for rounding: then all goes on to the bit."""
        count, mean, squares = (state[name].to(self.count) for name in ("count", "mean", "squares"))
        scale = self.mean.abs() + self.variance().sqrt()
        same = torch.equal(count, self.count) and bool(((mean - self.mean).abs() <= 1e-9 * scale).all())
        if same and torch.allclose(squares, self.squares, rtol=1e-6, atol=0):
            self.mean, self.squares = mean.clone(), squares.clone()  # the state stays its owner's


def typical_of(space: KeySpace, sums: list[dict[str, Tensor]], dtype: torch.dtype) -> Tensor:
    """What `Spread.typical` says of the keys of several stores together.

    Args:
        space: Of all of them.
        sums: As `Spread.state_dict` gives them.
        dtype: Of the keys.

    Returns:
        `[M]`
    """
    whole = Spread(space, dtype, torch.device("cpu"))
    for one in sums:
        whole.join(one)
    return whole.typical()


def _sums(vectors: Tensor, has: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number, mean, and sum of squared differences from it.  `[D]` each."""
    batch = vectors.to(torch.float64)
    n = has.sum(0).to(torch.float64)
    mean = batch.sum(0) / n.clamp(min=1)
    return n, mean, ((batch - mean).square() * has).sum(0)
