"""Linear layers, if there is room for them, and the perceptron made of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from engram_rl.memory.checks import require_ram


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer, if there is room for it.

    Raises:
        ValueError: There is none, or it would have no units.
    """
    if out_features < 1:
        raise ValueError(f"A layer of {out_features} units: the sizes of layers and keys must be at least 1.")
    what = f"a layer of {out_features} units over {in_features} numbers"
    require_ram(what, 4 * (in_features + 1) * out_features, "lower the sizes of layers and keys, or of the observation")
    return nn.Linear(in_features, out_features)


class Perceptron(nn.Sequential):
    """Linear layers, an activation after each; the input itself for no layers. `[B, F] -> [B, G]`.

    Args:
        sizes: Columns of the input, then units of each layer.
        activation: Of every layer.
        activate_last: Whether the last layer has one, too.
    """

    def __init__(
        self, sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, *, activate_last: bool = False
    ) -> None:
        layers = [layer for a, b in pairwise(sizes) for layer in (linear(a, b), activation())]
        super().__init__(*(layers if activate_last else layers[:-1]))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[B, F]` to `[B, G]`; a module's own call would cost as much as the arithmetic of a small layer."""
        for layer in self:
            features = layer.forward(features)
        return features
