"""Choosing among actions by their values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.agents.common.schedules import Linear, Schedule

EPSILON = Linear(1.0, 0.01, 2000)
"""The share of random actions, where nothing else is said."""


SAME = 1e-5
"""Values whose difference is a smaller share of them are equal where tries settle it: they are sums in float32."""


class EpsilonGreedy:
    """The action of the highest value, any of them where several are; with probability epsilon, any action at all.

    Given how often each action was tried in this very situation during the episode, `bonus / sqrt(tries)` is added to
    the values, and of equals those are taken that were tried least: a world without reward is searched, not wandered.

    Args:
        epsilon: By environment step.
        generator: Draws; its state belongs to `state_dict`.
        bonus: In units of the values, for an action that was tried once; twice that for one that never was.
    """

    def __init__(self, epsilon: Schedule, generator: torch.Generator, bonus: float = 0.0):
        if not bonus >= 0:
            raise ValueError(f"bonus is {bonus}; it must not be negative")
        self._epsilon, self._generator, self._bonus = epsilon, generator, bonus

    def __call__(self, q: Tensor, step: int, tries: Tensor | None = None, allowed: Tensor | None = None) -> Tensor:
        """Actions for values `[E, A]` and tries `[E, A]`, of those allowed `[E, A]`, None for all.  `[E]`."""
        draws = torch.rand(q.shape, generator=self._generator)  # [E, A], settles ties
        random = torch.rand(len(q), generator=self._generator) < self.epsilon(step)
        if tries is not None:
            q = q + self._bonus * torch.where(tries > 0, tries.rsqrt(), 2.0)
        if allowed is not None:
            q = q.masked_fill(~allowed, -torch.inf)
        best = q.max(dim=1, keepdim=True).values  # [E, 1]
        if tries is not None:
            best = best - SAME * best.abs()
        candidates = random.unsqueeze(1) | (q >= best)
        if allowed is not None:
            candidates &= allowed
        if tries is not None:
            least = tries.masked_fill(~candidates, torch.inf).min(dim=1, keepdim=True).values
            candidates &= tries == least
        return draws.masked_fill(~candidates, -torch.inf).argmax(dim=1)

    def epsilon(self, step: int) -> float:
        """The share of random actions at `step`."""
        return self._epsilon(step)

    def state_dict(self) -> dict[str, Any]:
        """The generator's state."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the generator."""
        self._generator.set_state(state["generator"])
