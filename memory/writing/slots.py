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
        used: Slots from here on have never held an entry.
        evictions: Entries that have had to make room so far.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity = capacity
        self.alive = torch.zeros(capacity, dtype=torch.bool, device=device)
        self.generation = torch.zeros(capacity, dtype=torch.int32, device=device)
        self.used = 0
        self.evictions = 0
        self._holes = torch.empty(0, dtype=torch.int64, device=device)
        """Used slots without an entry; the last one is taken first."""

    def __len__(self) -> int:
        return self.used - len(self._holes)

    @property
    def holes(self) -> int:
        """How many used slots hold no entry."""
        return len(self._holes)

    def room(self, n: int, forgetting: Forgetting) -> tuple[Tensor, Tensor]:
        """Slots for `n` new entries (holes, then unused ones, then the weakest), and those whose entry must go."""
        holes = self._holes.flip(0)[:n]
        unused = torch.arange(self.used, min(self.capacity, self.used + n - len(holes)), device=self.alive.device)
        victims = forgetting.weakest(n - len(holes) - len(unused), self.used)
        return torch.cat([holes, unused, victims]), victims

    def take(self, slots: Tensor, victims: Tensor) -> None:
        """Slots from `room` now hold new entries."""
        fresh = len(slots) - len(victims)
        holes = min(len(self._holes), fresh)
        self._holes = self._holes[: len(self._holes) - holes]
        self.used += fresh - holes
        self.evictions += len(victims)
        self.alive[slots] = True
        self.generation[slots] += 1

    def release(self, slots: Tensor) -> None:
        """These distinct slots hold no entry any more."""
        self.alive[slots] = False
        self._holes = torch.cat([self._holes, slots.flip(0)])

    def state_dict(self) -> dict[str, Any]:
        """Everything, of the used slots."""
        return {
            "alive": self.alive[: self.used].clone(),
            "generation": self.generation[: self.used].clone(),
            "holes": self._holes.clone(),
            "evictions": self.evictions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.used = len(state["alive"])
        for mine, saved in ((self.alive, state["alive"]), (self.generation, state["generation"])):
            mine.zero_()
            mine[: self.used] = saved.to(mine)
        self._holes = state["holes"].to(self._holes)
        self.evictions = int(state["evictions"])
