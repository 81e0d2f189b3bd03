"""Confidence in entries: lost by contradiction, regained with time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.checks import number
from engram_rl.memory.forgetting.decay import passed
from engram_rl.memory.forgetting.policy import WrittenRows
from engram_rl.memory.forgetting.recency import LeastRecentlyUsed


class Confidence(LeastRecentlyUsed):
    """The least recently used entry goes; strength is confidence, which contradiction takes and time gives back.

    Confidence in an entry is 1 when it is written. `contradict(slots, factor)` multiplies it by the factor; of what it
    then lacks, the share `lost_decay` is left after each tick, so that what failed once is tried again some time.

    Args:
        lost_decay: In [0, 1]; 1 never forgives.
    """

    def __init__(self, lost_decay: float = 0.8) -> None:
        number("lost_decay", lost_decay, 0, most=1, hint=": it is the share of lost confidence left after a tick")
        self.lost_decay = lost_decay

    def settings(self) -> dict[str, Any]:
        """The arguments that make another like it."""
        return {"lost_decay": self.lost_decay}

    def attach(self, capacity: int, device: torch.device) -> None:
        """Nothing is lost; time starts at 0."""
        super().attach(capacity, device)
        self.lost = zeros(capacity, dtype=torch.float32, device=device)
        self.lost_at = zeros(capacity, dtype=torch.float64, device=device)
        self.now = 0.0

    def written(self, rows: WrittenRows) -> None:
        """Full confidence again, and one use."""
        super().written(rows)
        self.lost.index_fill_(0, rows.slots, 0)

    def weakened(self, slots: Tensor, factor: float) -> None:
        """Confidence falls by `factor`."""
        self.lost[slots] = (1 - factor * self.strength(slots)).to(self.lost)
        self.lost_at[slots] = self.now

    def tick(self, amount: float) -> None:
        """Time has passed."""
        self.now = passed(self.now, amount)

    def strength(self, slots: Tensor) -> Tensor:
        """`1 - lost * lost_decay ** (now - since)`."""
        return 1 - self.lost[slots] * self.lost_decay ** (self.now - self.lost_at[slots])

    def state_dict(self, used: int) -> dict[str, Any]:
        """Scores, lost confidence and the time."""
        lost = {"lost": self.lost[:used].clone(), "since": self.lost_at[:used].clone(), "now": self.now}
        return super().state_dict(used) | lost

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore scores, lost confidence and the time."""
        super().load_state_dict(state)
        for name, mine in (("lost", self.lost), ("since", self.lost_at)):
            mine[: len(state[name])] = state[name].to(mine)
        self.now = float(state["now"])
