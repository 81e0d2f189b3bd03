"""Forgetting curves: strength fades with time, and starts the higher the more an experience mattered."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.checks import number, unknown
from engram_rl.memory.forgetting.policy import Forgetting, WrittenRows

TIE_BREAK = 2.0**-36
"""What one use is worth where scores are levels and times: too little to matter, enough to order equals by use."""


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

    def written(self, rows: WrittenRows) -> None:
        """Levels start at the priority, or rise to it; each row takes one write's time if writes are what counts."""
        slots = rows.slots
        level = torch.log2(1 + rows.priority.to(self.level))
        self.level[slots] = torch.where(rows.new, level, torch.maximum(level, self.level[slots]))
        order = torch.arange(len(slots), dtype=torch.float64, device=slots.device)
        times = self.now + order if self.unit == "writes" else self.now
        self.set_scores(slots, self.level[slots].double() + times / self.half_life + (self.uses + order) * TIE_BREAK)
        self.uses += len(slots)
        if self.unit == "writes":
            self.now += len(slots)

    def lowest_birth(self, rows: WrittenRows) -> float:
        """The least of the priorities, now."""
        level = float(torch.log2(1 + rows.priority.to(self.level)).min())
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
        self.set_scores(slots, self.score[slots] + math.log2(factor))

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
