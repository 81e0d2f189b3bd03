"""Which entry makes room: every policy is an order of the slots by a score, and the lowest score goes first."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from memory.errors import unknown
from memory.pool import WeakestPool


class Forgetting:
    """The score of each entry, and the weakest of them without a pass over all.

    Scores are stored in a form that does not change with time, so the order changes only where entries are touched.
    """

    score: Tensor
    """Smallest goes first, +inf where there is no entry.  `[N]` float64"""

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

    def removed(self, slots: Tensor) -> None:
        """Slots that hold no entry any more."""
        self.score[slots] = math.inf

    def tick(self, amount: float) -> None:
        """Time has passed; only policies with a forgetting curve care."""

    def strength(self, slots: Tensor) -> Tensor:
        """How strong entries are now; 1 where the policy knows no strength."""
        return torch.ones(slots.shape, device=slots.device)

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


def make_forgetting(policy: Forgetting | str) -> Forgetting:
    """A policy from its name, with its defaults."""
    policies = {"lru": LeastRecentlyUsed, "fifo": FirstInFirstOut}
    if not isinstance(policy, str):
        return policy
    if policy not in policies:
        raise unknown("forgetting policy", policy, policies)
    return policies[policy]()
