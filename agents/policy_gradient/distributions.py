"""Distributions over actions, without the checks of `torch.distributions` that cost more than a small network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

LOG_TWO_PI = math.log(2 * math.pi)

LEAST = -1e30
"""Stands for the logarithm of a probability of 0."""


class Distribution(Protocol):
    """N distributions over actions."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """One action each, drawn with a generator of the CPU wherever the parameters are. `[N]` or `[N, A]`."""

    def mode(self) -> Tensor:
        """The most probable action of each. `[N]` or `[N, A]`."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability, or log-density, of one action each. `[N]` or `[N, A]` to `[N]`."""

    def entropy(self) -> Tensor:
        """`[N]` in nats."""


class Categorical:
    """One of A actions each.

    Args:
        logits: Unnormalised log-probabilities; minus infinity for an action that is not allowed. `[N, A]`
    """

    def __init__(self, logits: Tensor):
        self._logits = logits

    @cached_property
    def log_probs(self) -> Tensor:
        """Normalised. `[N, A]`."""
        return self._logits.log_softmax(dim=1)

    def sample(self, generator: torch.Generator) -> Tensor:
        """`[N]`, by a race of exponential clocks: action a is first with probability p_a."""
        clocks = torch.empty(self._logits.shape).exponential_(generator=generator)
        return (self._logits - clocks.log_().to(self._logits.device)).argmax(dim=1)

    def mode(self) -> Tensor:
        """`[N]`."""
        return self._logits.argmax(dim=1)

    def log_prob(self, action: Tensor) -> Tensor:
        """`[N]` to `[N]`."""
        return -functional.cross_entropy(self._logits, action, reduction="none")

    def entropy(self) -> Tensor:
        """`[N]`."""
        finite = self.log_probs.clamp(min=LEAST)  # 0 times minus infinity is nothing
        return -(finite.exp() * finite).sum(dim=1)


class MultiCategorical:
    """An action of several independent parts.

    Args:
        logits: Of all parts side by side. `[N, sum of sizes]`
        sizes: Choices of each part.
    """

    def __init__(self, logits: Tensor, sizes: Sequence[int]):
        self.parts = [Categorical(part) for part in logits.split(list(sizes), dim=1)]

    def sample(self, generator: torch.Generator) -> Tensor:
        """`[N, P]`."""
        return torch.stack([part.sample(generator) for part in self.parts], dim=1)

    def mode(self) -> Tensor:
        """`[N, P]`."""
        return torch.stack([part.mode() for part in self.parts], dim=1)

    def log_prob(self, action: Tensor) -> Tensor:
        """`[N, P]` to `[N]`."""
        terms = [part.log_prob(chosen) for part, chosen in zip(self.parts, action.unbind(dim=1), strict=True)]
        return torch.stack(terms).sum(dim=0)

    def entropy(self) -> Tensor:
        """`[N]`."""
        return torch.stack([part.entropy() for part in self.parts]).sum(dim=0)


class DiagonalGaussian:
    """Independent normal numbers.

    Args:
        mean: `[N, A]`
        log_std: The same for every row. `[A]`
    """

    def __init__(self, mean: Tensor, log_std: Tensor):
        self.mean, self.log_std = mean, log_std

    def sample(self, generator: torch.Generator) -> Tensor:
        """`[N, A]`."""
        noise = torch.empty(self.mean.shape).normal_(generator=generator).to(self.mean.device)
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> Tensor:
        """`[N, A]`."""
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        """`[N, A]` to `[N]`."""
        z = (action - self.mean) * (-self.log_std).exp()  # [N, A]
        return -0.5 * z.square().sum(dim=1) - self.log_std.sum() - 0.5 * LOG_TWO_PI * self.mean.shape[1]

    def entropy(self) -> Tensor:
        """`[N]`, the same for every row."""
        one = (self.log_std + 0.5 * (1 + LOG_TWO_PI)).sum()
        return one.expand(len(self.mean))
