"""What every policy of forgetting offers: an order of the slots by a score, in which the lowest score goes first."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.forgetting.weakest import WeakestEntries, WeakestOfAll
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.waiting import AT_HAND


@dataclass(frozen=True)
class WrittenRows:
    """Rows that are written, each to a slot of its own.

    Attributes:
        slots: Where. `[B]`
        new: Whether the entry is new, rather than written again. `[B]` bool
        priority: How surprising or rewarding the experience was, as given; 0 where nothing was. `[B]`
        keys: Their keys. `[B, ...]`
        values: What the entries hold from now on, combined with what they held before. `[B, V]`
        turns: Which of the rows written together each is, ascending, where others came between that have made room
            again already; None: they are all. `[B]` int64
        together: How many were written together.
        fresh: Where the new entries are, in order; None: as `slots` and `new` say. `[n]`
    """

    slots: Tensor
    new: Tensor
    priority: Tensor
    keys: Keys
    values: Tensor
    turns: Tensor | None = None
    together: int = 0
    fresh: Tensor | None = None

    def __len__(self) -> int:
        """Rows written together, those that have made room again already included."""
        return self.slots.shape[0] if self.turns is None else self.together

    def order(self) -> Tensor:
        """0 for the first row that was written, then 1 ... `[B]` float64."""
        if self.turns is not None:
            return self.turns.to(torch.float64)
        return torch.arange(self.slots.shape[0], dtype=torch.float64, device=self.slots.device)


def _rebuilt(kind: type[Forgetting], held: dict[str, Any]) -> Forgetting:
    policy = object.__new__(kind)
    for name, value in held.items():
        object.__setattr__(policy, name, value)
    return policy


class Forgetting(ABC):
    """The score of each entry, and the weakest of them without a pass over all.

    A policy of your own must say what `written` and `retrieved` do: they set scores with `set_scores`, of the entries
    that are touched and no others. Scores are stored in a form that does not change with time, so the order changes
    only where entries are touched. Everything else has a default: overwrite `attach`, `state_dict` and
    `load_state_dict` (and call these) if more than scores orders the entries, `settings` if it takes arguments,
    `lowest_birth` so that many rows may replace entries at once, and the rest for a forgetting curve.
    """

    score: Tensor
    """Of each slot: the lowest goes first; of no meaning where there is no entry.  `[N]` float64"""

    since: Tensor | None
    """Of each slot, where a policy orders entries of one score by their latest use: when that was.  `[N]` float64"""

    by_use = False
    """Whether entries of one score are ordered by `since`, then by slot; else by slot at once."""

    _weakest: WeakestEntries | WeakestOfAll

    def __reduce__(self) -> tuple[Any, ...]:
        """All that it holds, also where a frozen dataclass with slots would tell of its fields only."""
        slots = [name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())]
        held = {name: getattr(self, name) for name in slots if hasattr(self, name)} | vars(self)
        return _rebuilt, (type(self), held)

    def settings(self) -> dict[str, Any]:
        """The arguments that make another like it."""
        return {}

    def attach(self, capacity: int, device: torch.device) -> None:
        """Make room for `capacity` slots; called once by the dictionary."""
        score = zeros(capacity, dtype=torch.float64, device=device)
        since = zeros(capacity, dtype=torch.float64, device=device) if self.by_use else None
        weakest = WeakestEntries if score.device.type in AT_HAND else WeakestOfAll
        own = {"score": score, "since": since, "_weakest": weakest(score, since)}
        for name, value in own.items():
            object.__setattr__(self, name, value)  # so, because a frozen dataclass may be a policy

    @abstractmethod
    def written(self, rows: WrittenRows) -> None:
        """Entries were written one after another, at distinct slots."""

    @abstractmethod
    def retrieved(self, slots: Tensor) -> None:
        """Entries that were neighbours of one lookup; may hold repeats."""

    def lowest_birth(self, rows: WrittenRows) -> float | Tensor:
        """A score that none of these rows falls short of if it is written now as a new entry.

        As long as it is above the scores of the entries that make room, rows are stored many at a time. The values
        are those that were given.
        """
        return -math.inf

    def births(self, rows: WrittenRows) -> Tensor | None:
        """The score of each of these rows if they are written now, one after another, as new entries.  `[B]` float64.

        A policy that can say so has rows that are weaker than what is stored placed many at a time; None if it cannot.
        """
        return None

    def weakened(self, slots: Tensor, factor: float) -> None:
        """Entries that experience spoke against."""
        raise ValueError(f"{type(self).__name__} keeps no strength to weaken; use Decay or factor=0, which removes")

    def expired(self, most: int, used: int) -> Tensor:
        """At most `most` entries too weak to keep, on any device; policies without a threshold have none."""
        return torch.empty(0, dtype=torch.int64, device=self.score.device)

    def removed(self, slots: Tensor) -> None:
        """Slots that hold no entry any more."""
        self.score.index_fill_(0, slots, math.inf)

    def tick(self, amount: float) -> None:  # noqa: B027 - most policies have nothing to do
        """Time has passed; only policies with a forgetting curve care."""

    def strength(self, slots: Tensor) -> Tensor:
        """How strong entries are now; 1 where the policy knows no strength."""
        return torch.ones(slots.shape, dtype=torch.float64, device=slots.device)

    def weakest(self, n: int, used: int) -> Tensor:
        """The `n` entries with the lowest score among the first `used` slots, lowest first, ties by slot."""
        return self._weakest.lowest(n, used)

    def state_dict(self, used: int) -> dict[str, Any]:
        """The scores of the first `used` slots and whatever else orders the entries."""
        return {"score": self.score[:used].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, right after `attach`."""
        self.score[: len(state["score"])] = state["score"].to(self.score.device)

    def set_scores(self, slots: Tensor, score: Tensor) -> None:
        """Give entries these scores, lower or higher than before.  `[B]`, `[B]`."""
        self.score[slots] = score
        self._weakest.lowered(slots)
