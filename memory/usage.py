"""What lookups that count have found: how often each entry, and how near."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.reading import Found

RECENT = 0.01
"""Weight of one lookup in the running means."""


class Usage:
    """Counts and running means over lookups with `touch=True`.

    Attributes:
        hits: How often each entry was a neighbour. `[N]` int32
        lookups: How many lookups there were.
        hit_distance: Running mean of the nearest neighbour's squared distance.
        top_weight: Running mean of the largest weight.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.hits = torch.zeros(capacity, dtype=torch.int32, device=device)
        self.lookups = 0
        self.hit_distance = torch.zeros((), device=device)
        self.top_weight = torch.zeros((), device=device)

    @torch.no_grad()
    def add(self, found: Found) -> None:
        """Count one lookup's neighbours."""
        if not len(found.slots):
            return
        self.lookups += 1
        self.hits.index_add_(0, found.slots.clamp(min=0).reshape(-1), found.valid.reshape(-1).to(torch.int32))
        share = max(RECENT, 1 / self.lookups)
        hits = found.valid[:, 0].sum().clamp(min=1)
        self.hit_distance.lerp_((found.distances[:, 0].sum() / hits).to(self.hit_distance), share)
        self.top_weight.lerp_(found.weights.amax(1).mean().to(self.top_weight), share)

    def forget(self, slots: Tensor) -> None:
        """Other entries are there now."""
        self.hits[slots] = 0

    def state_dict(self, used: int) -> dict[str, Any]:
        """The counts of the first `used` slots and the means."""
        return {
            "hits": self.hits[:used].clone(),
            "lookups": self.lookups,
            "hit_distance": self.hit_distance.clone(),
            "top_weight": self.top_weight.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.hits.zero_()
        self.hits[: len(state["hits"])] = state["hits"].to(self.hits)
        self.lookups = int(state["lookups"])
        self.hit_distance.copy_(state["hit_distance"])
        self.top_weight.copy_(state["top_weight"])
