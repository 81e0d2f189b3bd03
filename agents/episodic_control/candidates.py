"""Which actions are worth asking about: those remembered, others near them, and a few from anywhere."""

from __future__ import annotations

import torch
from torch import Tensor

from engram_rl.memory.checks import number, whole


class Candidates:
    """Actions to choose from: what is remembered first, then the same perturbed, then uniform draws.

    Args:
        proposals: k, how many remembered actions there are.
        perturbations: P, how often each of them is perturbed.
        spread: Standard deviation of a perturbation, which is normal in each number of an action.
        uniform: U, how many are drawn from the whole box besides.
    """

    def __init__(self, proposals: int, perturbations: int, spread: float, uniform: int):
        self.proposals = whole("proposals", proposals, 1)
        self._perturbations, self._uniform = whole("perturbations", perturbations, 0), whole("uniform", uniform, 0)
        self._spread = number("spread", spread, 0)

    def __call__(self, remembered: Tensor, valid: Tensor, generator: torch.Generator) -> Tensor:
        """Candidates of B states at once.

        Args:
            remembered: Actions from -1 to 1. `[B, k, A]`
            valid: Which of them there are; a uniform draw stands for each of the others. `[B, k]` of bool
            generator: Draws them; on the CPU.

        Returns:
            All from -1 to 1. `[B, k + P k + U, A]`
        """
        B, k, A = remembered.shape
        anywhere = 2 * torch.rand(B, k + self._uniform, A, generator=generator).to(remembered) - 1
        noise = self._spread * torch.randn(B, self._perturbations, k, A, generator=generator).to(remembered)
        known = torch.where(valid.unsqueeze(2), remembered, anywhere[:, :k])  # [B, k, A]
        near = (known.unsqueeze(1) + noise).reshape(B, self._perturbations * k, A)
        return torch.cat([known, near, anywhere[:, k:]], dim=1).clamp(-1, 1)
