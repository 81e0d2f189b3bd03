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
from engram_rl.memory.waiting import AT_HAND, Checks, told
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


def checked_batch(
    keys: Keys,
    values: Tensor,
    priority: Tensor | None,
    identity: Tensor | None,
    like: Tensor,
    checks: Checks | None = None,
) -> Batch:
    """The rows on the device and in the precision of `like`, the values stored so far `[N, V]`.

    Numbers are checked here, unless `checks` takes what is to be checked of them.

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
    values = values.to(like, non_blocking=not values.is_cuda)
    if values.numel():
        sound = torch.linalg.vector_norm(values.detach(), ord=math.inf) <= LARGEST_VALUE
        if checks is not None:
            checks.append((sound, _value_too_large))
        elif not sound:
            raise _value_too_large()
    names = None if identity is None else checked_identity(identity)
    if names is not None and len(names) != rows:
        raise ValueError(f"identity has {len(names)} rows; expected {rows}")
    if priority is None:
        return Batch(keys, values, like.new_zeros(rows), names)
    weights = _checked_priority(priority, rows, checks)
    return Batch(keys, values, weights.to(like, non_blocking=not weights.is_cuda), names)


def _value_too_large() -> ValueError:
    return ValueError(f"a value is NaN, infinite or above {LARGEST_VALUE:g} in size; values must be finite and smaller")


def _checked_priority(priority: Tensor, rows: int, checks: Checks | None) -> Tensor:
    if real("priority", priority).shape != (rows,):
        raise ValueError(f"priority has shape {tuple(priority.shape)}; expected [{rows}]")
    if priority.dtype not in (torch.float32, torch.float64):  # of which some hold no such number, some no order
        priority = priority.to(torch.float64)
    sound = (priority >= 0) & (priority <= LARGEST_VALUE)
    if checks is not None and priority.device.type not in AT_HAND:
        checks.append((sound.all(), lambda: _priority_out_of_range(priority[~sound])))
    elif not sound.all():
        raise _priority_out_of_range(priority[~sound])
    return priority


def _priority_out_of_range(wrong: Tensor) -> ValueError:
    return ValueError(
        f"priority holds {float(wrong[0])}; it must be at least 0 and at most {LARGEST_VALUE:g}: scale it"
    )


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
            raise TypeError(
                f"exclude has {len(exclude)} parts; give slots as a tensor, or a pair of tensors, "
                "(slots, generation[slots])"
            )
        exclude, meant = exclude
    slots = real("exclude", exclude).to(device, non_blocking=not exclude.is_cuda)
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
    same = generation[slots.masked_fill(~there, 0)] == meant.to(device, non_blocking=not meant.is_cuda).reshape(
        slots.shape
    )
    return slots.masked_fill(~(there & same), -1)


@dataclass(frozen=True)
class Placed:
    """Where the first rows of a batch go.

    Attributes:
        slots: Of all these rows; -1 for those that have made room again. `[C]`
        rows: Those that stay, and their slots. `[B]`
        kept: Which these are; None if all. `[B]` ascending
        again: Which of those that stay write an entry again. `[m]` ascending
        fresh: The slots of the others, which are new entries, in order. `[n]`
        victims: Those of `fresh` whose entry makes room. `[v]`
        births: How many new entries each of `fresh` is given in turn; None for one each. `[n]`
        fresh_told: `fresh` on the host; empty where no identity and no victim needs it. `[n]`
        victims_told: `victims` on the host. `[v]`
    """

    slots: Tensor
    rows: WrittenRows
    kept: np.ndarray | None
    again: np.ndarray
    fresh: Tensor
    victims: Tensor
    births: np.ndarray | None
    fresh_told: np.ndarray
    victims_told: np.ndarray


@dataclass(frozen=True)
class Rivals:
    """What decides who makes room for whom, on the host.

    Attributes:
        slots: Of new entries, the last of them in place of the weakest. `[n]`
        score: Of the entries that make room, ascending. `[v]`
        since: What orders equal scores among these; None if nothing does. `[v]`
        lowest_birth: A score that no new entry falls short of.
    """

    slots: np.ndarray
    score: np.ndarray
    since: np.ndarray | None
    lowest_birth: float

    @property
    def victims(self) -> np.ndarray:
        """Where the entries are that make room.  `[v]`."""
        return self.slots[len(self.slots) - len(self.score) :]

    def may_be_stronger(self) -> bool:
        """Whether one of the entries that make room might stand in the order behind a new one."""
        birth, last = self.lowest_birth, self.score[-1]
        return birth < last or (birth == last and self.since is None)  # otherwise later uses come later in the order

    def apart(self, known: np.ndarray) -> int:
        """Rows before one that writes an entry again which makes room for another of them; their slots are `[B]`."""
        writers = np.flatnonzero(np.isin(known, self.victims)) if len(self.slots) < len(known) else known[:0]
        if not len(writers):
            return len(known)
        newcomers = np.flatnonzero(known < 0)[len(self.slots) - len(self.score) :]  # [v], one for each victim
        order = np.argsort(self.victims)
        met = order[np.searchsorted(self.victims, known[writers], sorter=order)]
        return int(np.maximum(writers, newcomers[met]).min())

    def meet_in_one(self, births: np.ndarray) -> bool:
        """Whether each row to come takes the place of the one before it: only the weakest entry is as weak as they."""
        return len(self.score) == len(births) and bool(births.max() < self.score[1])

    def undecided(self, births: np.ndarray) -> bool:
        """Whether it goes by their slots which of some equally weak rows is the weakest."""
        score = np.concatenate([self.score, births])
        return self.since is None and len(np.unique(score)) < len(score)

    def ranks(self, births: np.ndarray) -> np.ndarray:
        """The place of victims, ascending already, and of rows to come among them all, the weakest first.  `[v + B]`.

        Of one score, rows come behind entries, as they are used later, and in turn.
        """
        score = np.concatenate([self.score, births])
        used = np.full(len(score), np.inf)
        if self.since is not None:
            used[: len(self.since)] = self.since
        ranks = np.empty(len(score), np.int64)
        ranks[np.lexsort((np.arange(len(score)), used, score))] = np.arange(len(score))
        return ranks


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

    def first(self, batch: Batch, checks: Checks | None = None) -> Placed:
        """Place rows up to the first that depends on an earlier one, if these checks hold."""
        batch, known = self._matched(batch)
        new, device = known < 0, self._store.rows.device
        count = int(np.count_nonzero(new))
        fresh, victims = self._slots.for_new(count, self._forgetting)
        if count == len(new):
            marks, slots = torch.ones(count, dtype=torch.bool, device=device), fresh
        else:
            marks, slots = (torch.from_numpy(one).to(device, non_blocking=True) for one in (new, known))
            slots = slots.masked_scatter(marks, fresh)
        rows = WrittenRows(slots, marks, batch.priority, batch.keys, batch.values, fresh=fresh)
        again, apart = np.flatnonzero(~new), len(known)
        if not victims.shape[0]:
            asked = victims if batch.identity is None else fresh  # else nobody has to know them
            at_hand = device.type in AT_HAND
            slots_told = asked.numpy() if at_hand else told(checks or [], asked)[0].astype(np.int64)
            return Placed(slots, rows, None, again, fresh, victims, None, slots_told, again[:0])
        rivals = self._rivals(rows, fresh, victims, checks)
        if apart > 1:
            if rivals.may_be_stronger():
                births = self._births(rows) if count == len(new) else None
                if births is not None and rivals.meet_in_one(births):
                    return self._in_turn(rows, rivals, np.full(count, rivals.victims[0]))
                if births is None or rivals.undecided(births):
                    return self.first(batch[: len(known) // 2])
                return self._in_turn(rows, rivals, _taken(rivals.ranks(births), rivals.victims, rivals.slots))
            apart = rivals.apart(known)
        placed = Placed(slots, rows, None, again, fresh, victims, None, rivals.slots, rivals.victims)
        return placed if apart == len(known) else _first_of(placed, apart)

    def _rivals(self, rows: WrittenRows, fresh: Tensor, victims: Tensor, checks: Checks | None) -> Rivals:
        """What decides who makes room for whom, asked together with these checks."""
        policy = self._forgetting
        score, since, birth = policy.score[victims], getattr(policy, "since", None), policy.lowest_birth(rows)
        since = None if since is None else since[victims]
        if fresh.device.type in AT_HAND:
            return Rivals(fresh.numpy(), score.numpy(), None if since is None else since.numpy(), float(birth))
        least = birth if isinstance(birth, Tensor) else score.new_full((), birth)
        slots, scores, uses, lowest = told(checks or [], fresh, score, score if since is None else since, least)
        return Rivals(slots.astype(np.int64), scores, None if since is None else uses, float(lowest))

    def _births(self, rows: WrittenRows) -> np.ndarray | None:
        """The score of each row as a new entry, if the policy says it.  `[B]`."""
        births = getattr(self._forgetting, "births", lambda rows: None)(rows)
        return None if births is None else told([], births)[0]

    def _in_turn(self, rows: WrittenRows, rivals: Rivals, slots: np.ndarray) -> Placed:
        """Place new rows of which one may make room for another: each in turn goes to its slot of these.  `[B]`."""
        total, device = len(slots), rows.slots.device
        taken, last, births_of = np.unique(slots[::-1], return_index=True, return_counts=True)
        order = np.argsort(-last)  # by the turn that stays
        turns = total - 1 - last[order]
        at = np.searchsorted(taken, rivals.victims).clip(max=len(taken) - 1)
        gone = rivals.victims[taken[at] == rivals.victims]
        host = (turns, slots[turns], gone)
        kept, fresh, victims = (torch.from_numpy(one).to(device, non_blocking=True) for one in host)
        stay = WrittenRows(
            fresh,
            rows.new[kept],
            rows.priority[kept],
            rows.keys[kept],
            rows.values[kept],
            turns=kept,
            together=total,
            fresh=fresh,
        )
        standing = torch.full((total,), -1, device=device).index_copy_(0, kept, fresh)
        return Placed(standing, stay, turns, turns[:0], fresh, victims, births_of[order], slots[turns], gone)

    def _matched(self, batch: Batch) -> tuple[Batch, np.ndarray]:
        """The first rows, up to one that might stand for the entry of an earlier one; and their slots, -1 if new."""
        distinct, within = batch.distinct(), self._within
        batch = _up_to(batch, distinct if within is None else min(distinct, AT_ONCE))
        if self._updates and batch.identity is not None:
            known = self._identities.find(batch.identity)
        elif within is not None:
            known = self._close(batch, within).cpu().numpy()
        else:
            known = np.full(batch.values.shape[0], -1)
        if within is None:
            return batch, known
        rows = self._first_repeat(batch, torch.from_numpy(known).to(batch.values.device), within)
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


def _first_of(placed: Placed, rows: int) -> Placed:
    """The first of these rows, each of them new or written again, in the slots that they have among all."""
    again = placed.again[placed.again < rows]
    new = rows - len(again)
    gone = max(0, new - (len(placed.fresh_told) - len(placed.victims_told)))
    all_rows, fresh = placed.rows, placed.fresh[:new]
    some = WrittenRows(
        all_rows.slots[:rows],
        all_rows.new[:rows],
        all_rows.priority[:rows],
        all_rows.keys[:rows],
        all_rows.values[:rows],
        fresh=fresh,
    )
    told_of = placed.fresh_told[:new], placed.victims_told[:gone]
    return Placed(some.slots, some, None, again, fresh, placed.victims[:gone], None, *told_of)


def _taken(ranks: np.ndarray, victims: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """The slot of each row if one after another takes the place of the weakest there is then.

    Args:
        ranks: The place among all of the victims, ascending, and of the rows. `[v + B]`
        victims: Slots of the weakest entries. `[v]`
        slots: Of the rows, where the first have free ones. `[B]`
    """
    weakest, rows = ranks[: len(victims)], ranks[len(victims) :]
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
