"""Keys made of modalities: which parts of a Dict observation are which part of the memory's key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.observations import named_parts
from engram_rl.agents.common.scaling import SCALE_RULE, parts_of
from engram_rl.memory import KeySpace, Modality
from engram_rl.memory.checks import brief, unknown

MakePart = Callable[[spaces.Space, int], nn.Module]
"""Turns a part of an observation, `[B, ...]`, into so many columns of a key."""


@dataclass(frozen=True)
class Source:
    """One entry of `env.modalities`.

    Attributes:
        of: The part of the observation, or several that are taken together.
        size: Columns that the agent makes of it, by its encoder or projection; None takes the numbers as they are.
        kind: "l2", "cosine" or "discrete" (whole numbers that must all be equal); see `engram_rl.memory.Modality`.
        weight: Factor of its squared distance.
        penalty: See `engram_rl.memory.Modality`.
    """

    of: list[str]
    size: int | None = None
    kind: Literal["l2", "cosine", "discrete"] = "l2"
    weight: float = 1.0
    penalty: float | None = None


class ModalityKeys(nn.Module):
    """Flat keys of several modalities from a Dict observation: `{name: [B, ...]}` to `[B, D]`.

    Args:
        space: Of one observation.
        modalities: For each modality by name what `Source` says, as in a YAML's `env.modalities`.
        make_part: Makes the modalities that have a size.
        scale_rule: Of the others; today's takes them as they are.

    Attributes:
        space: The key space, for the memory.

    Raises:
        ValueError: The observation is no Dict or lacks a part that is named, or a modality cannot be made of its parts.
    """

    def __init__(
        self, space: spaces.Space, modalities: Mapping[str, Any], make_part: MakePart, scale_rule: int = SCALE_RULE
    ):
        super().__init__()
        if isinstance(space, spaces.Tuple):
            space = spaces.Dict(parts_of(space))
        if not isinstance(space, spaces.Dict):
            raise ValueError(
                f"env.modalities names the parts of a Dict observation, but this environment shows {brief(space)}. Set "
                f"env.modalities=null, or name the parts with a wrapper, such as "
                f"gymnasium.wrappers.DictInfoToObservation or TransformObservation."
            )
        self._sources = {name: _source(name, given) for name, given in modalities.items()}
        self._parts = nn.ModuleList()
        described = []
        for name, source in self._sources.items():
            part, size = _part(name, source, _chosen(space, source.of), make_part, scale_rule)
            self._parts.append(part)
            described.append(Modality(name, size, source.kind, source.weight, source.penalty))
        self.space = KeySpace(described)

    def forward(self, observation: Mapping[str, Any]) -> Tensor:
        """`{name: [B, ...]}` to `[B, D]`."""
        observation = named_parts(observation)
        named = zip(self._parts, self._sources.values(), strict=True)
        return torch.cat([part(_given(observation, source.of)) for part, source in named], dim=1)


def make_keys(
    space: spaces.Space,
    key_size: int,
    modalities: Mapping[str, Any] | None,
    make_part: MakePart,
    scale_rule: int = SCALE_RULE,
) -> tuple[nn.Module, KeySpace]:
    """From observations to keys, and their space: one vector, or the modalities that a YAML makes of the observation.

    Args:
        space: Of one observation.
        key_size: Columns of a key that is one vector.
        modalities: As of `ModalityKeys`; None for one vector.
        make_part: Makes that vector of the observation, or modalities of its parts.
        scale_rule: As of `ModalityKeys`.

    Raises:
        ValueError: As of `ModalityKeys`.
    """
    if modalities is None:
        return make_part(space, key_size), KeySpace(key_size)
    keys = ModalityKeys(space, modalities, make_part, scale_rule)
    return keys, keys.space


class Codes(nn.Module):
    """Whole numbers as they are, the parts side by side: `[B, ...]` to `[B, C]`."""

    def forward(self, part: Any) -> Tensor:
        """`[B, ...]`, or one such tensor per name, to `[B, C]`."""
        if isinstance(part, dict | tuple):
            return torch.cat([self(one) for one in named_parts(part).values()], dim=1)
        return part.reshape(len(part), -1).float()


def parts_named(modalities: Mapping[str, Any]) -> list[str]:
    """The parts of the observation that `env.modalities` uses.

    Raises:
        ValueError: It is no mapping, or an entry says something that `Source` does not know.
    """
    if not isinstance(modalities, Mapping):
        raise ValueError(
            f"env.modalities is {modalities!r}; it must map names of modalities to parts of the observation."
        )
    return sorted({part for name, given in modalities.items() for part in _source(name, given).of})


def _source(name: str, given: Any) -> Source:
    """`camera`, `[camera, sound]` or `{of: ..., size: ...}`."""
    if not isinstance(given, Mapping):
        given = {"of": given}
    known = [field.name for field in fields(Source)]
    for key in given:
        if key not in known:
            raise unknown(f"setting of the modality {name!r} in env.modalities", str(key), known)
    of = given.get("of", name)
    if not isinstance(of, str | Sequence) or not all(isinstance(part, str) for part in of):
        raise ValueError(f"env.modalities.{name} is of {of!r}; it must name a part of the observation or several.")
    return Source(**{**given, "of": [of] if isinstance(of, str) else list(of)})


def _chosen(space: spaces.Dict, of: list[str]) -> spaces.Space:
    """The one part, or those named as a Dict."""
    for part in of:
        if part not in space.spaces:
            raise unknown("part of the observation in env.modalities", part, space.spaces)
    return space[of[0]] if len(of) == 1 else spaces.Dict({part: space[part] for part in of})


def _given(observation: Mapping[str, Any], of: list[str]) -> Any:
    return observation[of[0]] if len(of) == 1 else {part: observation[part] for part in of}


def _part(
    name: str, source: Source, space: spaces.Space, make_part: MakePart, scale_rule: int
) -> tuple[nn.Module, int]:
    """What makes a modality, and its number of columns."""
    if source.kind == "discrete":
        if source.size is not None:
            raise ValueError(f"The discrete modality {name!r} has size {source.size}; codes are taken as they are.")
        return Codes(), _codes(name, space)
    if source.size is not None:
        return make_part(space, source.size), source.size
    numbers = Flatten(space, scale_rule if scale_rule < SCALE_RULE else 0)
    return numbers, numbers.size


def _codes(name: str, space: spaces.Space) -> int:
    """How many codes a part has."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return sum(_codes(name, part) for part in parts_of(space).values())
    if np.dtype(space.dtype).kind not in "iub":
        raise ValueError(
            f"The modality {name!r} is discrete, but is made of {space}, whose numbers are not whole; use kind: l2."
        )
    return math.prod(space.shape or ())
