"""Rows to be written: checked before anything changes, then placed, as if one were written after another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappush, heapreplace

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.checks import INTEGERS, LARGEST_VALUE, real, require_held
from engram_rl.memory.forgetting.policy import Forgetting, WrittenRows
from engram_rl.memory.indexes.exact import nearest_alike
from engram_rl.memory.indexes.index import Index
from engram_rl.memory.keys.identity import NOBODY, IdentityTable
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore
from engram_rl.memory.writing.slots import Slots

AT_ONCE = 128
"""Rows that are compared with each other."""


@dataclass(frozen=True)
class Batch:
    """Rows to be written.

    Attributes:
        keys: Of B rows.
        values: `[B, V]`
        priority: `[B]`
        identity: `[B]` int64; None if no row has one.
    """

    keys: Keys
    values: Tensor
    priority: Tensor
    identity: np.ndarray | None

    def __getitem__(self, rows: slice) -> Batch:
        identity = None if self.identity is None else self.identity[rows]
        return Batch(self.keys[rows], self.values[rows], self.priority[rows], identity)

    def distinct(self) -> int:
        """How many rows there are before the first whose identity an earlier row has."""
        if self.identity is None:
            return self.values.shape[0]
        first = np.unique(self.identity, return_index=True)[1]
        if len(first) == len(self.identity):
            return len(first)
        repeats = np.setdiff1d(np.arange(len(self.identity)), first, assume_unique=True)
        return int(repeats[0])


def checked_batch(keys: Keys, values: Tensor, priority: Tensor | None, identity: Tensor | None, like: Tensor) -> Batch:
    """The rows on the device and in the precision of `like`, the values stored so far `[N, V]`.

    Raises:
        ValueError: Shapes or numbers are not those of entries.
        TypeError: Something is no tensor.
    """
    rows, width = keys.vectors.shape[0], like.shape[1]
    if not isinstance(values, Tensor) or values.is_complex():
        real("values", values)
    if values.shape != (rows, width):
        raise ValueError(f"values have shape {tuple(values.shape)}; expected [{rows}, {width}]")
    if not values.is_floating_point():
        require_held("values", values, like.dtype, "scale it, or build the memory with dtype=torch.float64")
    values = values.to(like)
    if values.numel() and not torch.linalg.vector_norm(values.detach(), ord=math.inf) <= LARGEST_VALUE:
        raise ValueError(
            f"a value is NaN, infinite or above {LARGEST_VALUE:g} in size; values must be finite and smaller"
        )
    names = None if identity is None else checked_identity(identity)
    if names is not None and len(names) != rows:
        raise ValueError(f"identity has {len(names)} rows; expected {rows}")
    weights = like.new_zeros(rows) if priority is None else _checked_priority(priority, rows).to(like)
    return Batch(keys, values, weights, names)


def _checked_priority(priority: Tensor, rows: int) -> Tensor:
    if real("priority", priority).shape != (rows,):
        raise ValueError(f"priority has shape {tuple(priority.shape)}; expected [{rows}]")
    if priority.dtype not in (torch.float32, torch.float64):  # of which some hold no such number, some no order
        priority = priority.to(torch.float64)
    if not (sound := (priority >= 0) & (priority <= LARGEST_VALUE)).all():
        wrong = float(priority[~sound][0])
        raise ValueError(f"priority holds {wrong}; it must be at least 0 and at most {LARGEST_VALUE:g}: scale it")
    return priority


def checked_identity(identity: Tensor) -> np.ndarray:
    """Identities as an array.  `[B]` int64."""
    if real("identity", identity).dtype != torch.int64 or identity.dim() != 1:
        raise ValueError(f"identity is {identity.dtype} {tuple(identity.shape)}; expected int64 [batch]")
    names = identity.cpu().numpy()
    if (names == NOBODY).any():
        raise ValueError(f"identity {NOBODY} stands for none; use any other number")
    return names


def checked_slots(
    exclude: Tensor | tuple[Tensor, Tensor], rows: int, device: torch.device, generation: Tensor
) -> Tensor:
    """Slots to leave out, `[B]` or `[B, E]` -> `[B, E]` int64; -1 where the entry that is meant is gone.

    Args:
        exclude: Slots, or slots and the generation of the entry that is meant in each.
        rows: B.
        device: Where the memory lives.
        generation: Of the entry now in each slot. `[N]`

    Raises:
        TypeError: It is no tensor, nor a pair of two.
        ValueError: Shapes or types are not those of slots.
    """
    meant = None
    if isinstance(exclude, tuple | list):
        if len(exclude) != 2:
            raise TypeError(f"exclude has {len(exclude)} parts; give slots, or a pair (slots, generation[slots])")
        exclude, meant = exclude
    slots = real("exclude", exclude).to(device)
    slots = slots.unsqueeze(1) if slots.dim() == 1 else slots
    if slots.dim() != 2 or len(slots) != rows or slots.dtype != torch.int64:
        raise ValueError(
            f"exclude is {exclude.dtype} {tuple(exclude.shape)}; expected int64 [{rows}] or [{rows}, E] slots"
        )
    if meant is None:
        return slots
    if real("the generation in exclude", meant).shape != exclude.shape or meant.dtype not in INTEGERS:
        raise ValueError(
            f"the generation in exclude is {meant.dtype} {tuple(meant.shape)}; expected integers, one for each slot"
        )
    there = (slots >= 0) & (slots < len(generation))
    same = generation[slots.where(there, 0)] == meant.to(device).reshape(slots.shape)
    return slots.masked_fill(~(there & same), -1)


@dataclass(frozen=True)
class Placed:
    """Where the first rows of a batch go.

    Attributes:
        slots: Of all these rows; -1 for those that have made room again. `[C]`
        rows: Those that stay, and their slots. `[B]`
        kept: Which these are; None if all. `[B]` ascending
        fresh: The slots of those that are new entries, in order. `[n]`
        victims: Those of `fresh` whose entry makes room. `[v]`
        births: How many new entries each of `fresh` is given in turn; None for one each. `[n]`
    """

    slots: Tensor
    rows: WrittenRows
    kept: Tensor | None
    fresh: Tensor
    victims: Tensor
    births: Tensor | None


class Placing:
    """Which entry each row updates, by identity or by lying close to it, and which slot a new one gets.

    Rows are placed in pieces as large as may be stored at once with what row after row would give; nothing is changed.

    Args:
        updates: Whether a row may update an entry at all.
        within: Squared distance within which a row without an identity stands for the nearest entry of the same
            modalities; None: such rows are always new.
        store: Holds the keys.
        index: Searches them.
        slots: Which slots hold an entry.
        identities: Which slot an identity has.
        forgetting: Which entries make room.
    """

    def __init__(
        self,
        updates: bool,
        within: float | None,
        store: KeyStore,
        index: Index,
        slots: Slots,
        identities: IdentityTable,
        forgetting: Forgetting,
    ) -> None:
        self._updates = updates
        self._within = within if updates else None
        self._store, self._index = store, index
        self._slots, self._identities, self._forgetting = slots, identities, forgetting

    def first(self, batch: Batch) -> Placed:
        """Place rows up to the first that depends on an earlier one."""
        batch, known = self._matched(batch)
        new = known < 0
        fresh, victims = self._slots.for_new(int(new.sum()), self._forgetting)
        slots = fresh if fresh.shape[0] == new.shape[0] else known.masked_scatter(new, fresh)
        rows = WrittenRows(slots, new, batch.priority, batch.keys, batch.values)
        if victims.shape[0] and slots.shape[0] > 1 and self._entangled(rows, known, victims):
            births = getattr(self._forgetting, "births", lambda rows: None)(rows) if bool(new.all()) else None
            if births is None or self._undecided(victims, births):
                return self.first(batch[: slots.shape[0] // 2])
            return self._in_turn(rows, victims, births)
        return Placed(slots, rows, None, fresh, victims, None)

    def _in_turn(self, rows: WrittenRows, victims: Tensor, births: Tensor) -> Placed:
        """Place new rows of which one may make room for another: each in turn takes the place of the weakest."""
        slots = _taken(self._ranks(victims, births), victims.cpu().numpy(), rows.slots.cpu().numpy())
        total, every = len(slots), torch.from_numpy(slots).to(victims.device)
        _, last, births_of = np.unique(slots[::-1], return_index=True, return_counts=True)
        order = np.argsort(-last)  # by the turn that stays
        kept = torch.from_numpy(total - 1 - last[order]).to(victims.device)
        fresh = every[kept]
        stay = WrittenRows(
            fresh, rows.new[kept], rows.priority[kept], rows.keys[kept], rows.values[kept], turns=kept, together=total
        )
        births_each = torch.from_numpy(births_of[order]).to(victims.device)
        standing = torch.full_like(every, -1).index_copy_(0, kept, fresh)
        return Placed(standing, stay, kept, fresh, victims[torch.isin(victims, fresh)], births_each)

    def _undecided(self, victims: Tensor, births: Tensor) -> bool:
        """Whether it goes by their slots which of some equally weak rows is the weakest."""
        if getattr(self._forgetting, "since", None) is not None:
            return False
        score = torch.cat([self._forgetting.score[victims], births])
        return len(torch.unique(score)) < len(score)

    def _ranks(self, victims: Tensor, births: Tensor) -> np.ndarray:
        """The place of victims, ascending already, and of rows to come among them all, the weakest first.  `[v + B]`.

        Of one score, rows come behind entries, as they are used later, and in turn.
        """
        since = getattr(self._forgetting, "since", None)
        score = torch.cat([self._forgetting.score[victims], births]).cpu().numpy()
        used = np.full(len(score), np.inf)
        if since is not None:
            used[: len(victims)] = since[victims].cpu().numpy()
        ranks = np.empty(len(score), np.int64)
        ranks[np.lexsort((np.arange(len(score)), used, score))] = np.arange(len(score))
        return ranks

    def _matched(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The first rows, up to one that might stand for the entry of an earlier one; and their slots, -1 if new."""
        distinct, device = batch.distinct(), self._store.rows.device
        within = self._within
        batch = _up_to(batch, distinct if within is None else min(distinct, AT_ONCE))
        if self._updates and batch.identity is not None:
            known = torch.from_numpy(self._identities.find(batch.identity)).to(device)
        elif within is not None:
            known = self._close(batch, within)
        else:
            known = torch.full((batch.values.shape[0],), -1, device=device)
        if within is None:
            return batch, known
        rows = self._first_repeat(batch, known, within)
        return _up_to(batch, rows), known[:rows]

    def _close(self, batch: Batch, within: float) -> Tensor:
        """The slot of the nearest entry that has the same modalities, where it is near enough, else -1.  `[B]`."""
        near = nearest_alike(self._store, self._index, batch.keys, self._slots)
        match = near.valid.squeeze(1) & (near.distances.squeeze(1) <= within)
        return torch.where(match, near.slots.squeeze(1), -1)

    def _first_repeat(self, batch: Batch, known: Tensor, within: float) -> int:
        """The first row that an earlier one, once written, might attract."""
        keys, rows = batch.keys, batch.values.shape[0]
        every = Keys(*(part.expand(rows, *part.shape) for part in (keys.vectors, keys.codes, keys.present)))
        near = self._store.distances(keys, every) <= within  # [B, B]
        same = (known.unsqueeze(1) == known) & (known >= 0)
        repeats = (near | same).tril(-1).any(1).nonzero().squeeze(1)
        return int(repeats[0]) if len(repeats) else rows

    def _entangled(self, rows: WrittenRows, known: Tensor, victims: Tensor) -> bool:
        """Whether storing one row might change which entry makes room for another."""
        birth, last = self._forgetting.lowest_birth(rows), float(self._forgetting.score[victims[-1]])
        if birth < last or (birth == last and getattr(self._forgetting, "since", None) is None):
            return True  # otherwise later uses come later in the order
        return bool((known >= 0).any() and torch.isin(victims, known).any())


def _taken(ranks: np.ndarray, victims: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """The slot of each row if one after another takes the place of the weakest there is then.

    Args:
        ranks: The place among all of the victims, ascending, and of the rows. `[v + B]`
        victims: Slots of the weakest entries. `[v]`
        slots: Of the rows, where the first have free ones. `[B]`
    """
    weakest, rows = ranks[: len(victims)], ranks[len(victims) :]
    if len(victims) == len(rows) and rows.max() < weakest[1]:
        return np.full(len(rows), victims[0])  # in the place of the weakest, each in turn
    taken, heap = slots.tolist(), weakest.tolist()  # ascending, so a heap
    held = dict(zip(heap, victims.tolist(), strict=True))
    free = len(rows) - len(victims)
    for turn, rank in enumerate(rows.tolist()):
        if turn < free:
            heappush(heap, rank)
        else:
            taken[turn] = held[heapreplace(heap, rank)]
        held[rank] = taken[turn]
    return np.array(taken)


def _up_to(batch: Batch, rows: int) -> Batch:
    return batch if rows == batch.values.shape[0] else batch[:rows]
