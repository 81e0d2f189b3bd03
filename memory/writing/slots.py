"""Which slots hold an entry, and which of them a new one gets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.forgetting.policy import Forgetting


class Slots:
    """Slots `0 .. capacity - 1`; an entry keeps its own until it is evicted or removed.

    Attributes:
        alive: Whether a slot holds an entry. `[N]` bool
        generation: Counts the entries a slot has held: a pair (slot, generation) names one entry for ever. `[N]` int32
        writes: How often each entry has been written. `[N]` int32
        free: Used slots without an entry; the last one is taken first. `[F]`
        used: Slots from here on have never held an entry.
        evictions: Entries that have had to make room so far.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity = capacity
        self.alive = torch.zeros(capacity, dtype=torch.bool, device=device)
        self.generation = torch.zeros(capacity, dtype=torch.int32, device=device)
        self.writes = torch.zeros(capacity, dtype=torch.int32, device=device)
        self.free = torch.empty(0, dtype=torch.int64, device=device)
        self.used = 0
        self.evictions = 0

    def __len__(self) -> int:
        return self.used - len(self.free)

    def for_new(self, n: int, forgetting: Forgetting) -> tuple[Tensor, Tensor]:
        """Slots for `n` new entries (free ones, then unused ones, then the weakest), and those whose entry must go."""
        again = self.free.flip(0)[:n]
        unused = min(self.capacity - self.used, n - again.shape[0])
        fresh = torch.arange(self.used, self.used + unused, device=self.alive.device)
        lacking = n - again.shape[0] - unused
        victims = forgetting.weakest(lacking, self.used) if lacking else self.free[:0]
        return torch.cat([again, fresh, victims]), victims

    def take(self, slots: Tensor, victims: Tensor) -> None:
        """Slots from `for_new` now hold new entries."""
        fresh = slots.shape[0] - victims.shape[0]
        again = min(self.free.shape[0], fresh)
        self.free = self.free[: self.free.shape[0] - again]
        self.used += fresh - again
        self.evictions += victims.shape[0]
        self.alive[slots] = True
        self.generation[slots] += 1
        self.writes[slots] = 1

    def release(self, slots: Tensor) -> None:
        """These distinct slots hold no entry any more."""
        self.alive[slots] = False
        self.free = torch.cat([self.free, slots.flip(0)])

    def state_dict(self, used: int) -> dict[str, Any]:
        """Everything, of the first `used` slots."""
        return {
            "alive": self.alive[:used].clone(),
            "generation": self.generation[:used].clone(),
            "writes": self.writes[:used].clone(),
            "holes": self.free.clone(),
            "evictions": self.evictions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.used = len(state["alive"])
        for name in ("alive", "generation", "writes"):
            mine = getattr(self, name)
            mine.zero_()
            mine[: self.used] = state[name].to(mine)
        self.free = state["holes"].to(self.free)
        self.evictions = int(state["evictions"])
