"""Networks that turn an observation into a vector, chosen by the observation space."""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from engram_rl.agents.common.flattening import Flatten, is_picture
from engram_rl.agents.common.perceptron import Perceptron, linear
from engram_rl.memory import RandomProjection


def make_encoder(space: spaces.Space, out_features: int, hidden: tuple[int, ...] = (64,)) -> nn.Module:
    """The encoder for one observation space: `[B, ...] -> [B, out_features]`.

    Vectors pass a perceptron, images of at least 36 pixels a side the convolutions of Mnih et al. (2015), smaller
    symbol grids (MiniGrid) a perceptron on normalised cells, discrete parts a one-hot code; a Dict is encoded by
    part and joined.

    Raises:
        ValueError: The space is of another kind.
    """
    if isinstance(space, spaces.Dict):
        return DictEncoder(space, out_features, hidden)
    if is_picture(space):
        return ImageEncoder(space, out_features)  # type: ignore[arg-type]
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        return SymbolEncoder(space, out_features, hidden)
    rows = Flatten(space)
    return nn.Sequential(rows, Perceptron([rows.size, *hidden, out_features]))


def make_projection(space: spaces.Space, out_features: int, seed: int) -> nn.Module:
    """A fixed random projection of the observation's numbers, so that no key ever goes stale: `[B, ...] -> [B, D]`.

    Images of at least 36 pixels a side are scaled to at most 1, discrete parts become a one-hot code, all else is taken
    as it is.
    """
    rows = Flatten(space)
    return nn.Sequential(rows, RandomProjection(rows.size, out_features, seed))


class ImageEncoder(nn.Module):
    """The convolutions of Mnih et al. (2015) and a linear layer; the smallest axis at either end is the channels'."""

    def __init__(self, space: spaces.Box, out_features: int):
        super().__init__()
        self._channels_last = space.shape[-1] < space.shape[0]
        height, width, channels = space.shape if self._channels_last else (*space.shape[1:], space.shape[0])
        self._scale = float(space.high.max()) if math.isfinite(float(space.high.max())) else 1.0
        self._convolutions = nn.Sequential(
            nn.Conv2d(channels, 32, 8, 4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            features = self._convolutions(torch.zeros(1, channels, height, width)).shape[1]
        self._head = linear(features, out_features)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`[B, H, W, C]` or `[B, C, H, W]` to `[B, out_features]`."""
        if self._channels_last:
            images = images.permute(0, 3, 1, 2)
        return self._head(self._convolutions(images.float() / self._scale))


class SymbolEncoder(nn.Sequential):
    """A small grid of symbols, normalised over its cells so that their range does not matter, then a perceptron."""

    def __init__(self, space: spaces.Box, out_features: int, hidden: tuple[int, ...]):
        size = math.prod(space.shape)
        norm = nn.LayerNorm(size, elementwise_affine=False)
        super().__init__(Flatten(space), norm, Perceptron([size, *hidden, out_features]))


class DictEncoder(nn.Module):
    """One encoder a part, joined by a linear layer."""

    def __init__(self, space: spaces.Dict, out_features: int, hidden: tuple[int, ...]):
        super().__init__()
        width = hidden[-1] if hidden else out_features
        self._parts = nn.ModuleDict({name: make_encoder(part, width, hidden[:-1]) for name, part in space.items()})
        self._head = linear(width * len(self._parts), out_features)

    def forward(self, observation: dict[str, Any]) -> torch.Tensor:
        """`{name: [B, ...]}` to `[B, out_features]`."""
        features = [part(observation[name]) for name, part in self._parts.items()]
        return self._head(torch.relu(torch.cat(features, dim=1)))
