"""What the cores with slots share beside their controller: how a map begins, and what is told of weightings."""

from __future__ import annotations

from torch import Tensor, nn

SMALL = 1e-6
"""Added where a quotient or a logarithm would have no value."""


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map that begins as Glorot and Bengio (2010) have it, without a bias that speaks."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def oneplus(x: Tensor) -> Tensor:
    """`1 + log(1 + e^x)`: strengths and exponents of at least 1."""
    return 1 + nn.functional.softplus(x)


def entropy(weights: Tensor) -> Tensor:
    """Over how much a weighting spreads: the entropy of the shares, in nats. `[..., N]` -> `[...]`."""
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(SMALL)
    return -(shares * shares.clamp_min(SMALL).log()).sum(-1)


def mean_age(weights: Tensor, ages: Tensor) -> Tensor:
    """Steps since that which a weighting reads was written. `[B, R, N]`, `[B, N]` -> `[B]`."""
    ages = ages.unsqueeze(1).to(weights.dtype)
    return ((weights * ages).sum(-1) / weights.sum(-1).clamp_min(SMALL)).mean(-1)
