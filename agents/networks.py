"""Networks that turn an observation into a vector, chosen by the observation space."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces
from torch import nn
from torch.nn import functional

from engram_rl.memory import RandomProjection
from engram_rl.memory.checks import require_ram

SMALLEST_IMAGE = 36  # pixels a side that the three convolutions below need


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
    return nn.Sequential(_flattener(space), perceptron(spaces.flatdim(space), out_features, hidden))


def is_picture(space: spaces.Space) -> bool:
    """Whether observations are images large enough for convolutions."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3 and sorted(space.shape)[1] >= SMALLEST_IMAGE


def _flattener(space: spaces.Space) -> nn.Module:
    """Numbers as they are, codes as one-hot: `[B, ...] -> [B, flatdim]`."""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return FloatRows()
    if isinstance(space, spaces.Discrete):
        return OneHot([int(space.n)], [int(space.start)])
    if isinstance(space, spaces.MultiDiscrete):
        return OneHot([int(n) for n in space.nvec.ravel()], [int(n) for n in space.start.ravel()])
    raise ValueError(
        f"No encoder for observations of {space}. Supported: Box, Discrete, MultiDiscrete, MultiBinary and Dict of "
        f"these; convert with a wrapper, such as gymnasium.wrappers.FlattenObservation."
    )


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


def perceptron(in_features: int, out_features: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU between them; none after the last."""
    sizes = [in_features, *hidden, out_features]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class FloatRows(nn.Module):
    """Any number type and shape to rows of float32: `[B, ...] -> [B, F]`."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[B, ...]` to `[B, F]`."""
        return values.float().reshape(len(values), -1)


class OneHot(nn.Module):
    """Integer codes, each from its own start, to concatenated one-hot vectors: `[B, P] -> [B, sum of sizes]`."""

    def __init__(self, sizes: list[int], starts: list[int]):
        super().__init__()
        self._sizes, self._starts = sizes, starts

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """`[B]` or `[B, ...]` to `[B, sum of sizes]`."""
        flat = codes.reshape(len(codes), -1).long()
        parts = [
            functional.one_hot(flat[:, i] - start, size)
            for i, (size, start) in enumerate(zip(self._sizes, self._starts, strict=True))
        ]
        return torch.cat(parts, dim=1).float()


def make_projection(space: spaces.Space, out_features: int, seed: int) -> nn.Module:
    """A fixed random projection of the observation's numbers, so that no key ever goes stale: `[B, ...] -> [B, D]`.

    Images of at least 36 pixels a side are scaled to at most 1, discrete parts become a one-hot code, all else is taken
    as it is.
    """
    numbers = Numbers(space)
    return nn.Sequential(numbers, RandomProjection(numbers.size, out_features, seed))


class Numbers(nn.Module):
    """An observation as one row of float32, the parts of a Dict side by side: `[B, ...] -> [B, F]`.

    Raises:
        ValueError: The space is not one that `make_encoder` reads.
    """

    def __init__(self, space: spaces.Space):
        super().__init__()
        self.size: int
        if isinstance(space, spaces.Dict):
            self._parts = nn.ModuleDict({name: Numbers(part) for name, part in space.items()})
            self.size = sum(part.size for part in self._parts.values())  # type: ignore[misc]
            return
        self._scale = float(space.high.max()) if is_picture(space) else 1.0  # type: ignore[attr-defined]
        self._flatten = _flattener(space)
        self.size = spaces.flatdim(space)

    def forward(self, observation: Any) -> torch.Tensor:
        """`[B, ...]`, or one such tensor per name, to `[B, F]`."""
        if isinstance(observation, dict):
            return torch.cat([part(observation[name]) for name, part in self._parts.items()], dim=1)
        return self._flatten(observation) / self._scale


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
        super().__init__(FloatRows(), norm, perceptron(size, out_features, hidden))


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
