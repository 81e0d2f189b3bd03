"""Which entry makes room: every policy is an order of the slots by a score, and the lowest score goes first."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.checks import number, offers, unknown
from engram_rl.memory.forgetting.pool import WeakestPool

TIE_BREAK = 2.0**-36
"""What one use is worth where scores are levels and times: too little to matter, enough to order equals by use."""


class Forgetting:
    """The score of each entry, and the weakest of them without a pass over all.

    Scores are stored in a form that does not change with time, so the order changes only where entries are touched.
    """

    score: Tensor
    """Smallest goes first, +inf where there is no entry.  `[N]` float64"""

    def settings(self) -> dict[str, Any]:
        """The arguments that make another like it."""
        return {}

    def attach(self, capacity: int, device: torch.device) -> None:
        """Make room for `capacity` slots; called once by the dictionary."""
        self.score = torch.full((capacity,), math.inf, dtype=torch.float64, device=device)
        self._pool = WeakestPool(self.score)

    def written(self, slots: Tensor, new: Tensor, priority: Tensor) -> None:
        """Entries were written one after another.

        Args:
            slots: Distinct. `[B]`
            new: Whether the entry is new, rather than written again. `[B]` bool
            priority: `[B]`
        """
        raise NotImplementedError

    def lowest_birth(self, priority: Tensor) -> float:
        """A score that no entry falls short of which is born now with one of these priorities."""
        raise NotImplementedError

    def retrieved(self, slots: Tensor) -> None:
        """Entries that were neighbours of one lookup; may hold repeats."""
        raise NotImplementedError

    def weakened(self, slots: Tensor, factor: float) -> None:
        """Entries that experience spoke against."""
        raise ValueError(f"{type(self).__name__} keeps no strength to weaken; use Decay or factor=0, which removes")

    def expired(self, most: int, used: int) -> Tensor:
        """At most `most` entries too weak to keep; policies without a threshold have none."""
        return torch.empty(0, dtype=torch.int64, device=self.score.device)

    def removed(self, slots: Tensor) -> None:
        """Slots that hold no entry any more."""
        self.score[slots] = math.inf

    def tick(self, amount: float) -> None:
        """Time has passed; only policies with a forgetting curve care."""

    def strength(self, slots: Tensor) -> Tensor:
        """How strong entries are now; 1 where the policy knows no strength."""
        return torch.ones(slots.shape, dtype=torch.float64, device=slots.device)

    def weakest(self, n: int, used: int) -> Tensor:
        """The `n` entries with the lowest score among the first `used` slots, lowest first, ties by slot."""
        return self._pool.weakest(n, used)

    def state_dict(self, used: int) -> dict[str, Any]:
        """The scores of the first `used` slots and whatever else orders the entries."""
        return {"score": self.score[:used].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, right after `attach`."""
        self.score[: len(state["score"])] = state["score"].to(self.score.device)

    def _set(self, slots: Tensor, score: Tensor) -> None:
        self.score[slots] = score
        self._pool.lowered(slots)


class LeastRecentlyUsed(Forgetting):
    """The entry goes that has least recently been written or been a neighbour: Neural Episodic Control, section 2."""

    def attach(self, capacity: int, device: torch.device) -> None:
        """Start the order of uses at 0."""
        super().attach(capacity, device)
        self.uses = 0

    def written(self, slots: Tensor, new: Tensor, priority: Tensor) -> None:
        """One use each, in order."""
        uses = torch.arange(self.uses, self.uses + len(slots), dtype=torch.float64, device=slots.device)
        self._set(slots, uses)
        self.uses += len(slots)

    def lowest_birth(self, priority: Tensor) -> float:
        """Every birth is a later use than any so far."""
        return float(self.uses)

    def retrieved(self, slots: Tensor) -> None:
        """One use, at the same time for all."""
        self.score[slots] = float(self.uses)
        self.uses += 1

    def state_dict(self, used: int) -> dict[str, Any]:
        """Scores and the count of uses."""
        return super().state_dict(used) | {"uses": self.uses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore scores and the count of uses."""
        super().load_state_dict(state)
        self.uses = int(state["uses"])


class FirstInFirstOut(LeastRecentlyUsed):
    """The oldest entry goes, however useful it has been."""

    def written(self, slots: Tensor, new: Tensor, priority: Tensor) -> None:
        """A new entry's age begins; one written again keeps its own."""
        super().written(slots[new], new[new], priority[new])

    def retrieved(self, slots: Tensor) -> None:
        """An entry keeps its age."""


class Trust(LeastRecentlyUsed):
    """The least recently used entry goes; strength is trust, which contradiction takes and time gives back.

    An entry is trusted fully when written. `contradict(slots, factor)` multiplies its trust by the factor; of what it
    then lacks, the share `doubt` is left after each tick, so that what failed once is tried again some time.

    Args:
        doubt: In [0, 1]; 1 never forgives.
    """

    def __init__(self, doubt: float = 0.8) -> None:
        if not 0 <= doubt <= 1:
            raise ValueError(f"doubt is {doubt}; it is a share, from 0 to 1")
        self.doubt = doubt

    def settings(self) -> dict[str, Any]:
        """The arguments that make another like it."""
        return {"doubt": self.doubt}

    def attach(self, capacity: int, device: torch.device) -> None:
        """Nothing is doubted; time starts at 0."""
        super().attach(capacity, device)
        self.lost = torch.zeros(capacity, dtype=torch.float32, device=device)
        self.since = torch.zeros(capacity, dtype=torch.float64, device=device)
        self.now = 0.0

    def written(self, slots: Tensor, new: Tensor, priority: Tensor) -> None:
        """Trusted again, and used."""
        super().written(slots, new, priority)
        self.lost[slots] = 0

    def weakened(self, slots: Tensor, factor: float) -> None:
        """Trust falls by `factor`."""
        self.lost[slots] = (1 - factor * self.strength(slots)).to(self.lost)
        self.since[slots] = self.now

    def tick(self, amount: float) -> None:
        """Time has passed."""
        self.now += amount

    def strength(self, slots: Tensor) -> Tensor:
        """`1 - lost * doubt ** (now - since)`."""
        return 1 - self.lost[slots] * self.doubt ** (self.now - self.since[slots])

    def state_dict(self, used: int) -> dict[str, Any]:
        """Scores, doubts and the time."""
        doubts = {"lost": self.lost[:used].clone(), "since": self.since[:used].clone(), "now": self.now}
        return super().state_dict(used) | doubts

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore scores, doubts and the time."""
        super().load_state_dict(state)
        for name in ("lost", "since"):
            mine = getattr(self, name)
            mine[: len(state[name])] = state[name].to(mine)
        self.now = float(state["now"])


class Decay(Forgetting):
    """Strength fades along a forgetting curve, and the weakest entry goes.

    Of an entry last used at time t, strength is `2 ** (level - (now - t) / half_life)`. Its level starts at
    `log2(1 + priority)`, so a surprising or rewarding experience starts stronger; each retrieval renews the strength to
    the level and raises that by `durability`, so an entry that is used often lasts longer (Ebbinghaus 1885; Anderson
    and Schooler 1991). As all entries fade at one rate, the score `level + t / half_life` orders them for ever.

    Args:
        half_life: Time in which strength halves.
        unit: What time counts: "writes" (rows written), or "ticks" (of `memory.tick()`, called each step or episode).
        durability: Half-lives that each retrieval adds.
        most: Highest level that retrievals can reach.
        threshold: Entries weaker than this are removed, in batches, at the next writes and ticks; 0 for none.
    """

    def __init__(
        self,
        half_life: float,
        *,
        unit: str = "writes",
        durability: float = 0.5,
        most: float = 8.0,
        threshold: float = 0.0,
    ) -> None:
        number("half_life", half_life, above=0, infinite=True)
        if unit not in ("writes", "ticks"):
            raise unknown("unit of half_life", str(unit), ("writes", "ticks"))
        for name, value in (("durability", durability), ("threshold", threshold)):
            number(name, value, 0)
        number("most", most)
        self.half_life, self.unit, self.durability = half_life, unit, durability
        self.most, self.threshold = most, threshold

    def settings(self) -> dict[str, Any]:
        """The arguments that make another like it."""
        names = ("half_life", "unit", "durability", "most", "threshold")
        return {name: getattr(self, name) for name in names}

    def attach(self, capacity: int, device: torch.device) -> None:
        """Start time at 0."""
        super().attach(capacity, device)
        self.level = torch.zeros(capacity, dtype=torch.float32, device=device)
        self.now, self.uses = 0.0, 0

    def written(self, slots: Tensor, new: Tensor, priority: Tensor) -> None:
        """Levels start at the priority, or rise to it; each row takes one write's time if writes are what counts."""
        level = torch.log2(1 + priority.to(self.level))
        self.level[slots] = torch.where(new, level, torch.maximum(level, self.level[slots]))
        order = torch.arange(len(slots), dtype=torch.float64, device=slots.device)
        times = self.now + order if self.unit == "writes" else self.now
        self._set(slots, self.level[slots].double() + times / self.half_life + (self.uses + order) * TIE_BREAK)
        self.uses += len(slots)
        if self.unit == "writes":
            self.now += len(slots)

    def lowest_birth(self, priority: Tensor) -> float:
        """The least of the priorities, now."""
        level = float(torch.log2(1 + priority.to(self.level)).min())
        return level + self.now / self.half_life + self.uses * TIE_BREAK

    def retrieved(self, slots: Tensor) -> None:
        """Renewed, and more durable from now on; once per lookup, however many queries found an entry."""
        level = self.level[slots]
        self.level[slots] = torch.maximum(level, (level + self.durability).clamp(max=self.most))
        self.score[slots] = self.level[slots].double() + (self.now / self.half_life + self.uses * TIE_BREAK)
        self.uses += 1

    def weakened(self, slots: Tensor, factor: float) -> None:
        """Strength and level fall by `factor`."""
        self.level[slots] += math.log2(factor)
        self._set(slots, self.score[slots] + math.log2(factor))

    def tick(self, amount: float) -> None:
        """Time has passed, if ticks are what counts."""
        if self.unit == "ticks":
            self.now += amount

    def strength(self, slots: Tensor) -> Tensor:
        """`2 ** (score - now / half_life)`."""
        return torch.exp2(self.score[slots] - self.now / self.half_life)

    def expired(self, most: int, used: int) -> Tensor:
        """At most `most` entries below the threshold, weakest first."""
        if self.threshold == 0:
            return super().expired(most, used)
        weakest = self.weakest(most, used)
        return weakest[self.strength(weakest) < self.threshold]

    def state_dict(self, used: int) -> dict[str, Any]:
        """Scores, levels and the time."""
        return super().state_dict(used) | {"level": self.level[:used].clone(), "now": self.now, "uses": self.uses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore scores, levels and the time."""
        super().load_state_dict(state)
        self.level[: len(state["level"])] = state["level"].to(self.level.device)
        self.now, self.uses = float(state["now"]), int(state["uses"])


class Priority(Decay):
    """The entry with the lowest priority goes, whatever its age; among equals the least recently used."""

    def __init__(self) -> None:
        super().__init__(half_life=math.inf, durability=0.0)

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}


FORGETTING = {
    "lru": LeastRecentlyUsed,
    "fifo": FirstInFirstOut,
    "priority": Priority,
    "decay": Decay,
    "trust": Trust,
}


def make_forgetting(policy: Forgetting | str) -> Forgetting:
    """A policy from its name, with its defaults."""
    if not isinstance(policy, str):
        return offers("forgetting", policy, ("attach", "written", "retrieved", "weakest"), FORGETTING)
    if policy not in FORGETTING or policy == "decay":
        raise unknown("forgetting policy (give decay as Decay(half_life=...))", policy, FORGETTING)
    return FORGETTING[policy]()
