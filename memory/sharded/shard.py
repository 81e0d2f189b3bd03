"""A shard: a dictionary of its own that knows its slots alone, and is asked by one driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.indexes.exact import nearest
from engram_rl.memory.keys.space import KeyInput, Keys, Present
from engram_rl.memory.learning import RowSGD
from engram_rl.memory.reading import Found
from engram_rl.memory.writing.batch import checked_slots

ERA = 2**20
"""By so much generations rise where a shard was lost, so that a name given since its last saving names nobody."""


class Candidates(NamedTuple):
    """The nearest entries of one shard.

    Attributes:
        slots: Of the shard; -1 where there is none. `[B, k]`
        distances: `[B, k]`
        valid: `[B, k]` bool
        written: When each was written last, counted over all shards. `[B, k]`
        generation: `[B, k]`
        keys: `[B, k, ...]`
        values: `[B, k, V]`
    """

    slots: Tensor
    distances: Tensor
    valid: Tensor
    written: Tensor
    generation: Tensor
    keys: Keys
    values: Tensor


class Standing(NamedTuple):
    """What the driver has to know of a shard after a change.

    Attributes:
        size: Entries.
        used: Slots from here on have never held an entry.
        evictions: Entries that have had to make room.
        recall: As the index estimates it; None where it does not.
        spread: The sums that penalties of absent parts go by; None where nothing can be absent.
    """

    size: int
    used: int
    evictions: int
    recall: float | None
    spread: dict[str, Tensor] | None


class Shard:
    """Part of a sharded memory; slots are the shard's own.

    Args:
        settings: Arguments of its `DifferentiableNeuralDictionary`.
        era: How many shards were lost in its place before.
    """

    def __init__(self, settings: dict[str, Any], era: int = 0) -> None:
        self.memory = DifferentiableNeuralDictionary(**settings)
        self._era = era
        if era:
            self.memory.generation += era * ERA
        self._written = zeros(self.memory.capacity, dtype=torch.int64)  # [N], when each slot was written last
        self._told: tuple[Tensor, Tensor] | None = None
        self._optimisers: dict[int, RowSGD] = {}

    def nearest(
        self, asked: Keys, k: int, exclude: tuple[Tensor, Tensor | None] | None, penalties: Tensor | None
    ) -> Candidates:
        """The k nearest entries of each query.

        Args:
            asked: B queries.
            k: How many.
            exclude: Slots that each query must not find, `[B, E]`, and the generations that are meant.
            penalties: What lacking each part costs, by all shards together. `[M]`
        """
        memory = self.memory
        if penalties is not None:
            memory.store.assume(penalties)
        excluded = None
        if exclude is not None:
            slots, meant = exclude
            given = slots if meant is None else (slots, meant)
            excluded = checked_slots(given, len(asked), memory.device, memory.generation)
        near = nearest(memory.store, memory.index, asked, k, memory.slot_table, excluded)
        at = near.slots.clamp(min=0)
        keys = Keys(*(part[at] for part in (memory.key_vectors, memory.store.codes, memory.store.present)))
        return Candidates(
            near.slots,
            near.distances,
            near.valid,
            self._written[at],
            memory.generation[at],
            keys,
            memory.values[at],
        )

    def retrieved(self, slots: Tensor) -> None:
        """These entries were among the nearest of all shards in one lookup; may hold repeats."""
        self.memory.usage.hits.index_add_(0, slots, torch.ones_like(slots, dtype=torch.int32))
        self.memory.forgetting.retrieved(slots)

    def write(
        self,
        keys: KeyInput,
        values: Tensor,
        priority: Tensor | None,
        identity: Tensor | None,
        present: Present,
        turns: Tensor,
    ) -> tuple[Tensor, Standing]:
        """See `DifferentiableNeuralDictionary.write`; `turns` says which writes of all these are, ascending.  `[B]`.

        Returns:
            Slots, `[B]`, and the standing.
        """
        slots = self.memory.write(keys, values, priority, identity, present=present)
        stand = slots >= 0
        self._written.scatter_reduce_(0, slots[stand], turns[stand], "amax")
        return slots, self.standing()

    def changed(self, method: str, *arguments: Any) -> Standing:
        """Call a method of the dictionary that changes it: `move`, `forget`, `contradict`, `tick`."""
        getattr(self.memory, method)(*arguments)
        return self.standing()

    def asked(self, method: str, *arguments: Any) -> Any:
        """Call a method of the dictionary that changes nothing that the driver knows: `find`, `describe`, `touch`."""
        return getattr(self.memory, method)(*arguments)

    def standing(self) -> Standing:
        """See `Standing`."""
        spread = getattr(self.memory.store, "spread", None)
        if spread is not None:
            self.memory.store.penalties()  # sums up anew where entries that went took the digits of the others along
        memory, sums = self.memory, None if spread is None else spread.state_dict()
        return Standing(len(memory), memory.used, memory.evictions, memory.recall, sums)

    def rows(self, slots: Tensor, column: str) -> Tensor:
        """Rows of a column of the dictionary, `values` or `key_vectors`.  `[n]` -> `[n, W]`."""
        rows: Tensor = getattr(self.memory, column)[slots]
        return rows

    def holds(self, slots: Tensor, generation: Tensor | None = None) -> Tensor:
        """Whether each slot holds an entry, and the one that is meant.  `[n]` bool."""
        alive = self.memory.alive[slots]
        return alive if generation is None else alive & (self.memory.generation[slots] == generation)

    def strength(self, slots: Tensor, _: None) -> Tensor:
        """How strong entries are now.  `[n]`."""
        return self.memory.strength(slots)

    def ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """Slots whose entry is another, or has gone, since this was last asked; whether they hold one; generations."""
        alive, generation = self.memory.alive, self.memory.generation
        if self._told is None:
            self._told = torch.zeros_like(alive), torch.zeros_like(generation)
        slots = ((alive != self._told[0]) | (generation != self._told[1])).nonzero().squeeze(1)
        for told, now in zip(self._told, (alive, generation), strict=True):
            told[slots] = now[slots]
        return slots, alive[slots], generation[slots]

    def optimise(self, number: int, make: Callable[[DifferentiableNeuralDictionary], RowSGD]) -> None:
        """Have an optimiser of these rows, known by a number."""
        self._optimisers[number] = make(self.memory)

    def step(
        self, number: int, slots: Tensor, generation: Tensor, key_gradients: Tensor, value_gradients: Tensor
    ) -> Standing:
        """Move rows `[n]` by their gradients, `[n, D]` and `[n, V]`; entries that were replaced are left alone."""
        keys, values = (torch.zeros_like(one).unsqueeze(1) for one in (key_gradients, value_gradients))
        keys.grad, values.grad = key_gradients.unsqueeze(1), value_gradients.unsqueeze(1)
        one = torch.ones(len(slots), 1)
        read = Found(
            value=values[:, 0],
            slots=slots.unsqueeze(1),
            weights=one,
            distances=one,
            valid=one > 0,
            values=values.requires_grad_(),
            keys=keys.requires_grad_(),
            generation=generation.unsqueeze(1),
        )
        self._optimisers[number].step(read)
        return self.standing()

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        used = self.memory.used
        optimisers = {str(number): one.state_dict() for number, one in self._optimisers.items()}
        written = self._written[:used].clone()
        return {"memory": self.memory.state_dict(), "turns": written, "optimisers": optimisers}

    def load_state_dict(self, state: dict[str, Any]) -> Standing:
        """Restore what `state_dict` gave; in place of a lost shard, under other generations."""
        self.memory.load_state_dict(state["memory"])
        self._written.zero_()
        self._written[: len(state["turns"])] = state["turns"]
        saved = state.get("optimisers", {})
        for number, one in self._optimisers.items():
            if str(number) in saved:
                one.load_state_dict(saved[str(number)])
        self.memory.generation[: self.memory.used] += self._era * ERA
        self._told = None
        return self.standing()
