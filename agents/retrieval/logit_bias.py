"""A bias of the logits from retrieved returns: how good each action has been in situations like this one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engram_rl.agents.retrieval.tokens import ACTION_RETURNS

NEAR = 1e-3
"""Squared distance at which an entry counts half as much as one of this very situation; NEC's delta."""


FOLLOWS = 0.05
"""Share of the way by which the least return follows those that are better, whenever some are remembered."""


class ActionReturns:
    """How good each action has been in situations like this one: 0 as the least return lately, 1 as the greatest ever.

    A return of 0, that of nothing known, always counts among them. The least follows what returns are now: where steps
    cost, the first episodes are worse by far than what any action still makes a difference of.

    Entries of an action are averaged with the weights `w = NEAR / (d^2 + NEAR)`, as NEC reads its dictionaries (Pritzel
    et al. 2017, equation 5). What is averaged counts as much as the nearest of them, by w times the confidence in it:
    an action of which nothing near is known has 0.
    """

    def __init__(self) -> None:
        self.least, self.most = 0.0, 0.0

    def note(self, returns: np.ndarray) -> None:
        """Take in returns that are about to be remembered. `[B]`."""
        least = float(returns.min())
        self.least = min(0.0, least, self.least + FOLLOWS * (least - self.least))
        self.most = max(self.most, float(returns.max()))

    def __call__(self, actions: Tensor, returns: Tensor, distances: Tensor, confidence: Tensor) -> Tensor:
        """How good each action has been.

        Args:
            actions: Taken in the entries, one-hot. `[E, K, A]`
            returns: That followed. `[E, K]`
            distances: Squared, from the present situation. `[E, K]`
            confidence: 0 for those that do not count. `[E, K]`

        Returns:
            Within 0 and 1. `[E, A]`
        """
        if not self.most > self.least:
            return torch.zeros(actions.shape[::2])
        weight = confidence.numpy() * np.float32(NEAR) / (distances.numpy() + np.float32(NEAR))
        nearness = actions.numpy() * weight[..., None]  # [E, K, A]
        good = np.maximum((returns.numpy() - np.float32(self.least)) / np.float32(self.most - self.least), 0)
        near = torch.from_numpy(nearness)
        mean = torch.from_numpy(nearness * good[..., None]).sum(1) / near.sum(1).clamp(min=1e-12)
        return mean * near.amax(1)

    def state_dict(self) -> dict[str, Any]:
        """The range of returns."""
        return {"least": self.least, "most": self.most}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.least, self.most = state["least"], state["most"]


class LogitBias(nn.Module):
    """Adds to logits how good each action has been, times a strength that is trained.

    Args:
        strength: At first: logits between the best and the worst that is remembered.

    Raises:
        ValueError: The strength is not positive.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        if not strength > 0:
            raise ValueError(
                f"A logit bias of {strength} has no strength; it must be above 0 (in a YAML, 0 leaves it out)."
            )
        self.log_strength = nn.Parameter(torch.tensor(float(np.log(strength))))

    @property
    def strength(self) -> Tensor:
        """Logits between the best and the worst that is remembered."""
        return self.log_strength.exp()

    def forward(self, extras: dict[str, Tensor]) -> Tensor:
        """What a `MemoryInput` shows, by name, to `[N, A]`."""
        return self.strength * extras[ACTION_RETURNS]
