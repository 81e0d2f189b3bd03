"""The driver's part of a memory in shards: it routes what is written, and merges what is found."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.checks import (
    LARGEST_VALUE,
    check_moved,
    checked_k,
    checked_place,
    number,
    slots_of,
    truth,
    unknown,
    whole,
)
from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.forgetting import Forgetting, make_forgetting
from engram_rl.memory.indexes import Index
from engram_rl.memory.indexes.exact import Neighbours
from engram_rl.memory.keys.identity import mix
from engram_rl.memory.keys.masked import typical_of
from engram_rl.memory.keys.space import KeyInput, Keys, KeySpace, Modality, Present
from engram_rl.memory.keys.store import entry_bytes, make_store
from engram_rl.memory.keys.subsets import References, subsets_of, under_each
from engram_rl.memory.learning import RowSGD
from engram_rl.memory.links import Links, Reached
from engram_rl.memory.modes import OwnMode, in_own_mode
from engram_rl.memory.persistence.file import PARTS, named, read_state, remade, write_file
from engram_rl.memory.reading import Found, InverseDistance, Kernel, Usage, make_kernel, read
from engram_rl.memory.sharded.column import Column
from engram_rl.memory.sharded.crew import PATIENCE, Crew, Here, Lost, OnRay
from engram_rl.memory.sharded.dealing import dealt, moved
from engram_rl.memory.sharded.shard import Candidates, Standing
from engram_rl.memory.writing.batch import checked_batch, checked_identity, checked_slots
from engram_rl.memory.writing.rules import WriteRule, make_write_rule

MOST_SHARDS = 1024
NOTHING_YET = Standing(size=0, used=0, evictions=0, recall=None, spread=None)
USAGE = {"lookups", "hit_distance", "top_weight"}
DIRECTORY = "memory.safetensors"
"""In a saved folder: settings and links; beside it a file for each shard."""


class ShardedMemory(OwnMode):
    """A `DifferentiableNeuralDictionary` whose entries lie on N processes, perhaps on many machines.

    A lookup asks all shards for their k nearest and takes the k nearest of these, which is exact if their indexes are;
    kernel, key subsets and gradients then are those of one memory. An entry belongs to the shard that its identity
    hashes to; entries without one are dealt out in turn. Entry s of shard i has the slot `s N + i`.

        memory = ShardedMemory(64, value_dim=1, capacity=10_000_000, shards=8)      # begins Ray on this machine
        memory = ShardedMemory(64, value_dim=1, capacity=10_000_000, shards=8, address="head:6379")

    Forgetting: each shard makes room among its own, about 1 / N of all entries, drawn by hash or in turn; what counts
    as retrieved is what was found by the whole memory. So the entry that goes is the weakest of such a sample, not of
    all.

    A shard that dies or does not answer is begun anew: with the entries of the latest `save` or `state_dict`, if there
    was one, else empty. What was written to it since then is lost, and counted in `lost`; all names of its entries
    from before (slots with generations, links) name nobody from then on.

    Args:
        space: As of one memory, like the next four and all that is not said here.
        value_dim: Numbers stored with each key.
        capacity: Of all shards together; each holds `capacity / shards`, rounded up.
        k: Neighbours a lookup uses.
        shards: N.
        where: "ray" (actors) or "here" (this process).
        address: Of a Ray cluster; None takes the Ray that runs in this process, or begins one on this machine.
        cpus: Processors that a shard reserves; 0 where there are more shards than processors.
        patience: Seconds after which a shard that does not answer counts as lost.
        index: Of each shard, by name.
        match_within: Not offered, as all shards would have to be asked for each row: None.
        device: Of the shards: "cpu".

    Attributes:
        lost: Entries that were lost with shards.
        usage: Of lookups, as of one memory, but for `hits`, which shards count (`to_arrays`).

    Raises:
        ImportError: `where="ray"` and Ray is not installed.
        ValueError: A value is out of range, or not offered.
    """

    @in_own_mode
    def __init__(
        self,
        space: KeySpace | int | list[Modality],
        value_dim: int,
        capacity: int,
        k: int = 50,
        *,
        shards: int = 2,
        where: str = "ray",
        address: str | None = None,
        cpus: float = 0.0,
        patience: float = PATIENCE,
        index: Index | str = "exact",
        kernel: Kernel | str = InverseDistance(),  # noqa: B008 - frozen
        write_rule: WriteRule | str = "append",
        forgetting: Forgetting | str = "lru",
        match_within: float | None = None,
        links_per_entry: int = 8,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shards = whole("shards", shards, most=MOST_SHARDS)
        if where not in ("ray", "here"):
            raise unknown("place of shards (where)", str(where), ("ray", "here"))
        self.device, _ = checked_place(device, dtype)
        _refuse_what_is_not_offered(match_within, self.device)
        number("cpus", cpus, 0.0)
        number("patience", patience, above=0.0)
        each = -(-whole("capacity", capacity) // self.shards)
        self._settings: dict[str, Any] = {
            "space": KeySpace(space),
            "value_dim": value_dim,
            "capacity": each,
            "k": k,
            "index": index,
            "kernel": make_kernel(kernel),
            "write_rule": make_write_rule(write_rule),
            "forgetting": make_forgetting(forgetting),
            "dtype": dtype,
        }
        like = DifferentiableNeuralDictionary(
            **self._settings | {"capacity": 1, "index": "exact"}
        )  # refuses what is wrong
        self.space, self.kernel, self.dtype = like.space, like.kernel, dtype
        self.value_dim, self.k, self.capacity = like.value_dim, like.k, each * self.shards
        self._like, self._largest = like, like.largest_keys
        given = [self._settings] * self.shards
        self._crew: Crew = OnRay(given, address, cpus, patience) if where == "ray" else Here(given)
        self._ended = weakref.finalize(self, self._crew.close)
        self._standings = [NOTHING_YET] * self.shards
        self._penalties: Tensor | None = None
        self._alive = zeros(self.capacity, dtype=torch.bool)
        self._generation = zeros(self.capacity, dtype=torch.int32)
        self.links = Links(self._alive, self._generation, links_per_entry)
        self._optimisers: list[Callable[[DifferentiableNeuralDictionary], RowSGD]] = []
        self._dealt = self._turns = 0
        """Rows without an identity, and rows in all, that were written so far."""
        self.usage, self.lost = Usage(0, self.device), 0
        self._saved: Path | None = None
        self._kept: list[dict[str, Any]] | None = None
        """What shards that die are begun anew from: a folder, or the latest state."""

    def __len__(self) -> int:
        return sum(one.size for one in self._standings)

    def __repr__(self) -> str:
        sizes = ", ".join(str(one.size) for one in self._standings[:8]) + (", ..." if self.shards > 8 else "")
        lost = f", {self.lost} lost" if self.lost else ""
        return f"ShardedMemory: {len(self)} of {self.capacity} entries in {self.shards} shards ({sizes}){lost}"

    def close(self) -> None:
        """End the shards; what was not saved is gone."""
        self._ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        """See `DifferentiableNeuralDictionary.lookup`."""
        k = self.k if k is None else checked_k(k)
        touch = touch if isinstance(touch, bool) else truth("touch", touch)
        asked = self._like.store.pack(query, present)  # [B]
        excluded = self._excluded(exclude, len(asked))
        subsets = 1
        if references is not None:
            given = self.space.names if isinstance(query, Tensor) else list(query)
            chosen = subsets_of(self.space, given, references)
            subsets, asked = len(chosen), under_each(asked, self.space, chosen)  # [B S]
            excluded = [None if one is None else _repeated(one, subsets) for one in excluded]
        plain = Keys(asked.vectors.detach(), asked.codes, asked.present)
        penalties = self._typical()
        answers: list[Candidates] = self._ask("nearest", [(plain, k, one, penalties) for one in excluded])
        found = self._read(answers, asked, k, subsets, penalties)
        if touch and len(found.slots):
            self.usage.note(found)
            named = found.slots[found.valid]
            parts = self._by_shard(named)
            self._tell("retrieved", [(named[rows] // self.shards,) if len(rows) else None for rows in parts])
        return found

    def _read(self, answers: list[Candidates], asked: Keys, k: int, subsets: int, penalties: Tensor | None) -> Found:
        """The nearest of what the shards found, and what they give together."""
        slots = torch.cat([one.slots * self.shards + shard for shard, one in enumerate(answers)], 1)  # [B S, N k]
        valid = torch.cat([one.valid for one in answers], 1)
        distances = torch.cat([one.distances for one in answers], 1).masked_fill(~valid, torch.inf)
        latest = torch.cat([one.written for one in answers], 1).argsort(dim=1, descending=True, stable=True)
        order = latest.gather(1, distances.gather(1, latest).argsort(dim=1, stable=True))[
            :, :k
        ]  # of equals, the latest
        valid, distances = valid.gather(1, order), distances.gather(1, order)
        rows = torch.arange(order.numel()).reshape(order.shape)
        near = Neighbours(rows.masked_fill(~valid, -1), distances.masked_fill(~valid, 0), valid, bool(valid.all()))
        store = make_store(self.space, order.numel(), self.dtype, torch.device("cpu"))  # of what came back
        keys = Keys(*(_taken([getattr(one.keys, name) for one in answers], order) for name in Keys.__annotations__))
        store.put(rows[valid], keys[valid.flatten()], order.numel())
        if penalties is not None:
            store.assume(penalties)
        values = _taken([one.values for one in answers], order)
        generation = torch.cat([one.generation for one in answers], 1).gather(1, order).flatten()
        found = read(store, values, generation, asked, near, subsets, self.kernel)
        named = slots.gather(1, order).masked_fill(~valid, -1)
        return replace(found, slots=named.reshape(found.slots.shape))

    @in_own_mode
    def find(self, identity: Tensor) -> Tensor:
        """The slot of each identity, -1 where it is unknown.  `[B]` int64 -> `[B]`."""
        names = checked_identity(identity)
        shard = self._owners(names)
        found = torch.full((len(names),), -1)
        asked = [np.flatnonzero(shard == one) for one in range(self.shards)]
        answers = self._ask("asked", [("find", identity[rows]) if len(rows) else None for rows in asked])
        for one, (rows, slots) in enumerate(zip(asked, answers, strict=True)):
            if len(rows):
                found[rows] = torch.where(slots < 0, slots, slots * self.shards + one)
        return found

    @in_own_mode
    def same_entries(self, found: Found) -> Tensor:
        """Whether each slot still holds the entry that was found there.  `[B, k]` bool."""
        return found.valid & self._holding(found.slots.clamp(min=0).flatten(), found.generation.flatten()).reshape(
            found.slots.shape
        )

    @in_own_mode
    def strength(self, slots: Tensor) -> Tensor:
        """How strong these entries are now by its forgetting curve.  `[n]`."""
        slots = slots_of("slots", slots, self.capacity, nobody=False)
        out = torch.zeros(len(slots), dtype=torch.float64)
        for rows, answer in self._each("strength", slots):
            out[rows] = answer
        return out

    @in_own_mode
    def touch(self, slots: Tensor) -> None:
        """These entries were of use, as if a lookup had found them; may hold repeats.  `[n]`."""
        parts = self._by_shard(slots_of("slots", slots, self.capacity, nobody=False))
        self._tell("asked", [("touch", slots[rows] // self.shards) if len(rows) else None for rows in parts])

    @property
    def values(self) -> Column:
        """The values of entries: `memory.values[slots]` fetches them.  `[n, V]`."""
        return Column(partial(self._rows_of, "values", self.value_dim))

    @property
    def key_vectors(self) -> Column:
        """The vectors of their keys likewise, the modalities side by side.  `[n, D]`."""
        return Column(partial(self._rows_of, "key_vectors", self._like.key_vectors.shape[1]))

    @property
    def write_rule(self) -> WriteRule:
        """Of each shard."""
        rule: WriteRule = self._settings["write_rule"]
        return rule

    @property
    def forgetting(self) -> Forgetting:
        """What kind each shard has; the scores are theirs."""
        policy: Forgetting = self._settings["forgetting"]
        return policy

    @property
    def nbytes(self) -> int:
        """Bytes that it takes up in this process once every slot has been used; links come on top."""
        names = self._alive.element_size() + self._generation.element_size()
        entry = 0 if self._crew.mortal else entry_bytes(self.space, self.value_dim, self.dtype)
        return self.capacity * (names + entry)

    @property
    def used(self) -> int:
        """Slots from here on have never held an entry."""
        return max((one.used - 1) * self.shards + shard + 1 for shard, one in enumerate(self._standings))

    @property
    def evictions(self) -> int:
        """Entries that have had to make room so far."""
        return sum(one.evictions for one in self._standings)

    @property
    def recall(self) -> float | None:
        """The share of true neighbours that the shards' indexes find, when last written to; None if they are exact."""
        known = [one.recall for one in self._standings if one.recall is not None]
        return sum(known) / len(known) if known else None

    @property
    def slots(self) -> Tensor:
        """All slots that hold an entry, ascending; a pass over all.  `[len(self)]`."""
        return self.alive.nonzero().squeeze(1)

    @property
    def generation(self) -> Tensor:
        """Counts the entries that each slot has held; fetched from the shards where it has changed.  `[N]` int32."""
        self._fetch_ends()
        return self._generation

    @property
    def alive(self) -> Tensor:
        """Whether each slot holds an entry; fetched likewise.  `[N]` bool."""
        self._fetch_ends()
        return self._alive

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
        """See `DifferentiableNeuralDictionary.write`: rows of one shard as if written one after another.

        Returns:
            The slot of each row, -1 where that has made room again already. `[B]`
        """
        batch = checked_batch(self._like.store.pack(keys, present), values, priority, identity, like=self._like.values)
        total = len(batch.values)
        if batch.identity is None:
            shard = (self._dealt + np.arange(total)) % self.shards
            self._dealt += total
        else:
            shard = self._owners(batch.identity)
        turns = torch.arange(self._turns, self._turns + total)
        self._turns += total
        out = torch.full((total,), -1)
        parts = [torch.from_numpy(np.flatnonzero(shard == one)) for one in range(self.shards)]
        given: list[Any] = [None] * self.shards
        for one, rows in enumerate(parts):
            if len(rows):
                named = (_rows(part, rows) for part in (keys, values, priority, identity, present))
                given[one] = (*named, turns[rows])
        for one, (rows, answer) in enumerate(zip(parts, self._ask("write", given), strict=True)):
            if len(rows):
                slots, standing = answer
                out[rows] = torch.where(slots < 0, slots, slots * self.shards + one)
                self._stands(one, standing)
        return out

    @in_own_mode
    @torch.no_grad()
    def move(self, slots: Tensor, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        """Put distinct entries' key vectors `[n, D]` or values `[n, V]` elsewhere, as a gradient step does."""
        slots = slots_of("slots", slots, self.capacity, nobody=False)
        held = self._holding(slots)
        if not held.all():
            raise ValueError(f"slot {int(slots[~held][0])} holds no entry that could move; give slots of entries")
        if len(slots.unique()) < len(slots):
            raise ValueError("slots name an entry twice, which can go to one place only; give each of them once")
        check_moved("keys", keys, len(slots), self._like.key_vectors, self._largest)
        check_moved("values", values, len(slots), self._like.values, LARGEST_VALUE)
        self._change(slots, lambda mine, rows: ("move", mine, _rows(keys, rows), _rows(values, rows)))

    @in_own_mode
    def forget(self, slots: Tensor) -> None:
        """Remove entries; -1 and slots without an entry are passed over."""
        slots = slots_of("slots", slots, self.capacity)
        self._change(slots[slots >= 0], lambda mine, _: ("forget", mine))

    @in_own_mode
    def contradict(self, slots: Tensor, factor: float = 0.0) -> None:
        """Experience refutes these entries: remove them, or with a `factor` in (0, 1) scale their strength by it."""
        number("factor", factor, 0, below=1, hint=": 0 removes, a share weakens")
        slots = slots_of("slots", slots, self.capacity)
        self._change(slots[slots >= 0], lambda mine, _: ("contradict", mine, factor))

    @in_own_mode
    def tick(self, amount: float = 1) -> None:
        """Time has passed for forgetting curves that count ticks; removes some of the entries that are too weak now."""
        number("amount", amount, 0)
        for shard, standing in enumerate(self._ask("changed", [("tick", amount)] * self.shards)):
            self._stands(shard, standing)

    def link(
        self, source_slots: Tensor, target_slots: Tensor, weight: Tensor | float = 1.0, kind: Tensor | int = 0
    ) -> None:
        """Link entries, of whichever shards, each to the one beside it; links lie with the driver.  `[B]`s."""
        self._fetch_ends()
        self.links.add(source_slots, target_slots, weight, kind)

    def follow(self, slots: Tensor, steps: int = 1, *, kind: int | None = None) -> Reached:
        """The entries to which `steps` links lead from each of these, the strongest first.  `[B]` -> `[B, W]`."""
        self._fetch_ends()
        return self.links.follow(slots, steps, kind=kind)

    def optimised_by(self, make: Callable[[DifferentiableNeuralDictionary], RowSGD]) -> tuple[int, RowSGD]:
        """Have each shard make an optimiser of its rows; its number, for `stepped`, and one with the same settings."""
        like = make(self._like)
        self._optimisers.append(make)
        self._ask("optimise", [(len(self._optimisers) - 1, make)] * self.shards)
        return len(self._optimisers) - 1, like

    def stepped(self, optimiser: int, slots: Tensor, generation: Tensor, keys: Tensor, values: Tensor) -> None:
        """Take a step on rows `[n]` with gradients `[n, D]` and `[n, V]`; -1 and entries that went are passed over."""
        parts = self._by_shard(slots)
        given = [
            (optimiser, slots[rows] // self.shards, generation[rows], keys[rows], values[rows]) if len(rows) else None
            for rows in parts
        ]
        for shard, standing in enumerate(self._ask("step", given)):
            if standing is not None:
                self._stands(shard, standing)

    # ---- saving

    def save(self, folder: str | Path) -> None:
        """Write everything to a folder, a file for each shard; `load` reads it with any number of shards.

        Shards that are lost from now on are begun from there. A crash meanwhile leaves what a folder held of another
        number of shards; of the same number it may leave some shards older than others.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._fetch_ends()
        for shard in range(self.shards):
            state = self._ask_one(shard, "state_dict")
            write_file(folder / _name(shard, self.shards), {}, state)
        settings = {name: self._settings[name] for name in ("value_dim", "k")} | {
            "space": [asdict(m) for m in self.space],
            "capacity": self.capacity,
            "shards": self.shards,
            "links_per_entry": self.links.per_source,
        }
        settings |= {name: named(name, self._settings[name]) for name in ("kernel", "write_rule", "forgetting")}
        write_file(folder / DIRECTORY, settings, self._directory())
        for older in set(folder.glob("shard-*.safetensors")) - {
            folder / _name(n, self.shards) for n in range(self.shards)
        }:
            older.unlink()
        self._saved, self._kept = folder, None

    @in_own_mode
    def state_dict(self) -> dict[str, Any]:
        """Everything, of all shards, in this process; shards on Ray that are lost from now on are begun from it."""
        self._fetch_ends()
        states = self._ask("state_dict", [()] * self.shards)
        self._keep(states)
        return {"shards": states} | self._directory()

    @in_own_mode
    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> Tensor | None:
        """Restore what `state_dict` gave, which may be of another number of shards: see `load`.

        Returns:
            Of each slot that there was its new one, -1 where its entry has gone; None where all keep theirs, as there
            are as many shards. `[old slots]`

        Raises:
            ValueError: It is no such state, or of other keys and values.
        """
        if not isinstance(state, Mapping) or "shards" not in state:
            raise ValueError(
                "this is no state of a memory in shards; load it into a memory of the kind that gave it, which for a "
                "run that was begun without shards is one without"
            )
        slots = self._take_over(state["shards"], state)
        self._keep(state["shards"] if slots is None else None)
        return slots

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        shards: int | None = None,
        capacity: int | None = None,
        where: str = "ray",
        address: str | None = None,
        cpus: float = 0.0,
        patience: float = PATIENCE,
        index: Index | str = "exact",
        **own: Any,
    ) -> ShardedMemory:
        """Build the memory that a folder holds.

        Args:
            folder: From `save`.
            shards: Another number than it had: entries are dealt anew, and get other slots; links and generations go
                with them. Where a shard then is too small for its share, the weakest go.
            capacity: Another than it had.
            where: See `ShardedMemory`, like the next four.
            address: See there.
            cpus: See there.
            patience: See there.
            index: See there.
            own: `kernel`, `write_rule` or `forgetting`, in place of the saved one; needed if that was a class of yours.

        Raises:
            ValueError: It is no such folder, or damaged.
        """
        folder = Path(folder)
        settings, directory = read_state(folder / DIRECTORY)
        parts = {name: own.pop(name, None) or remade(name, settings[name]) for name in PARTS}
        if own:
            raise unknown("argument of load", next(iter(own)), PARTS)
        held = settings["shards"]
        states = [read_state(folder / _name(shard, held))[1] for shard in range(held)]
        dtype = states[0]["memory"]["values"].dtype
        memory = cls(
            [Modality(**m) for m in settings["space"]],
            settings["value_dim"],
            settings["capacity"] if capacity is None else capacity,
            settings["k"],
            shards=held if shards is None else shards,
            where=where,
            address=address,
            cpus=cpus,
            patience=patience,
            index=index,
            links_per_entry=settings["links_per_entry"],
            dtype=dtype,
            **parts,
        )
        try:
            memory._take_over(states, directory)
        except BaseException:
            memory.close()
            raise
        if memory.shards == held:
            memory._saved = folder
        return memory

    def _keep(self, states: list[dict[str, Any]] | None) -> None:
        """Begin shards that die from these states from now on; where none can die they are not held."""
        self._kept, self._saved = states if self._crew.mortal else None, None

    def _directory(self) -> dict[str, Any]:
        """What is kept here of all shards, as it is saved; it knows where entries end."""
        used = int(self._alive.nonzero().max()) + 1 if self._alive.any() else 0
        ends = {"alive": self._alive[:used].clone(), "generation": self._generation[:used].clone()}
        counts = {"dealt": self._dealt, "turns": self._turns, "lost": self.lost}
        usage = {name: part for name, part in self.usage.state_dict(0).items() if name != "hits"}
        return {"links": self.links.state_dict(used), "ends": ends, "counts": counts | usage}

    def _take_over(self, states: list[dict[str, Any]], directory: dict[str, Any]) -> Tensor | None:
        """Become what was saved, by as many shards or by others; then says which slot each has now."""
        links, each, slots = directory["links"], self.capacity // self.shards, None
        if len(states) != self.shards:
            states, slots = dealt(states, self.shards, each, self._owners)
            links = moved(links, slots, self.capacity)
        counts = directory["counts"]
        self._dealt, self._turns, self.lost = (int(counts[name]) for name in ("dealt", "turns", "lost"))
        self.usage.load_state_dict(self.usage.state_dict(0) | {name: counts[name] for name in USAGE & counts.keys()})
        for shard, standing in enumerate(self._ask("load_state_dict", [(state,) for state in states])):
            self._stands(shard, standing)
        self._alive.zero_(), self._generation.zero_()
        self._fetch_ends()
        self.links.load_state_dict(links)
        return slots

    # ---- looking in

    def describe(self, most_used: int = 5) -> dict[str, Any]:
        """Sizes, what was lost, and what each shard says of itself."""
        parts = self._ask("asked", [("describe", most_used)] * self.shards)
        total = {name: sum(part[name] for part in parts) for name in ("size", "capacity", "evictions", "bytes")}
        return total | {"links": len(self.links), "lookups": self.usage.lookups, "lost": self.lost, "shards": parts}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every entry by column, by ascending slot, as of one memory; `slot` is that of the whole."""
        parts = self._ask("asked", [("to_arrays",)] * self.shards)
        for shard, part in enumerate(parts):
            part["slot"] = part["slot"] * self.shards + shard
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = columns["slot"].argsort(kind="stable")
        return {name: column[order] for name, column in columns.items()}

    # ---- shards

    def _ask(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> list[Any]:
        """What the shards answer; those that are lost are begun anew and asked again."""
        try:
            return self._crew.ask(method, arguments)
        except Lost as loss:
            answers = loss.answers
            for shard in loss.shards:
                self._begin_anew(shard)
                again = [given if number == shard else None for number, given in enumerate(arguments)]
                answers[shard] = self._ask(method, again)[shard]
            return answers

    def _ask_one(self, shard: int, method: str, *arguments: Any) -> Any:
        return self._ask(method, [arguments if number == shard else None for number in range(self.shards)])[shard]

    def _tell(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> None:
        self._crew.tell(method, arguments)

    def _begin_anew(self, shard: int) -> None:
        """Have a shard in the place of a lost one, with what was saved of it."""
        before = self._standings[shard].size
        self._crew.begin(shard)
        for optimiser, make in enumerate(self._optimisers):
            self._ask_one(shard, "optimise", optimiser, make)
        self._stands(shard, self._ask_one(shard, "standing"))
        with suppress(FileNotFoundError):
            if (state := self._state_of(shard)) is not None:
                self._stands(shard, self._ask_one(shard, "load_state_dict", state))
        ours = slice(shard, None, self.shards)
        self._alive[ours] = False
        stands = self._standings[shard].size
        lost, of = max(0, before - stands), "the latest checkpoint" if self._kept else self._saved
        self.lost += lost
        warnings.warn(
            f"shard {shard} of {self.shards} died or did not answer; it was begun anew with {stands} "
            f"entries{f' from {of}' if of else ''}, {lost} were lost",
            RuntimeWarning,
            stacklevel=2,
        )

    def _state_of(self, shard: int) -> dict[str, Any] | None:
        """What was kept last of a shard."""
        if self._kept is not None:
            return self._kept[shard]
        return None if self._saved is None else read_state(self._saved / _name(shard, self.shards))[1]

    def _stands(self, shard: int, standing: Standing) -> None:
        self._standings[shard] = standing
        self._penalties = None

    def _typical(self) -> Tensor | None:
        """What lacking each part costs, by all shards together; None where nothing can be absent.  `[M]`."""
        spreads = [one.spread for one in self._standings if one.spread is not None]
        if self._penalties is None and spreads:
            self._penalties = typical_of(self.space, spreads, self.dtype)
        return self._penalties

    def _owners(self, names: np.ndarray) -> np.ndarray:
        """The shard of each identity, by its hash.  `[B]`."""
        return (mix(names.view(np.uint64)) % np.uint64(self.shards)).astype(np.int64)

    def _excluded(
        self, exclude: Tensor | tuple[Tensor, Tensor] | None, rows: int
    ) -> list[tuple[Tensor, Tensor | None] | None]:
        """For each shard those of its slots that must not be found, and the generations that are meant."""
        if exclude is None:
            return [None] * self.shards
        slots, meant = checked_slots(exclude, rows, torch.device("cpu"), self._generation), None  # [B, E]
        if isinstance(exclude, tuple | list):  # which entry is meant the shards know
            slots, meant = (part.reshape(slots.shape) for part in exclude)
        owner = slots.remainder(self.shards)  # of nobody, -1, any: there it is nobody again
        return [(torch.where(owner == shard, slots // self.shards, -1), meant) for shard in range(self.shards)]

    def _by_shard(self, slots: Tensor) -> list[Tensor]:
        """Which of these slots are each shard's; -1 is nobody's."""
        owner = slots.remainder(self.shards).masked_fill(slots < 0, -1)
        return [(owner == shard).nonzero().squeeze(1) for shard in range(self.shards)]

    def _each(self, method: str, slots: Tensor, beside: Tensor | None = None) -> Iterator[tuple[Tensor, Any]]:
        """Which of the slots are a shard's, and what it answers to a method of theirs and what stands beside them."""
        parts = self._by_shard(slots)
        given = [(slots[rows] // self.shards, _rows(beside, rows)) if len(rows) else None for rows in parts]
        answers = self._ask(method, given)
        yield from ((rows, answer) for rows, answer in zip(parts, answers, strict=True) if len(rows))

    def _change(self, slots: Tensor, call: Callable[[Tensor, Tensor], tuple[Any, ...]]) -> None:
        parts = self._by_shard(slots)
        given = [call(slots[rows] // self.shards, rows) if len(rows) else None for rows in parts]
        for shard, standing in enumerate(self._ask("changed", given)):
            if standing is not None:
                self._stands(shard, standing)

    def _holding(self, slots: Tensor, generation: Tensor | None = None) -> Tensor:
        """Whether slots hold an entry, and the one that is meant.  `[n]` bool."""
        out = torch.zeros(len(slots), dtype=torch.bool)
        for rows, answer in self._each("holds", slots, generation):
            out[rows] = answer
        return out

    @in_own_mode
    def _rows_of(self, column: str, width: int, slots: Tensor) -> Tensor:
        """Rows of a column, zeros where a slot is -1.  `[n]` -> `[n, W]`."""
        out = torch.zeros(len(slots), width, dtype=self.dtype)
        parts = self._by_shard(slots)
        given = [(slots[rows] // self.shards, column) if len(rows) else None for rows in parts]
        for rows, answer in zip(parts, self._ask("rows", given), strict=True):
            if len(rows):
                out[rows] = answer
        return out

    @in_own_mode
    def _fetch_ends(self) -> None:
        """Learn which slots hold which entry, where that has changed."""
        for shard, (slots, alive, generation) in enumerate(self._ask("ends", [()] * self.shards)):
            at = slots * self.shards + shard
            self._alive[at], self._generation[at] = alive, generation


AnyMemory: TypeAlias = DifferentiableNeuralDictionary | ShardedMemory
"""One memory, whole or in shards: agents read and write either in the same way."""


def _refuse_what_is_not_offered(match_within: float | None, device: torch.device) -> None:
    if match_within is not None:
        raise ValueError(
            f"match_within is {match_within}, which a memory in shards does not offer: all shards would have to be "
            f"asked for each row. Leave match_within out and give rows an identity, or leave shards out"
        )
    if device.type != "cpu":
        raise ValueError(
            f"device is {device}; shards lie in the main memory of their machines: give cpu, or leave shards out"
        )


def _name(shard: int, shards: int) -> str:
    """Its file; those of another number of shards stand beside it until the directory names these."""
    return f"shard-{shard:04d}-of-{shards:04d}.safetensors"


def _rows(part: Any, rows: Tensor) -> Any:
    """These rows of a tensor, or of each tensor by name; None stays."""
    if part is None:
        return None
    return part[rows] if isinstance(part, Tensor) else {name: one[rows] for name, one in part.items()}


def _repeated(part: tuple[Tensor, Tensor | None], times: int) -> tuple[Tensor, Tensor | None]:
    slots, meant = (None if one is None else one.repeat_interleave(times, 0) for one in part)
    assert slots is not None
    return slots, meant


def _taken(parts: list[Tensor], order: Tensor) -> Tensor:
    """Of columns `[B, k, F]` side by side, those in this order `[B, k]`; as rows.  `[B k, F]`."""
    whole = torch.cat(parts, 1)  # [B, N k, F]
    return whole.gather(1, order.unsqueeze(2).expand(-1, -1, whole.shape[2])).flatten(0, 1)
