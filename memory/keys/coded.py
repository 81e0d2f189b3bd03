"""Which entries have the codes that queries ask for: found before any distance is taken."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.keys.chains import Chains, words_of
from engram_rl.memory.keys.space import Keys, KeySpace

FEW = 8
"""Codes for which it is faster to compare all entries with each than to look all entries up among the codes."""

MOST_LACKING = 4
"""Discrete parts asked for at once, up to which entries that lack any of them are found by hashing too."""


MOST_WALKED = 512
"""Neighbours up to which walking along a list is faster than a pass over all codes."""


class Group(NamedTuple):
    """Queries that ask for the same codes.

    Attributes:
        queries: Which of the batch. `[n]`
        slots: Where the entries are that have these codes, or lack them. `[m]`
    """

    queries: Tensor
    slots: Tensor


class Codes:
    """The codes of all entries, and who has which.

    Distances need all entries with a code: one pass over the codes finds them, which costs little beside the search of
    as many vectors. Queries for codes alone need only the latest: lists by code, kept from the first such query on.

    Args:
        space: What a key is made of.
        capacity: Slots, N.
        device: Where the store lives.

    Attributes:
        codes: `[N, C]` int64
        present: Which modalities an entry has, `[N, M]` bool; shared with the store.
    """

    def __init__(self, space: KeySpace, capacity: int, present: Tensor, device: torch.device) -> None:
        self._parts = [m for m, part in enumerate(space) if part.kind == "discrete"]
        self._columns = [space.columns[space.names[m]] for m in self._parts]
        self._of = [i for i, c in enumerate(self._columns) for _ in range(c.stop - c.start)]  # [C], part of a column
        self.codes = zeros(capacity, space.code_size, dtype=torch.int64, device=device)
        self.present = present
        self._written = zeros(capacity if self._parts else 0, dtype=torch.int64, device=device)  # [N], when
        self._writes = 0
        self._chains: dict[tuple[int, ...], Chains] = {}
        """By discrete parts asked for, counted among these."""

    def same(self, asked: Tensor, stored: Tensor) -> Tensor:
        """Of codes `[B, C]` and `[B, k, C]`, by discrete part.  `[B, k, discrete M]` bool."""
        equal = asked.unsqueeze(1) == stored
        return torch.stack([equal[..., columns].all(-1) for columns in self._columns], dim=-1)

    def put(self, slots: Tensor, codes: Tensor) -> None:
        """Distinct entries were written in this order; the store has noted which parts they have."""
        self.codes[slots] = codes
        if not self._parts:
            return
        n = slots.shape[0]
        self._written[slots] = torch.arange(self._writes, self._writes + n, device=slots.device)
        self._writes += n
        for parts, chains in self._chains.items():
            chains.put(slots.cpu().numpy(), self._words(parts, codes, self.present[slots]))

    def erase(self, slots: Tensor) -> None:
        """These distinct slots hold no entry any more."""
        for chains in self._chains.values():
            chains.remove(slots.cpu().numpy())

    def groups(self, query: Keys, used: int, everyone: bool) -> list[Group] | None:
        """Queries by the codes they ask for, each with the entries to compare; None if none asks for any.

        Args:
            query: B keys.
            used: Slots from here on have never held an entry.
            everyone: Whether all used slots hold entries that lack nothing.
        """
        asked = query.present[:, self._parts]  # [B, discrete M]
        if not self._parts or not asked.any():
            return None
        groups: list[Group] = []
        kinds = np.unique(asked.cpu().numpy(), axis=0)
        for kind in kinds:
            parts = tuple(np.flatnonzero(kind).tolist())
            rows = (asked == torch.from_numpy(kind).to(asked.device)).all(1).nonzero().squeeze(1)
            groups += self._grouped(parts, rows, query, used, everyone)
        return groups

    def latest(self, query: Keys, k: int, used: int) -> Tensor | None:
        """For queries that ask for codes alone, and all for the same parts: the k latest entries that have them.

        Entries that lack some of the parts come behind, the latest first of each kind.

        Returns:
            -1 where there are no more, `[B, >= k]`; None if these are other queries.
        """
        asked = query.present[:1, self._parts]
        if k > MOST_WALKED or not asked.any() or not (query.present == query.present[:1]).all():
            return None
        parts = tuple(asked[0].nonzero().squeeze(1).tolist())
        others = len(parts) < int(query.present[0].sum())
        if others or len(parts) > MOST_LACKING or 1 < len(parts) < len(self._parts):
            return None
        chains = self._chains_of(parts, used)
        found = []
        for lacking in product((False, True), repeat=len(parts)):
            has = torch.ones_like(query.present)
            has[:, [self._parts[p] for p in parts]] = ~torch.tensor(lacking, device=has.device)
            found.append(chains.latest(self._words(parts, query.codes, has), k))
        return torch.from_numpy(np.concatenate(found, 1)).to(query.codes.device)

    def latest_first(self, slots: Tensor) -> Tensor:
        """The slots in the order of their writes, the latest first.  `[m]`."""
        return slots[self._written[slots].argsort(descending=True)]

    def state_dict(self, used: int) -> dict[str, Tensor]:
        """The order of the writes."""
        return {"written": self._written[:used].clone()} if self._parts else {}

    def load_state_dict(self, state: dict[str, Tensor], used: int) -> None:
        """Restore what `state_dict` gave; the codes are restored by who holds them."""
        self._chains.clear()
        if self._parts:
            self._written[:used] = state["written"].to(self._written)
            self._writes = int(self._written[:used].max()) + 1 if used else 0

    def _grouped(self, parts: tuple[int, ...], rows: Tensor, query: Keys, used: int, everyone: bool) -> list[Group]:
        """Queries that ask for these parts, by code."""
        if not parts:
            return [Group(rows, torch.arange(used, device=rows.device))]
        columns = [c for c, part in enumerate(self._of) if part in parts]
        has = None if everyone else self.present[:used][:, [self._parts[p] for p in parts]]  # [used, P]
        complete = None if has is None else has.all(1)
        if len(columns) == 1:
            wanted, held = query.codes[rows, columns[0]], self.codes[:used, columns[0]]
        else:
            wanted, held = (_mixed(codes[:, columns]) for codes in (query.codes[rows], self.codes[:used]))
        distinct, which = torch.unique(wanted, return_inverse=True)
        loose = None if has is None else ((~complete) & self.present[:used].any(1)).nonzero().squeeze(1)  # type: ignore[operator]
        groups = []
        for g, slots in enumerate(_holders(distinct, held, complete)):
            mine = (which == g).nonzero().squeeze(1)
            if len(columns) > 1:
                slots = slots[(self.codes[slots][:, columns] == query.codes[rows[mine[0]], columns]).all(1)]
            if loose is not None and len(loose):
                slots = torch.cat([slots, self._compatible(parts, query.codes[rows[mine[0]]], loose)])
            groups.append(Group(rows[mine], slots))
        return groups

    def _compatible(self, parts: tuple[int, ...], codes: Tensor, loose: Tensor) -> Tensor:
        """Of slots that lack some of the parts, those that have the others right.  `[C]`, `[m]`."""
        same = self.same(codes.unsqueeze(0), self.codes[loose].unsqueeze(0)).squeeze(0)  # [m, discrete M]
        fits = same | ~self.present[loose][:, self._parts]
        return loose[fits[:, list(parts)].all(1)]

    def _chains_of(self, parts: tuple[int, ...], used: int) -> Chains:
        """Lists by these parts; at the first call of all entries there are."""
        if parts not in self._chains:
            self._chains[parts] = Chains(len(self.codes))
            slots = self.present[:used].any(1).nonzero().squeeze(1)
            slots = self.latest_first(slots).flip(0)
            words = self._words(parts, self.codes[slots], self.present[slots])
            self._chains[parts].put(slots.cpu().numpy(), words)
        return self._chains[parts]

    def _words(self, parts: tuple[int, ...], codes: Tensor, present: Tensor) -> np.ndarray:
        columns = [c for c, part in enumerate(self._of) if part in parts]
        absent = ~present[:, [self._parts[self._of[c]] for c in columns]]
        return words_of(codes[:, columns].cpu().numpy(), absent.cpu().numpy())


def _mixed(codes: Tensor) -> Tensor:
    """One number for several, different for different ones but for chance.  `[n, C]` -> `[n]` int64."""
    word = codes[:, 0].clone()
    for column in codes.unbind(1)[1:]:
        word = word * -0x61C8864680B583EB + column  # wraps around
    return word


def _holders(distinct: Tensor, held: Tensor, complete: Tensor | None) -> list[Tensor]:
    """The slots that hold each of the distinct, ascending words, if they are complete.  `[G]`, `[used]`."""
    if len(distinct) <= FEW and held.device.type == "cpu":
        stored, counts = held.numpy(), None if complete is None else complete.numpy()
        equal = [stored == word for word in distinct.tolist()]
        return [torch.from_numpy(np.flatnonzero(e if counts is None else e & counts)) for e in equal]
    place = torch.searchsorted(distinct, held.contiguous()).clamp(max=len(distinct) - 1)
    match = distinct[place] == held
    slots = (match if complete is None else match & complete).nonzero().squeeze(1)
    group = place[slots]
    order = group.argsort(stable=True)
    return list(slots[order].split(torch.bincount(group, minlength=len(distinct)).tolist()))
