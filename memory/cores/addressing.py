"""What the cores with slots share: the controller, a cosine that is smooth at zero, what is told of weightings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALL = 1e-6
"""Added where a quotient or a logarithm would have no value."""


def controller(input_size: int, hidden_size: int) -> nn.LSTMCell:
    """An LSTM that steers a memory; its forget gate begins open, its other biases at 0."""
    cell = nn.LSTMCell(input_size, hidden_size)
    with torch.no_grad():
        for weight in (cell.weight_ih, cell.weight_hh):
            for gate in weight.chunk(4):
                nn.init.xavier_uniform_(gate)
        cell.bias_ih.zero_()
        cell.bias_hh.zero_()
        cell.bias_ih[hidden_size : 2 * hidden_size] = 1.0  # torch adds two biases; its gates are i, f, g, o
    return cell


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map that begins as Glorot and Bengio (2010) have it, without a bias that speaks."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def cosine(keys: Tensor, rows: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cosine of the angle between keys and rows, of the columns that a mask lets through. `[B, R, N]`.

    Lengths are `sqrt(|.|^2 + 1e-6)`: a row of zeros is like nothing, and its gradient stays finite.

    Args:
        keys: `[B, R, W]`
        rows: The memory. `[B, N, W]`
        mask: Between 0 and 1 for each key's columns; it multiplies the key and the rows before they are compared.
            `[B, R, W]`
    """
    if mask is None:
        dots = keys @ rows.mT
        rows_squared = rows.square().sum(-1).unsqueeze(1)  # [B, 1, N]
    else:
        keys = keys * mask
        dots = (keys * mask) @ rows.mT
        rows_squared = mask.square() @ rows.square().mT  # [B, R, N]
    keys_squared = keys.square().sum(-1, keepdim=True)  # [B, R, 1]
    return dots * ((keys_squared + SMALL) * (rows_squared + SMALL)).rsqrt()


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
