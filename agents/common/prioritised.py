"""A ring of past experience, sampled by priority (Schaul et al. 2016, arXiv 1511.05952)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engram_rl.agents.common.observations import batch_size
from engram_rl.agents.common.replay import Replay
from engram_rl.memory.checks import number

LEAST = 1e-6
"""The priority of what has none, as a share of the greatest: everything is drawn now and then."""


@dataclass(frozen=True)
class Drawn:
    """A minibatch.

    Attributes:
        rows: `{name: [B, ...]}`
        at: Where the rows are held. `[B]`
        weight: By which their losses are multiplied, so that what is drawn often counts less; at most 1. `[B]`
    """

    rows: dict[str, Any]
    at: np.ndarray
    weight: np.ndarray


class PrioritisedReplay(Replay):
    """Draws row i with probability `p_i^exponent / sum_k p_k^exponent` (equation 1), proportional priorities.

    New rows have the greatest priority there is, so that each is likely to be drawn soon (algorithm 1, line 6). Only
    ratios of priorities count, whatever the scale of rewards. A draw passes over all priorities once.

    Args:
        capacity: Rows, at least 1.
        generator: Draws the minibatches; its state belongs to `state_dict`.
        exponent: 0 draws uniformly, 1 in proportion.
        correction: Of the bias that this brings (section 3.4): losses are weighted by `P(i)^-correction`, relative to
            the greatest of a minibatch; 0 not at all, 1 fully.

    Raises:
        ValueError: The exponent is negative or the correction not within 0 and 1.
    """

    def __init__(self, capacity: int, generator: torch.Generator, *, exponent: float, correction: float) -> None:
        super().__init__(capacity, generator)
        number("prioritisation", exponent, 0)
        number("correction", correction, 0, most=1)
        self._exponent, self._correction = exponent, correction
        self._priority = np.zeros(capacity)  # [capacity]

    def add(self, rows: dict[str, Any]) -> None:
        """Append rows, `{name: [B, ...]}`; the oldest make room."""
        greatest = self._priority[: len(self)].max(initial=0.0) or 1.0
        at = (self._next + np.arange(batch_size(next(iter(rows.values()))))) % self._capacity
        super().add(rows)
        self._priority[at] = greatest

    def draw(self, count: int) -> Drawn:
        """Draw `count` rows with replacement.

        Raises:
            ValueError: There are none.
        """
        if not self._exponent:
            at = self._positions(count)
            return Drawn(self._rows(at), at, np.ones(count, np.float32))
        odds = self._odds()  # [size]
        total = odds.cumsum()  # [size]
        drawn = torch.rand(count, dtype=torch.float64, generator=self._generator).numpy() * total[-1]
        at = total.searchsorted(drawn, side="right")
        weight = (odds[at] / odds[at].min()) ** -self._correction
        return Drawn(self._rows(at), at, weight.astype(np.float32))

    def prioritise(self, at: np.ndarray, priority: np.ndarray) -> None:
        """Replace priorities by these. `[B]`, `[B]`; none is negative."""
        self._priority[at] = priority

    def state_dict(self) -> dict[str, Any]:
        """The rows held, their priorities, and the generator's state."""
        return super().state_dict() | {"priority": self._priority[: len(self)].copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; rows without priorities have equal ones."""
        super().load_state_dict(state)
        self._priority[: len(self)] = state["priority"][self._order_of(state)] if "priority" in state else 1.0

    def _odds(self) -> np.ndarray:
        if not len(self):
            raise ValueError("Nothing to sample: the replay is empty.")
        held = self._priority[: len(self)]
        greatest = float(held.max()) or 1.0
        return np.maximum(held / greatest, LEAST) ** self._exponent
