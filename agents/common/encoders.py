"""Networks that turn an observation into a vector, chosen by the observation space."""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.observations import named_parts
from engram_rl.agents.common.perceptron import Perceptron, linear
from engram_rl.agents.common.scaling import SCALE_RULE, is_picture, parts_of, picture_divisor, picture_shape
from engram_rl.memory import RandomProjection


def make_encoder(
    space: spaces.Space, out_features: int, hidden: tuple[int, ...] = (64,), scale_rule: int = SCALE_RULE
) -> nn.Module:
    """The encoder for one observation space: `[B, ...] -> [B, out_features]`.

    Images of at least 36 pixels a side, stacks of them too, pass the convolutions of Mnih et al. (2015), all else a
    perceptron on its scaled numbers, discrete parts as a one-hot code; a Dict or Tuple is encoded by part and joined.

    Raises:
        ValueError: The space is of another kind.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return PartsEncoder(space, out_features, hidden, scale_rule)
    if is_picture(space, scale_rule):
        return ImageEncoder(space, out_features, scale_rule)  # type: ignore[arg-type]
    if scale_rule < SCALE_RULE and isinstance(space, spaces.Box) and len(space.shape) == 3:
        return SymbolEncoder(space, out_features, hidden)
    rows = Flatten(space, scale_rule)
    return nn.Sequential(rows, Perceptron([rows.size, *hidden, out_features]))


def make_projection(space: spaces.Space, out_features: int, seed: int, scale_rule: int = SCALE_RULE) -> nn.Module:
    """A fixed random projection of the observation's scaled numbers, so that no key ever goes stale.

    `[B, ...] -> [B, D]`; discrete parts become a one-hot code.
    """
    rows = Flatten(space, scale_rule)
    return nn.Sequential(rows, RandomProjection(rows.size, out_features, seed))


class ImageEncoder(nn.Module):
    """The convolutions of Mnih et al. (2015) and a linear layer; the smallest axis at either end is the channels'.

    Further axes before these are a stack, whose images' channels are put side by side.
    """

    def __init__(self, space: spaces.Box, out_features: int, scale_rule: int = SCALE_RULE):
        super().__init__()
        self._channels, self._height, self._width, self._channels_last = picture_shape(space)
        self._divisor = picture_divisor(space)
        if scale_rule < SCALE_RULE:
            self._divisor = float(space.high.max()) if math.isfinite(float(space.high.max())) else 1.0
        self._convolutions = nn.Sequential(
            nn.Conv2d(self._channels, 32, 8, 4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            features = self._convolutions(torch.zeros(1, self._channels, self._height, self._width)).shape[1]
        self._head = linear(features, out_features)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`[B, ..., H, W, C]`, `[B, ..., C, H, W]` or `[B, H, W]` to `[B, out_features]`."""
        if self._channels_last:
            images = images.movedim(-1, -3)
        images = images.reshape(len(images), self._channels, self._height, self._width)
        return self._head(self._convolutions(images.float() / self._divisor))


class SymbolEncoder(nn.Sequential):
    """A small grid of symbols, normalised over its cells, then a perceptron: what the first version's agents have."""

    def __init__(self, space: spaces.Box, out_features: int, hidden: tuple[int, ...]):
        size = math.prod(space.shape)
        norm = nn.LayerNorm(size, elementwise_affine=False)
        super().__init__(Flatten(space, 1), norm, Perceptron([size, *hidden, out_features]))


class PartsEncoder(nn.Module):
    """One encoder a part of a Dict or Tuple, joined by a linear layer."""

    def __init__(
        self,
        space: spaces.Dict | spaces.Tuple,
        out_features: int,
        hidden: tuple[int, ...],
        scale_rule: int = SCALE_RULE,
    ):
        super().__init__()
        width = hidden[-1] if hidden else out_features
        parts = parts_of(space)
        self._names = list(parts)
        self._parts = nn.ModuleList(make_encoder(part, width, hidden[:-1], scale_rule) for part in parts.values())
        self._head = linear(width * len(self._parts), out_features)
        self.register_load_state_dict_pre_hook(_number_parts)

    def forward(self, observation: Any) -> torch.Tensor:
        """`{name: [B, ...]}` to `[B, out_features]`."""
        named = named_parts(observation)
        features = [part(named[name]) for name, part in zip(self._names, self._parts, strict=True)]
        return self._head(torch.relu(torch.cat(features, dim=1)))


def _number_parts(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Weights that were saved under the names of their parts, as the first version's, under their numbers."""
    for number, name in enumerate(encoder._names):  # type: ignore[arg-type]
        saved = f"{prefix}_parts.{name}."
        for place in [place for place in state if place.startswith(saved) and not name.isdecimal()]:
            state[f"{prefix}_parts.{number}.{place.removeprefix(saved)}"] = state.pop(place)
