"""The differentiable neural dictionary: its tensors are the truth, an index is a cache that may be rebuilt."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.checks import (
    LARGEST_KEY,
    LARGEST_VALUE,
    check_moved,
    checked_k,
    checked_place,
    number,
    require_ram,
    slots_of,
    truth,
    whole,
)
from engram_rl.memory.forgetting.policy import Forgetting, make_forgetting
from engram_rl.memory.indexes.auto import make_index
from engram_rl.memory.indexes.exact import Index
from engram_rl.memory.indexes.reranking import nearest
from engram_rl.memory.inspection import describe, to_arrays, to_pandas
from engram_rl.memory.kernels import InverseDistance, Kernel, make_kernel
from engram_rl.memory.keys.identity import IdentityTable
from engram_rl.memory.keys.masked import KeyStore, entry_bytes
from engram_rl.memory.keys.space import KeyInput, KeySpace, Modality, Present
from engram_rl.memory.keys.subsets import References, combinations_of, under_each
from engram_rl.memory.links import Links, Reached
from engram_rl.memory.persistence.file import load, save
from engram_rl.memory.persistence.state import restore, state_of
from engram_rl.memory.reading import Found, read
from engram_rl.memory.usage import Usage
from engram_rl.memory.writing.batch import checked_batch, checked_identity, checked_slots
from engram_rl.memory.writing.rules import WriteRule, make_write_rule
from engram_rl.memory.writing.slots import Slots
from engram_rl.memory.writing.storing import store

if TYPE_CHECKING:
    import pandas as pd

SWEEP = 1024
"""Most entries that one tick removes."""


class DifferentiableNeuralDictionary:
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
        index: Who proposes neighbours: "exact" (default), "kept" (exact, and keeps its answers for queries that come
            again), "ivf" (approximate, for large memories), "auto" (exact until ivf measurably pays) or an object.
        kernel: Distance to weight: "inverse_distance" (default), "gaussian", "uniform" or an object from `kernels`.
        write_rule: What a repeated identity does: "append" (default), "blend", "last", "max", "surprise_gated" or an
            object from `writing`.
        forgetting: Who makes room: "lru" (default; least recently written or retrieved), "fifo", "priority" or an
            object from `forgetting`, such as `Decay(half_life=10_000)`.
        match_within: Squared distance within which a row that is written without an identity stands for the nearest
            entry of the same modalities; None: such rows are always new.
        links_per_entry: Most links from one entry; room for them is taken at the first link.
        device: Where the tensors live.
        dtype: Of keys and values; float64 is for checking gradients.
    """

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
        self.value_dim, self.capacity, self.k = whole("value_dim", value_dim), whole("capacity", capacity), checked_k(k)
        self.device, self.dtype = checked_place(device, dtype)
        require_ram(
            f"capacity={self.capacity} of keys of {self.space.dim} numbers and values of {self.value_dim}",
            self.nbytes,
            "lower the capacity or the sizes of key and value",
            self.device,
        )
        self.kernel = make_kernel(kernel)
        self.write_rule = make_write_rule(write_rule)
        if match_within is not None:
            number("match_within", match_within, 0, hint=": it is a squared distance")
        self.match_within = match_within
        self.index: Index = _own(make_index(index))
        self.forgetting: Forgetting = _own(make_forgetting(forgetting))
        self.forgetting.attach(capacity, self.device)
        self.store = KeyStore(self.space, capacity, dtype, self.device)
        self.index.attach(self.store)
        self.values = torch.zeros(capacity, value_dim, dtype=dtype, device=self.device)
        """The value of each slot. `[N, V]`"""
        self.slot_table = Slots(capacity, self.device)
        self.identities = IdentityTable(capacity)
        self.usage = Usage(capacity, self.device)
        self.links = Links(self.alive, self.generation, links_per_entry)
        """Links between entries; beyond `link` and `follow` it offers `spread`, for activation that spreads."""

    def __len__(self) -> int:
        return len(self.slot_table)

    @property
    def nbytes(self) -> int:
        """Bytes that its tensors take up once every slot has been used; links come on top."""
        return self.capacity * entry_bytes(self.space, self.value_dim, self.dtype)

    @property
    def alive(self) -> Tensor:
        """Whether a slot holds an entry.  `[N]` bool."""
        return self.slot_table.alive

    @property
    def generation(self) -> Tensor:
        """Counts the entries a slot has held: a pair (slot, generation) names one entry for ever.  `[N]` int32."""
        return self.slot_table.generation

    @property
    def used(self) -> int:
        """Slots from here on have never held an entry."""
        return self.slot_table.used

    @property
    def evictions(self) -> int:
        """Entries that have had to make room so far."""
        return self.slot_table.evictions

    @property
    def slots(self) -> Tensor:
        """All slots that hold an entry, ascending; a pass over all.  `[len(self)]`."""
        return self.alive[: self.used].nonzero().squeeze(1)

    @property
    def key_vectors(self) -> Tensor:
        """The keys' vectors in place, the modalities side by side.  `[N, D]`."""
        return self.store.vectors

    # ---- reading

    def lookup(
        self,
        query: KeyInput,
        k: int | None = None,
        touch: bool = True,
        exclude: Tensor | None = None,
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
                `[B]` or `[B, E]`
            present: Per modality, which queries of the batch give it; all by default.
            references: Match each query under several combinations of its parts and average by evidence: "all" for
                every combination, or a list of them, such as `[("view", "place"), ("view",)]`; `found.evidence` says
                what each contributed.

        Raises:
            ValueError: Shapes, names or numbers are not those of a query. Nothing has been changed then.
        """
        packed = self.space.pack(query, present, dtype=self.dtype, device=self.device)
        k = self.k if k is None else checked_k(k)
        truth("touch", touch)
        excluded = checked_slots(exclude, len(packed), self.device)
        combinations = 1
        if references is not None:
            given = self.space.names if isinstance(query, Tensor) else list(query)
            chosen = combinations_of(self.space, given, references)
            combinations = len(chosen)
            packed = under_each(packed, self.space, chosen)
            excluded = None if excluded is None else excluded.repeat_interleave(combinations, 0)
        near = nearest(self.store, self.index, packed, k, self.slot_table, excluded)
        found = read(self.store, self.values, self.generation, self.kernel, packed, near, combinations)
        if touch:
            self.forgetting.retrieved(found.slots.reshape(-1) if near.complete else found.slots[found.valid])
            self.usage.add(found)
        return found

    def find(self, identity: Tensor) -> Tensor:
        """The slot of each identity, -1 where it is unknown.  `[B]` int64 -> `[B]`."""
        return torch.from_numpy(self.identities.find(checked_identity(identity))).to(self.device)

    def follow(self, slots: Tensor, steps: int = 1, *, kind: int | None = None) -> Reached:
        """The entries to which `steps` links lead from each of these, the strongest first.  `[B]` -> `[B, W]`."""
        return self.links.follow(slots, steps, kind=kind)

    def same_entries(self, found: Found) -> Tensor:
        """Whether each slot still holds the entry that was found there.  `[B, k]` bool."""
        slots = found.slots.clamp(min=0)
        return found.valid & (self.generation[slots] == found.generation) & self.alive[slots]

    # ---- changing

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
            The slot of each row. `[B]`

        Raises:
            ValueError: Shapes, names or numbers are not those of an entry. Nothing has been changed then.
        """
        packed = self.space.pack(keys, present, dtype=self.dtype, device=self.device)
        slots = store(self, checked_batch(packed, values, priority, identity, self.values))
        self._expire(2 * len(slots))  # twice as many as came, so that removal keeps up
        return slots

    @torch.no_grad()
    def move(self, slots: Tensor, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        """Put distinct entries' key vectors `[n, D]` or values `[n, V]` elsewhere, as a gradient step does."""
        slots = slots_of("slots", slots, self.capacity, nobody=False)
        if not self.alive[slots].all():
            raise ValueError(
                f"slot {int(slots[~self.alive[slots]][0])} holds no entry that could move; give slots of entries"
            )
        for name, new, like, most in (
            ("keys", keys, self.key_vectors, LARGEST_KEY),
            ("values", values, self.values, LARGEST_VALUE),
        ):
            check_moved(name, new, len(slots), like, most)
        if keys is not None:
            keys = keys.to(self.key_vectors)
            self.index.moving(slots, keys)
            self.store.move(slots, keys)
        if values is not None:
            self.values[slots] = values.to(self.values)

    @torch.no_grad()
    def forget(self, slots: Tensor) -> None:
        """Remove entries; -1 and slots without an entry are passed over."""
        slots = slots_of("slots", slots, self.capacity)
        slots = torch.unique(slots[slots >= 0])
        slots = slots[self.alive[slots]]
        self.slot_table.release(slots)
        self.identities.remove(slots.cpu().numpy())
        self.store.erase(slots)
        self.index.written(slots)
        self.forgetting.removed(slots)

    @torch.no_grad()
    def contradict(self, slots: Tensor, factor: float = 0.0) -> None:
        """Experience refutes these entries: remove them, or with a `factor` in (0, 1) scale their strength by it."""
        number("factor", factor, 0, below=1, hint=": 0 removes, a share weakens")
        slots = slots_of("slots", slots, self.capacity)
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

    def tick(self, amount: float = 1) -> None:
        """Time has passed for forgetting curves that count ticks; removes some of the entries that are too weak now."""
        self.forgetting.tick(number("amount", amount, 0))
        self._expire(SWEEP)

    def strength(self, slots: Tensor) -> Tensor:
        """How strong these entries are now, on the forgetting curve; 1 where the policy has none.  `[n]`."""
        return self.forgetting.strength(slots_of("slots", slots, self.capacity, nobody=False))

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and plain values; of the per-slot tensors only the slots that have been used."""
        return state_of(self)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; the capacity may differ as long as every used slot exists.

        Raises:
            ValueError: It was saved by a dictionary of another shape. Nothing has been changed then.
        """
        restore(self, state)

    def save(self, path: str | Path) -> None:
        """Write everything to one file, which `DifferentiableNeuralDictionary.load` reads on any device and index."""
        save(self, path)

    load = staticmethod(load)

    # ---- looking in

    def describe(self, most_used: int = 5) -> dict[str, Any]:
        """Sizes, strengths, how near lookups hit, the most used entries, the index's own report."""
        return describe(self, most_used)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every entry by column: modalities by name (NaN where lacking), value, strength, hits, identity, slot."""
        return to_arrays(self)

    def to_pandas(self) -> pd.DataFrame:
        """Every entry as a row of a table; needs pandas."""
        return to_pandas(self)

    def _expire(self, most: int) -> None:
        expired = self.forgetting.expired(min(most, len(self)), self.used)
        if len(expired):
            self.forget(expired)


def _own(part: Any) -> Any:
    """The part itself, or a copy if it serves another memory already: what it keeps is about one memory."""
    own = copy(part) if getattr(part, "serves", False) else part
    own.serves = True
    return own
