"""The entry goes that was used, or written, the longest ago."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.forgetting.policy import Forgetting, WrittenRows


class LeastRecentlyUsed(Forgetting):
    """The entry goes that has least recently been written or been a neighbour: Neural Episodic Control, section 2."""

    def attach(self, capacity: int, device: torch.device) -> None:
        """Start the order of uses at 0."""
        super().attach(capacity, device)
        self.uses = 0

    def written(self, rows: WrittenRows) -> None:
        """One use each, in order."""
        self._use(rows.slots)

    def lowest_birth(self, rows: WrittenRows) -> float:
        """Every birth is a later use than any so far."""
        return float(self.uses)

    def retrieved(self, slots: Tensor) -> None:
        """One use, at the same time for all."""
        self.score.index_fill_(0, slots, float(self.uses))
        self.uses += 1

    def _use(self, slots: Tensor) -> None:
        uses = torch.arange(self.uses, self.uses + slots.shape[0], dtype=torch.float64, device=slots.device)
        self.set_scores(slots, uses)
        self.uses += slots.shape[0]

    def state_dict(self, used: int) -> dict[str, Any]:
        """Scores and the count of uses."""
        return super().state_dict(used) | {"uses": self.uses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore scores and the count of uses."""
        super().load_state_dict(state)
        self.uses = int(state["uses"])


class FirstInFirstOut(LeastRecentlyUsed):
    """The oldest entry goes, however useful it has been."""

    def written(self, rows: WrittenRows) -> None:
        """A new entry's age begins; one written again keeps its own."""
        self._use(rows.slots[rows.new] if rows.fresh is None else rows.fresh)

    def retrieved(self, slots: Tensor) -> None:
        """An entry keeps its age."""
