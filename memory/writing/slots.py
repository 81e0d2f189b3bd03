"""Which slots hold an entry, and which of them a new one gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.forgetting.policy import Forgetting


class Slots:
    """Slots `0 .. capacity - 1`; an entry keeps its own until it is evicted or removed.

    Attributes:
        alive: Whether a slot holds an entry. `[N]` bool
        generation: Counts the entries a slot has held: a pair (slot, generation) names one entry for ever. `[N]` int32
        writes: How often each entry has been written. `[N]` int32
        holes: How many used slots hold no entry.
        used: Slots from here on have never held an entry.
        evictions: Entries that have had to make room so far.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity = capacity
        self.alive = zeros(capacity, dtype=torch.bool, device=device)
        self.generation = zeros(capacity, dtype=torch.int32, device=device)
        self.writes = zeros(capacity, dtype=torch.int32, device=device)
        self._stack = torch.empty(0, dtype=torch.int64, device=device)
        self.holes = 0
        self.used = 0
        self.evictions = 0

    def __len__(self) -> int:
        return self.used - self.holes

    @property
    def free(self) -> Tensor:
        """Used slots without an entry; the last one is taken first.  `[holes]`."""
        return self._stack[: self.holes]

    def for_new(self, n: int, forgetting: Forgetting) -> tuple[Tensor, Tensor]:
        """Slots for `n` new entries (free ones, then unused ones, then the weakest), and those whose entry must go."""
        again = min(n, self.holes)
        unused = min(self.capacity - self.used, n - again)
        lacking = n - again - unused
        victims = forgetting.weakest(lacking, self.used) if lacking else self._stack[:0]
        parts = [self._stack[self.holes - again : self.holes].flip(0)] if again else []
        parts += [torch.arange(self.used, self.used + unused, device=self.alive.device)] if unused else []
        return torch.cat([*parts, victims]) if parts else victims, victims

    def take(self, slots: Tensor, victims: Tensor, births: np.ndarray | None = None) -> None:
        """Slots from `for_new` now hold new entries.

        Args:
            slots: Where. `[n]`
            victims: Those of them whose entry made room. `[v]`
            births: How many entries each has been given in turn, the last of which is there; one each by default. `[n]`
        """
        fresh = slots.shape[0] - victims.shape[0]
        again = min(self.holes, fresh)
        self.holes -= again
        self.used += fresh - again
        self.evictions += victims.shape[0]
        self.alive.index_fill_(0, slots, True)
        self.generation[slots] += (
            1 if births is None else torch.as_tensor(births).to(self.generation, non_blocking=True)
        )
        if births is not None:
            self.evictions += int(births.sum()) - slots.shape[0]
        self.writes.index_fill_(0, slots, 1)

    def release(self, slots: Tensor) -> None:
        """These distinct slots hold no entry any more."""
        self.alive.index_fill_(0, slots, False)
        end = self.holes + slots.shape[0]
        if end > self._stack.shape[0]:  # twice as large, so that what is there is hardly ever copied
            self._stack = torch.cat([self.free, self.free.new_empty(2 * end - self.holes)])
        self._stack[self.holes : end] = slots.flip(0)
        self.holes = end

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
        before, self.used = self.used, len(state["alive"])
        for name in ("alive", "generation", "writes"):
            mine = getattr(self, name)
            mine[: self.used] = state[name].to(mine)
            mine[self.used : before] = 0
        self._stack = state["holes"].to(self._stack).clone()
        self.holes = len(self._stack)
        self.evictions = int(state["evictions"])
