"""Forgetting curves: strength fades with time, and starts the higher the more an experience mattered."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.checks import LARGEST_VALUE, number, unknown
from engram_rl.memory.forgetting.policy import Forgetting, WrittenRows
from engram_rl.memory.waiting import AT_HAND, told

HIGHEST = 1000.0
"""Of levels, in size; strengths are powers of two, which a float64 holds up to there."""

LEAST_HALF_LIFE = 1e-6
LONGEST = 2.0**53
"""Time that may pass; a single write or tick is not seen beyond."""


class Decay(Forgetting):
    """Strength fades along a forgetting curve, and the weakest entry goes.

    Of an entry last used at time t, strength is `2 ** (level - (now - t) / half_life)`. Its level starts at
    `log2(1 + priority)`, so a surprising or rewarding experience starts stronger; each retrieval renews the strength to
    the level and raises that by `durability`, so an entry that is used often lasts longer (Ebbinghaus 1885; Anderson
    and Schooler 1991). As all entries fade at one rate, the score `level + t / half_life` orders them for ever; among
    equals the least recently used goes.

    Args:
        half_life: Time in which strength halves, at least 1e-6.
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
        number("half_life", half_life, LEAST_HALF_LIFE, infinite=True)
        if unit not in ("writes", "ticks"):
            raise unknown("unit of half_life", str(unit), ("writes", "ticks"))
        number("durability", durability, 0, most=HIGHEST)
        number("threshold", threshold, 0, most=LARGEST_VALUE)
        number("most", most, -HIGHEST, most=HIGHEST)
        self.half_life, self.unit, self.durability = half_life, unit, durability
        self.most, self.threshold = most, threshold

    by_use = True
    since: Tensor

    def settings(self) -> dict[str, Any]:
        """The arguments that make another like it."""
        names = ("half_life", "unit", "durability", "most", "threshold")
        return {name: getattr(self, name) for name in names}

    def attach(self, capacity: int, device: torch.device) -> None:
        """Start time at 0."""
        super().attach(capacity, device)
        self.level = zeros(capacity, dtype=torch.float64, device=device)
        self.now, self.uses = 0.0, 0

    def written(self, rows: WrittenRows) -> None:
        """Levels start at the priority, or rise to it; each row takes one write's time if writes are what counts."""
        slots, level = rows.slots, _level(rows.priority)
        level = torch.where(rows.new, level, torch.maximum(level, self.level[slots]))
        self.level[slots] = level
        self.since[slots] = self.uses + rows.order()
        self.set_scores(slots, level + self._times(rows) / self.half_life)
        self.uses += len(rows)
        if self.unit == "writes":
            self.now += len(rows)

    def lowest_birth(self, rows: WrittenRows) -> Tensor:
        """The least of the priorities, now."""
        return _level(rows.priority).min() + self.now / self.half_life

    def births(self, rows: WrittenRows) -> Tensor:
        """By their priorities, each a write later if writes are what counts."""
        return _level(rows.priority) + self._times(rows) / self.half_life

    def retrieved(self, slots: Tensor) -> None:
        """Renewed, and more durable from now on; once per lookup, however many queries found an entry."""
        level = self.level[slots]
        level = torch.maximum(level, (level + self.durability).clamp(max=self.most))
        self.level[slots] = level
        self.score[slots] = level + self.now / self.half_life
        self.since.index_fill_(0, slots, float(self.uses))
        self.uses += 1

    def weakened(self, slots: Tensor, factor: float) -> None:
        """Strength and level fall by `factor`."""
        self.level[slots] += math.log2(factor)
        self.set_scores(slots, self.score[slots] + math.log2(factor))

    def tick(self, amount: float) -> None:
        """Time has passed, if ticks are what counts."""
        if self.unit == "ticks":
            self.now = passed(self.now, amount)

    def strength(self, slots: Tensor) -> Tensor:
        """`2 ** (score - now / half_life)`."""
        return torch.exp2(self.score[slots] - self.now / self.half_life)

    def expired(self, most: int, used: int) -> Tensor:
        """At most `most` entries below the threshold, weakest first."""
        if self.threshold == 0:
            return super().expired(most, used)
        weakest = self.weakest(most, used)
        weak = self.strength(weakest) < self.threshold
        if weak.device.type in AT_HAND:
            return weakest[weak]
        slots, too_weak = told([], weakest, weak)
        return torch.from_numpy(slots[too_weak > 0].astype(np.int64))

    def state_dict(self, used: int) -> dict[str, Any]:
        """Scores, levels, latest uses and the time; and how fast strength fades, by which scores are to be read."""
        assert self.since is not None
        kept = {"level": self.level[:used].clone(), "since": self.since[:used].clone()}
        return super().state_dict(used) | kept | {"now": self.now, "uses": self.uses, "rate": 1 / self.half_life}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore scores, levels, latest uses and the time."""
        super().load_state_dict(state)
        for name in ("level", "since"):
            getattr(self, name)[: len(state[name])] = state[name].to(self.score)
        self.now, self.uses = float(state["now"]), int(state["uses"])

    def _times(self, rows: WrittenRows) -> Tensor | float:
        return self.now + rows.order() if self.unit == "writes" else self.now


def passed(now: float, amount: float) -> float:
    """The time after so much more.

    Raises:
        ValueError: That is too late.
    """
    return number("the time after this tick", now + amount, 0, most=LONGEST, hint=": let ticks count larger units")


def _level(priority: Tensor) -> Tensor:
    """`log2(1 + priority)`, with all the digits that a small priority has.  `[B]` float64."""
    return torch.log1p(priority.to(torch.float64)) / math.log(2)


class Priority(Decay):
    """The entry with the lowest priority goes, whatever its age; among equals the least recently used."""

    def __init__(self) -> None:
        super().__init__(half_life=math.inf, durability=0.0)

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; scores of the first version, which had uses in them, become levels again."""
        super().load_state_dict(state)
        used = len(state["level"])
        self.score[:used] = torch.where(self.score[:used].isfinite(), self.level[:used], torch.inf)
