"""The differentiable neural dictionary: its tensors are the truth, an index is a cache that may be rebuilt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory import inspection
from engram_rl.memory.buffers import zeros
from engram_rl.memory.checks import (
    LARGEST_VALUE,
    check_moved,
    checked_k,
    checked_place,
    limited,
    number,
    require_ram,
    shown,
    slots_of,
    truth,
    whole,
)
from engram_rl.memory.forgetting import Forgetting, WrittenRows, make_forgetting
from engram_rl.memory.indexes import Index, make_index
from engram_rl.memory.indexes.exact import nearest
from engram_rl.memory.keys.identity import NOBODY, IdentityTable
from engram_rl.memory.keys.space import KeyInput, Keys, KeySpace, Modality, Present, largest_of
from engram_rl.memory.keys.store import entry_bytes, make_store
from engram_rl.memory.keys.subsets import References, subsets_of, under_each
from engram_rl.memory.links import Links, Reached
from engram_rl.memory.modes import OwnMode, in_own_mode
from engram_rl.memory.persistence.file import load, named, write_file
from engram_rl.memory.persistence.names import state_today
from engram_rl.memory.persistence.state import State
from engram_rl.memory.reading import Found, InverseDistance, Kernel, Usage, make_kernel, read, slots_found
from engram_rl.memory.waiting import AT_HAND, Checks, require, told
from engram_rl.memory.writing.batch import Placed, Placing, checked_batch, checked_identity, checked_slots
from engram_rl.memory.writing.rules import WriteContext, WriteRule, make_write_rule
from engram_rl.memory.writing.slots import Slots

if TYPE_CHECKING:
    import pandas as pd

SWEEP = 1024
"""Most entries that one tick removes."""


class DifferentiableNeuralDictionary(OwnMode):
    """Values stored under keys in one step and read by similarity: Pritzel et al. 2017 (arXiv 1703.01988), section 2.

    Entries live in slots `0 .. capacity - 1` of preallocated tensors and keep their slot until they are evicted or
    removed. Reading changes nothing but the order of eviction, and not even that with `touch=False`.

        space = KeySpace([Modality("view", 64), Modality("place", 2)])          # or just 64
        memory = DifferentiableNeuralDictionary(space, value_dim=1, capacity=100_000, k=50, write_rule=Blend(0.1))
        memory.write({"view": view, "place": place}, returns, identity=identify(observations))
        found = memory.lookup({"place": place})                                 # found.value [B, 1]

    Training: with gradients on, a lookup gathers its neighbours as the leaves `found.keys` and `found.values`; the
    gradient reaches the query through the graph, and `learning.RowRMSprop(memory).step(found)` moves the entries.

    Args:
        space: What a key is made of, or the size of its one vector.
        value_dim: Numbers stored with each key.
        capacity: Most entries held; when full, each new one replaces the weakest.
        k: Neighbours a lookup uses.
        index: Who proposes neighbours: "exact" (default), "cached" (exact, with a cache of answers for queries that
            come again), "ivf" (approximate, for large memories), "auto" (exact until ivf measurably pays) or an object.
        kernel: Distance to weight: "inverse_distance" (default), "gaussian", "uniform" or an object from `reading`.
        write_rule: What a repeated identity does: "append" (default), "blend", "last", "max", "mean", "surprise_gated"
            or an object from `writing`.
        forgetting: Which entry makes room: "lru" (default; least recently written or retrieved), "fifo", "priority",
            "confidence" or an object from `forgetting`, such as `Decay(half_life=10_000)`.
        match_within: Squared distance within which a row that is written without an identity stands for the nearest
            entry of the same modalities; None: such rows are always new.
        links_per_entry: Most links from one entry; memory for them is taken at the first link.
        device: Where the tensors live.
        dtype: Of keys and values; float64 is for checking gradients.

    Attributes:
        store: The keys, as an index sees them.
        values: The value of each slot. `[N, V]`
        alive: Whether a slot holds an entry. `[N]` bool
        generation: Counts the entries a slot has held: (slot, generation) names one entry for ever. `[N]` int32
        usage: What lookups have found.
        process: The id of the process it was made in; what is written to a copy elsewhere never comes back here.
        largest_keys: How large numbers of each column of the keys may be. `[D]`
        links: Links between entries; beyond `link` and `follow` it offers `spread`, for activation that spreads.
    """

    @in_own_mode
    def __init__(
        self,
        space: KeySpace | int | list[Modality],
        value_dim: int,
        capacity: int,
        k: int = 50,
        *,
        index: Index | str = "exact",
        kernel: Kernel | str = InverseDistance(),  # noqa: B008 - frozen
        write_rule: WriteRule | str = "append",
        forgetting: Forgetting | str = "lru",
        match_within: float | None = None,
        links_per_entry: int = 8,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.space = KeySpace(space)
        self.process = os.getpid()
        self.value_dim, self.capacity, self.k = whole("value_dim", value_dim), whole("capacity", capacity), checked_k(k)
        self.device, self.dtype = checked_place(device, dtype)
        require_ram(
            f"capacity={self.capacity} of keys of {self.space.dim} numbers and values of {self.value_dim}",
            self.nbytes,
            "lower the capacity or the sizes of key and value",
            self.device,
        )
        self.kernel, self.write_rule = make_kernel(kernel), make_write_rule(write_rule)
        if match_within is not None:
            number("match_within", match_within, 0, hint=": it is a squared distance")
            if not self.write_rule.matches:
                raise ValueError(
                    f"match_within is {match_within}, but write_rule={shown(write_rule)} makes every row a new entry; "
                    "give blend, last, max or another rule that updates entries, or leave match_within out"
                )
        self.match_within = match_within
        self.index: Index = _own(make_index(index))
        self.forgetting: Forgetting = _own(make_forgetting(forgetting))
        self.store = make_store(self.space, capacity, dtype, self.device)
        self.values = zeros(capacity, value_dim, dtype=dtype, device=self.device)
        self.slot_table = Slots(capacity, self.device)
        self.alive, self.generation = self.slot_table.alive, self.slot_table.generation
        self.identities = IdentityTable(capacity)
        self.usage = Usage(capacity, self.device)
        self.links = Links(self.alive, self.generation, links_per_entry)
        self.forgetting.attach(capacity, self.device)
        self.index.attach(self.store)
        self._placing = Placing(
            self.write_rule.matches,
            match_within,
            self.store,
            self.index,
            self.slot_table,
            self.identities,
            self.forgetting,
        )
        self._state = State(
            self.values,
            self.identities,
            self.store,
            self.links,
            self.forgetting,
            {"slots": self.slot_table, "usage": self.usage},
        )
        sizes = [(largest_of(m), m.size) for m in self.space if m.kind != "discrete"]
        largest = [limit for limit, size in sizes for _ in range(size)]
        self.largest_keys = torch.tensor(largest, dtype=dtype, device=self.device)  # [D], of key vectors
        self._largest_key = largest[0] if len(set(largest)) == 1 else self.largest_keys

    def __len__(self) -> int:
        return len(self.slot_table)

    def __repr__(self) -> str:
        return inspection.screen(self)

    @property
    def key_vectors(self) -> Tensor:
        """The keys' vectors in place, the modalities side by side.  `[N, D]`."""
        return self.store.vectors

    @property
    def nbytes(self) -> int:
        """Bytes that its tensors take up once every slot has been used; links come on top."""
        return self.capacity * entry_bytes(self.space, self.value_dim, self.dtype)

    @property
    def used(self) -> int:
        """Slots from here on have never held an entry."""
        return self.slot_table.used

    @property
    def evictions(self) -> int:
        """Entries that have had to make room so far."""
        return self.slot_table.evictions

    @property
    def recall(self) -> float | None:
        """The share of true neighbours that the index finds, by its own sample; None where it does not estimate it."""
        return self.index.report().get("recall")

    @property
    def slots(self) -> Tensor:
        """All slots that hold an entry, ascending; a pass over all.  `[len(self)]`."""
        return self.alive[: self.used].nonzero().squeeze(1)

    # ---- reading

    @in_own_mode
    def lookup(
        self,
        query: KeyInput,
        k: int | None = None,
        touch: bool = True,
        exclude: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        present: Present = None,
        references: References | None = None,
    ) -> Found:
        """The nearest entries of each query and the value they give.

        Args:
            query: `[B, D]`, or any subset of the modalities by name; only those are matched.
            k: Neighbours, the dictionary's own `k` by default.
            touch: Whether the neighbours count as used; False in evaluation.
            exclude: Slots each query must not find, such as its own, from `find` or `write`; -1 stands for none.
                `[B]` or `[B, E]`. A slot may have been given to another entry since: a pair
                `(slots, generation[slots])`, taken when the entry was there, hides that entry and nobody else.
            present: Per modality, which queries of the batch give it; all by default.
            references: An ensemble over key subsets: match each query under several subsets of its modalities and
                average by evidence. "all", or a list such as `[("view", "place"), ("view",)]`; `found.evidence` says
                what each contributed.

        Raises:
            ValueError: Shapes, names or numbers are not those of a query. Nothing has been changed then.
        """
        k = self.k if k is None else checked_k(k)
        touch = touch if isinstance(touch, bool) else truth("touch", touch)
        checks = self._put_off()
        asked, excluded, S = self._asked(query, present, exclude, references, checks)  # [B S] rows
        near = nearest(self.store, self.index, asked, k, self.slot_table, excluded, checks)  # [B S, k]
        found = read(self.store, self.values, self.generation, asked, near, S, self.kernel)
        if touch:
            self.usage.add(found, near.complete)
            self.forgetting.retrieved(found.slots.reshape(-1) if near.complete else slots_found(found, near.nobody))
        return found

    @in_own_mode
    def find(self, identity: Tensor) -> Tensor:
        """The slot of each identity, -1 where it is unknown.  `[B]` int64 -> `[B]`."""
        return torch.from_numpy(self.identities.find(checked_identity(identity))).to(self.device)

    def follow(self, slots: Tensor, steps: int = 1, *, kind: int | None = None) -> Reached:
        """The entries to which `steps` links lead from each of these, the strongest first.  `[B]` -> `[B, W]`."""
        return self.links.follow(slots, steps, kind=kind)

    @in_own_mode
    def same_entries(self, found: Found) -> Tensor:
        """Whether each slot still holds the entry that was found there.  `[B, k]` bool.

        Raises:
            ValueError: It was found by another memory, whose slots are others.
        """
        if found.source not in (None, id(self.store)):
            raise ValueError("this was found by another memory: step it with an optimiser of the memory that was asked")
        slots = found.slots.clamp(min=0)
        return found.valid & (self.generation[slots] == found.generation) & self.alive[slots]

    # ---- changing

    @in_own_mode
    @torch.no_grad()
    def write(
        self,
        keys: KeyInput,
        values: Tensor,
        priority: Tensor | None = None,
        identity: Tensor | None = None,
        *,
        present: Present = None,
    ) -> Tensor:
        """Store entries, or update those that are known; as if one row were written after another.

        Args:
            keys: `[B, D]`, or any subset of the modalities by name; the entry lacks the others.
            values: `[B, V]`
            priority: How surprising or rewarding the experience was, at least 0; a policy may keep such entries longer.
                `[B]`
            identity: What makes two rows the same entry: a hash of the observation, from `identify`. `[B]` int64
            present: Per modality, which rows have it; all by default.

        Returns:
            The slot of each row, so that `(slot, generation[slot])` names its entry; -1 where that has made room again
            already, for a later row if the batch holds more than fits, or because it was too weak to stay. `[B]`

        Raises:
            ValueError: Shapes, names or numbers are not those of an entry. Nothing has been changed then.
        """
        checks = self._put_off()
        packed = self.store.pack(keys, present, checks)
        batch = checked_batch(packed, values, priority, identity, like=self.values, checks=checks)
        total = batch.values.shape[0]
        stored = [torch.empty(0, dtype=torch.int64, device=self.device)]
        generations: list[Tensor] = []
        done, most = 0, min(total, self.capacity)
        while done < total:
            piece = batch if most == total - done == total else batch[done : done + most]
            placed = self._placing.first(piece, checks)
            rows = self._combined(placed.rows, placed.again) if len(placed.again) else placed.rows
            self.values[rows.slots] = rows.values
            self.slot_table.take(placed.fresh, placed.victims, *(() if placed.births is None else (placed.births,)))
            self.usage.hits.index_fill_(0, placed.fresh, 0)
            if piece.identity is not None:
                self._name(piece.identity, placed)
            elif len(placed.victims):
                self.identities.remove(placed.victims_told)
            self.store.put(rows.slots, rows.keys, self.slot_table.used)
            self.index.written(rows.slots)
            self.forgetting.written(rows)
            stored.append(placed.slots)
            done += len(placed.slots)
            if done < total or generations:
                generations.append(self.generation[placed.slots])
            most = min(2 * len(placed.slots), self.capacity)  # rows that depend on each other come in runs
        removed = self._expire(2 * total)  # twice as many as came, so that removal keeps up
        slots = torch.cat(stored)
        if not removed and not generations:
            return slots
        stands = self.alive[slots]
        if generations:
            stands &= self.generation[slots] == torch.cat(generations)
        return slots.masked_fill(~stands, -1)

    @in_own_mode
    @torch.no_grad()
    def move(self, slots: Tensor, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        """Put distinct entries' key vectors `[n, D]` or values `[n, V]` elsewhere, as a gradient step does."""
        slots = slots_of("slots", slots, self.capacity, self.device, nobody=False)
        checks, held = self._put_off(), self.alive[slots]
        require(
            checks,
            held.all(),
            lambda: ValueError(f"slot {int(slots[~held][0])} holds no entry that could move; give slots of entries"),
        )
        require(
            checks,
            _each_once(slots),
            lambda: ValueError("slots name an entry twice, which can go to one place only; give each of them once"),
        )
        self._move_entries(slots, keys, values, checks)

    def _move_entries(
        self, slots: Tensor, keys: Tensor | None, values: Tensor | None, checks: Checks | None = None
    ) -> None:
        """As `move` does, if these checks hold, for whoever knows that the slots are distinct and hold entries."""
        move_each([self], [slots], keys, values, checks)

    @in_own_mode
    def forget(self, slots: Tensor) -> None:
        """Remove entries; -1 and slots without an entry are passed over."""
        slots = slots_of("slots", slots, self.capacity, self.device)
        slots = torch.unique(slots[slots >= 0])
        slots = slots[self.alive[slots]]
        self._remove(slots, slots.cpu().numpy())

    @in_own_mode
    def contradict(self, slots: Tensor, factor: float = 0.0) -> None:
        """Experience refutes these entries: remove them, or with a `factor` in (0, 1) scale their strength by it."""
        number("factor", factor, 0, below=1, hint=": 0 removes, a share weakens")
        slots = slots_of("slots", slots, self.capacity, self.device)
        if factor == 0:
            self.forget(slots)
        else:
            slots = torch.unique(slots[slots >= 0])
            self.forgetting.weakened(slots[self.alive[slots]], factor)

    def link(
        self, source_slots: Tensor, target_slots: Tensor, weight: Tensor | float = 1.0, kind: Tensor | int = 0
    ) -> None:
        """Link entries, each to the one beside it, until either is gone; linking again adds to the weight.  `[B]`s."""
        self.links.add(source_slots, target_slots, weight, kind)

    @in_own_mode
    def tick(self, amount: float = 1) -> None:
        """Time has passed for forgetting curves that count ticks; removes some of the entries that are too weak now."""
        self.forgetting.tick(number("amount", amount, 0))
        self._expire(SWEEP)

    @in_own_mode
    def touch(self, slots: Tensor) -> None:
        """These entries were of use, as if a lookup had found them; may hold repeats.  `[n]`."""
        slots = slots_of("slots", slots, self.capacity, nobody=False)
        self.forgetting.retrieved(slots[self.alive[slots]])

    @in_own_mode
    def strength(self, slots: Tensor) -> Tensor:
        """How strong these entries are now by its forgetting curve; 1 if it has none, 0 of no entry.  `[n]`."""
        slots = slots_of("slots", slots, self.capacity, self.device, nobody=False)
        return self.forgetting.strength(slots).masked_fill(~self.alive[slots], 0)

    # ---- saving

    @in_own_mode
    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and plain values; of the per-slot tensors only the slots that have been used."""
        return self._state.taken(self.used)

    @in_own_mode
    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; the capacity may differ as long as every used slot exists.

        Raises:
            ValueError: It was saved by a dictionary of another shape. Nothing has been changed then.
            TypeError: It is no state at all.
        """
        state = state_today(state, self._state.taken(0), self.store)
        self._state.check(state)
        before = self.used
        self.forgetting.attach(self.capacity, self.device)
        self._state.restore(state, before)
        self.index.attach(self.store)

    def save(self, path: str | Path) -> None:
        """Write everything to one file, which `DifferentiableNeuralDictionary.load` reads on any device and index."""
        settings: dict[str, Any] = {
            "space": [asdict(m) for m in self.space],
            "links_per_entry": self.links.per_source,
            "kernel": named("kernel", self.kernel),
            "write_rule": named("write_rule", self.write_rule),
            "forgetting": named("forgetting", self.forgetting),
        }
        settings |= {name: getattr(self, name) for name in ("value_dim", "capacity", "k", "match_within")}
        write_file(path, settings, self._state.taken(self.used, copy=False))

    load: classmethod[Any, ..., DifferentiableNeuralDictionary] = classmethod(load)

    # ---- looking in

    def describe(self, most_used: int = 5) -> dict[str, Any]:
        """Sizes, strengths, how near lookups hit, the most used entries, the index's own report; a pass over all."""
        whole("most_used", most_used, 0)
        slots = self.slots
        taken = inspection.bytes_of(
            (self, self.store, self.slot_table, self.identities, self.forgetting, self.usage, self.links)
        )
        return {
            "size": len(self),
            "capacity": self.capacity,
            "evictions": self.evictions,
            "links": len(self.links),
            "bytes": taken,
            "bytes_per_entry": taken / self.capacity,
            "modalities": inspection.modalities(self.space, self.store.present[slots]),
            "strength": inspection.quantiles(self.strength(slots)),
            "lookups": self.usage.lookups,
            "hit_distance": float(self.usage.hit_distance),
            "top_weight": float(self.usage.top_weight),
            "most_used": inspection.most_used(slots, self.usage.hits[slots], self.values[slots], most_used),
            "index": self.index.report(),
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every entry by column: modalities (NaN or code 0 where lacking), value, strength, hits, identity, slot.

        A modality that is called as one of the others stands under `key_NAME`.
        """
        slots = self.slots
        at = slots.cpu().numpy()
        identities = self.identities.identities_at(at)
        own = {
            "slot": at,
            "value": self.values[slots].cpu().numpy(),
            "strength": self.strength(slots).cpu().numpy(),
            "hits": self.usage.hits[slots].cpu().numpy(),
            "identity": np.where(identities == NOBODY, 0, identities),
            "has_identity": identities != NOBODY,
        }
        keys = inspection.key_columns(self.store, slots)
        return {f"key_{name}" if name in own else name: column for name, column in keys.items()} | own

    def to_pandas(self) -> pd.DataFrame:
        """Every entry as a row of a table; needs pandas."""
        return inspection.table(self.to_arrays())

    def _put_off(self) -> Checks | None:
        """What takes checks that are made together, where an answer has to be waited for; None if they are not."""
        return None if self.device.type in AT_HAND else []

    def _asked(
        self,
        query: KeyInput,
        present: Present,
        exclude: Tensor | tuple[Tensor, Tensor] | None,
        references: References | None,
        checks: Checks | None,
    ) -> tuple[Keys, Tensor | None, int]:
        """What to search for, without which slots, and how many searches each query takes: one for each key subset."""
        asked = self.store.pack(query, present, checks)  # [B]
        rows = asked.vectors.shape[0]
        excluded = None if exclude is None else checked_slots(exclude, rows, self.device, self.generation)
        if references is None:
            return asked, excluded, 1
        given = self.space.names if isinstance(query, Tensor) else list(query)
        subsets = subsets_of(self.space, given, references)
        excluded = None if excluded is None else excluded.repeat_interleave(len(subsets), 0)
        return under_each(asked, self.space, subsets), excluded, len(subsets)

    def _name(self, identity: np.ndarray, placed: Placed) -> None:
        """File the identities of new entries, and forget those of the entries that made room."""
        identity = identity[: len(placed.slots)]
        if placed.kept is not None:  # of rows that made room at once nothing is left, not even what had their name
            earlier = self.identities.find(identity)
            self.identities.remove(earlier[earlier >= 0])
            identity = identity[placed.kept]
        new = np.delete(identity, placed.again) if len(placed.again) else identity
        self.identities.set(placed.fresh_told, new)

    def _combined(self, rows: WrittenRows, written: np.ndarray) -> WrittenRows:
        """The rows with the values that their entries get, and the parts they keep, where these are written again."""
        again = torch.from_numpy(written).to(self.device, non_blocking=True)
        slots, values = rows.slots[again], rows.values.clone()
        context = WriteContext(slots, self.slot_table.writes[slots], rows.priority[again])
        combined = self.write_rule.combine(self.values[slots], values[again], context)
        if combined.shape != context.slots.shape + self.values.shape[1:]:
            raise ValueError(
                f"write_rule={shown(self.write_rule)} makes values of shape {list(combined.shape)} for "
                f"{len(slots)} entries; expected [{len(slots)}, {self.value_dim}]"
            )
        if not limited(combined, LARGEST_VALUE):
            raise ValueError(
                f"write_rule={shown(self.write_rule)} makes a value that is NaN, infinite or above {LARGEST_VALUE:g} "
                "in size; what it combines must stay finite and smaller"
            )
        values[again] = combined
        self.slot_table.writes[slots] += 1
        return replace(rows, values=values, keys=self._completed(rows.keys, again, slots))

    def _completed(self, keys: Keys, again: Tensor, slots: Tensor) -> Keys:
        """The keys with the parts that entries have already, where rows that write them again lack these.

        Args:
            keys: Of B rows.
            again: Which rows write an entry again. `[n]` ascending
            slots: Where these are. `[n]`
        """
        lacking = ~keys.present[again] & self.store.present[slots]  # [n, M]
        if lacking.device.type in AT_HAND and not lacking.any():
            return keys
        vectors, codes, present = keys.vectors.clone(), keys.codes.clone(), keys.present.clone()
        kept = Keys(self.key_vectors[slots], self.store.codes[slots], lacking)
        for m, part in enumerate(self.space):
            columns, had = self.space.columns[part.name], lacking[:, m : m + 1]
            mine, theirs = (codes, kept.codes) if part.kind == "discrete" else (vectors, kept.vectors)
            mine[again, columns] = torch.where(had, theirs[:, columns], mine[again, columns])
        present[again] |= lacking
        return Keys(vectors, codes, present)

    def _expire(self, most: int) -> bool:
        """Remove at most that many entries that are too weak; whether there were any."""
        held = self.used - self.slot_table.holes
        expired = self.forgetting.expired(min(most, held), self.used)
        if len(expired):
            told = np.unique(expired.cpu().numpy())
            self._remove(torch.from_numpy(told).to(self.device, non_blocking=True), told)
        return len(expired) > 0

    def _remove(self, slots: Tensor, told: np.ndarray) -> None:
        """These distinct slots, which the host has been told, hold an entry no longer.  `[n]`s."""
        self.slot_table.release(slots)
        self.identities.remove(told)
        self.store.erase(slots)
        self.index.written(slots)
        self.forgetting.removed(slots)


def move_each(
    memories: Sequence[DifferentiableNeuralDictionary],
    slots: Sequence[Tensor],
    keys: Tensor | None,
    values: Tensor | None,
    checks: Checks | None = None,
) -> None:
    """Put entries of several memories of the same kinds of key and value elsewhere, if these checks hold.

    Args:
        memories: Distinct.
        slots: Distinct ones of each, all of entries. `[n]`s
        keys: Those of one memory after those of the other, N in all. `[N, D]`
        values: Likewise. `[N, V]`
        checks: To be made before; taken together with those of the numbers where answers have to be waited for.
    """
    first, counts = memories[0], [some.shape[0] for some in slots]
    check_moved("keys", keys, sum(counts), first.key_vectors, first._largest_key, checks)
    check_moved("values", values, sum(counts), first.values, LARGEST_VALUE, checks)
    moved = (
        []
        if keys is None
        else list(zip(memories, slots, keys.to(first.key_vectors).split_with_sizes(counts), strict=True))
    )
    kept = [memory.store.as_kept(some, part, checks) for memory, some, part in moved]
    told(checks or [])
    for (memory, some, part), stored in zip(moved, kept, strict=True):
        memory.index.moving(some, part)
        memory.store.move(some, stored)
    if values is not None:
        for memory, some, part in zip(memories, slots, values.to(first.values).split_with_sizes(counts), strict=True):
            memory.values[some] = part


def _each_once(slots: Tensor) -> Tensor:
    """Whether none comes twice.  `[n]` -> `[]` bool."""
    ascending = (slots[1:] > slots[:-1]).all()
    if ascending.device.type in AT_HAND and ascending:
        return ascending
    ordered = slots.sort().values
    return (ordered[1:] > ordered[:-1]).all()


def _own(part: Any) -> Any:
    """The part itself, or a copy if it serves another memory already: what it keeps is about one memory."""
    if not hasattr(part, "__dict__"):  # has slots only, so it cannot be marked
        return copy(part)
    own = copy(part) if getattr(part, "serves", False) else part
    object.__setattr__(own, "serves", True)  # so, because a frozen dataclass may be a part
    return own
