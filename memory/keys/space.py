"""Incomplete-hash keys: what a key is made of, and which of its parts are given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.checks import LARGEST_KEY, LARGEST_VALUE, number, real, require_held, shown, unknown, whole
from engram_rl.memory.waiting import AT_HAND, Checks

KeyInput: TypeAlias = Tensor | Mapping[str, Tensor]
"""Flat keys `[B, D]`, or one tensor per modality by name; a modality that is left out is not matched."""

Present: TypeAlias = Mapping[str, Tensor] | None
"""Per row, whether a modality is given: `{"view": bool [B]}`. Modalities that are not named count as given."""

LIGHTEST, HEAVIEST = 1e-20, 1e20
"""Weights of modalities; what is heavier or lighter than the others by more would not be seen beside them."""

LARGEST_SIZE = 2**24
"""Columns of a modality."""

LARGEST_EXACT_CODE = 2**24
"""A float32 holds every integer up to here; larger codes must come as integers, by name."""


_SCALE = ": only how weights compare matters, so scale all of them"


@dataclass(frozen=True)
class Modality:
    """One part of a key.

    Attributes:
        name: How queries and entries refer to it.
        size: Number of columns.
        kind: "l2" (squared distance), "cosine" (squared distance of the unit vectors, `2 - 2 cos`), or "discrete"
            (integers that must all be equal: an action, a cell, an observation's hash).
        weight: Factor of its squared distance in the whole distance.
        penalty: What an entry that lacks it is charged as its squared distance when a query asks for it. By default the
            typical squared distance between two stored entries in this modality, or 1 if discrete.
    """

    name: str
    size: int = 1
    kind: Literal["l2", "cosine", "discrete"] = "l2"
    weight: float = 1.0
    penalty: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("l2", "cosine", "discrete"):
            raise unknown("kind of modality", self.kind, ("l2", "cosine", "discrete"))
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"a modality's name is {shown(self.name)}; it must be a string that is not empty")
        whole(f"the size of modality {self.name!r}", self.size, most=LARGEST_SIZE)
        number(f"the weight of modality {self.name!r}", self.weight, above=0, hint=": leave it out instead")
        number(f"the weight of modality {self.name!r}", self.weight, LIGHTEST, most=HEAVIEST, hint=_SCALE)
        if self.penalty is not None:
            most = LARGEST_VALUE / max(1.0, self.weight)
            number(f"the penalty of modality {self.name!r}", self.penalty, 0, most=most)


@dataclass(frozen=True)
class Keys:
    """A batch of keys as the memory holds them; absent parts are 0.

    Attributes:
        vectors: The L2 and cosine modalities side by side, cosine ones at unit length. `[B, D]`
        codes: The discrete modalities side by side. `[B, C]` int64
        present: Which modalities each key has. `[B, M]` bool
    """

    vectors: Tensor
    codes: Tensor
    present: Tensor

    def __len__(self) -> int:
        return self.vectors.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Keys:
        return Keys(self.vectors[rows], self.codes[rows], self.present[rows])

    def split(self, rows: list[int]) -> list[Keys]:
        """The first keys, those that follow, and so on, so many of them each."""
        parts = (part.split_with_sizes(rows) for part in (self.vectors, self.codes, self.present))
        return [Keys(*part) for part in zip(*parts, strict=True)]

    def reshape(self, rows: int, k: int) -> Keys:
        """The same keys `[B, S * k]` as `[rows, k]`."""
        return Keys(*(part.reshape(rows, k, part.shape[-1]) for part in (self.vectors, self.codes, self.present)))


class KeySpace:
    """The named modalities of a key, in order.

    A flat key is all modalities side by side in this order; a discrete one takes part as whole numbers below 2**24.
    """

    def __init__(self, modalities: int | list[Modality] | KeySpace) -> None:
        if isinstance(modalities, int | np.integer):
            modalities = [Modality("key", modalities)]
        if not isinstance(modalities, KeySpace | list | tuple) or not all(isinstance(m, Modality) for m in modalities):
            raise TypeError(f"a key is made of {shown(modalities)}; give its size, or a list of Modality")
        self.modalities: list[Modality] = list(modalities)
        self.names = [m.name for m in self.modalities]
        self._sizes = [m.size for m in self.modalities]
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"a key needs at least one modality and distinct names; it got the names {self.names}")
        self.columns: dict[str, slice] = {}
        """Where each modality lies: in `Keys.vectors`, or in `Keys.codes` if it is discrete."""
        self.vector_size = self._place([m for m in self if m.kind != "discrete"])
        self.code_size = self._place([m for m in self if m.kind == "discrete"])
        self.dim = self.vector_size + self.code_size

    def __len__(self) -> int:
        return len(self.modalities)

    def __iter__(self) -> Iterator[Modality]:
        return iter(self.modalities)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySpace) and self.modalities == other.modalities

    def __hash__(self) -> int:
        return hash(tuple(self.modalities))

    def __repr__(self) -> str:
        return f"KeySpace({self.modalities})"

    def pack(
        self,
        keys: KeyInput,
        present: Present = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        checks: Checks | None = None,
    ) -> Keys:
        """Check keys and lay them out; gradients flow through to `Keys.vectors`.

        Args:
            keys: Flat or by name, of B rows.
            present: Per modality, which rows have it.
            dtype: Of the vectors.
            device: Where they are to lie.
            checks: Takes what is to be checked of the numbers, if that is done later; by default it is done here.

        Raises:
            ValueError: A name is unknown, a shape or row count is off, a number is not finite, a code is not whole,
                a cosine part has no direction, or a key has no part at all. Nothing has been changed then.
        """
        if not isinstance(keys, Tensor | Mapping):
            raise TypeError(
                f"keys are {shown(keys)}; give a tensor [batch, {self.dim}], or one for each modality by name"
            )
        parts = self._split(keys) if isinstance(keys, Tensor) else keys
        rows = self._rows_of(parts)
        given = self._given(parts, present, rows, device, checks)  # [B, M]
        vectors: list[Tensor] = []
        codes: list[Tensor] = []
        for m, has in zip(self.modalities, given.unbind(1), strict=True):
            if m.kind == "discrete":
                codes.append(_codes(m, parts.get(m.name), has, checks))
            else:
                vectors.append(_vector(m, parts.get(m.name), has, dtype, checks))
        return Keys(_side_by_side(vectors, given, dtype), _side_by_side(codes, given, torch.int64), given)

    def _place(self, modalities: list[Modality]) -> int:
        end = 0
        for m in modalities:
            self.columns[m.name] = slice(end, end + m.size)
            end += m.size
        return end

    def _split(self, flat: Tensor) -> dict[str, Tensor]:
        if flat.is_complex():
            real("keys", flat)
        if flat.dim() != 2 or flat.shape[1] != self.dim:
            raise ValueError(
                f"keys have shape {tuple(flat.shape)}; expected [batch, {self.dim}] for the modalities "
                f"{', '.join(f'{m.name} ({m.size})' for m in self.modalities)}"
            )
        return dict(zip(self.names, flat.split(self._sizes, dim=1), strict=True))

    def _rows_of(self, parts: Mapping[str, Tensor]) -> int:
        """How many rows the parts have, which are of this space."""
        rows = set()
        for name, part in parts.items():
            if name not in self.columns:
                raise unknown("modality", str(name), self.columns)
            if not isinstance(part, Tensor) or part.is_complex():
                real(f"the modality {name!r}", part)
            size = self._sizes[self.names.index(name)]
            if part.dim() != 2 or part.shape[1] != size:
                raise ValueError(f"{name!r} has shape {tuple(part.shape)}; expected [batch, {size}]")
            rows.add(part.shape[0])
        if len(rows) != 1:
            raise ValueError(
                f"the modalities have {sorted(rows)} rows; give some of {', '.join(self.names)}, all with as many rows"
            )
        return rows.pop()

    def _given(
        self,
        parts: Mapping[str, Tensor],
        present: Present,
        rows: int,
        device: torch.device | str | None,
        checks: Checks | None,
    ) -> Tensor:
        every = torch.tensor([[name in parts for name in self.names]])
        given = every.to(device, non_blocking=True).repeat(rows, 1)
        if present is None:
            return given
        if not isinstance(present, Mapping):
            raise TypeError(f"present is {shown(present)}; give a bool tensor [{rows}] for each modality by name")
        for name, has in present.items():
            if name not in parts:
                raise unknown("modality in `present`", str(name), parts)
            if real(f"present[{name!r}]", has).shape != (rows,) or has.dtype != torch.bool:
                raise ValueError(f"present[{name!r}] is {has.dtype} {tuple(has.shape)}; expected bool [{rows}]")
            given[:, self.names.index(name)].copy_(has, non_blocking=not has.is_cuda)
        if present:
            some = given.any(1).all()
            if checks is not None:
                checks.append((some, _without_modality))
            elif not some:
                raise _without_modality()
        return given


def _without_modality() -> ValueError:
    return ValueError("a key has no modality at all: give every row at least one")


def _vector(modality: Modality, part: Tensor | None, has: Tensor, dtype: torch.dtype, checks: Checks | None) -> Tensor:
    if part is None:
        return torch.zeros(len(has), modality.size, dtype=dtype, device=has.device)
    if not part.is_floating_point():
        remedy = "give it as a discrete modality, or scale it"
        require_held(f"{modality.name!r}", part[has.to(part.device)], dtype, remedy)
    part = part.to(dtype=dtype, device=has.device, non_blocking=not part.is_cuda).masked_fill(~has.unsqueeze(1), 0)
    largest = largest_of(modality)
    if part.numel():
        sound = torch.linalg.vector_norm(part.detach(), ord=math.inf) <= largest
        if checks is not None:
            checks.append((sound, lambda: too_large(modality)))
        elif not sound:
            raise too_large(modality)
    return unit(modality.name, part, has, checks) if modality.kind == "cosine" else part


def too_large(modality: Modality) -> ValueError:
    """The error for a number that is not finite, or larger than this modality's may be."""
    return ValueError(
        f"{modality.name!r} has a value that is NaN, infinite or above {largest_of(modality):g} in size; keys must be "
        "finite and smaller: scale what they are made of"
    )


def largest_of(modality: Modality) -> float:
    """Numbers of this modality may be as large as that: then weighted squared distances can be held."""
    return LARGEST_KEY / max(1.0, modality.weight) ** 0.5


def unit(name: str, part: Tensor, has: Tensor, checks: Checks | None = None) -> Tensor:
    """The directions of the rows that are there; the others are 0.  `[B, S]`."""
    length = part.norm(dim=1, keepdim=True).masked_fill(~has.unsqueeze(1), 1)
    small = length < 1e4 * torch.finfo(part.dtype).tiny ** 0.5
    if part.device.type not in AT_HAND or small.any():  # squares have lost digits, or all
        largest = part.detach().abs().amax(1, keepdim=True)
        nowhere = (small & (largest == 0)).any()
        if checks is not None:
            checks.append((~nowhere, lambda: _without_direction(name)))
        elif nowhere:
            raise _without_direction(name)
        part = torch.where(small, part / largest.masked_fill(~small, 1), part)  # no gradient of 0 / 0
        length = torch.where(small, part.norm(dim=1, keepdim=True), length)
    return part / length


def _without_direction(name: str) -> ValueError:
    return ValueError(f"cosine modality {name!r} was given a zero vector, which has no direction; mark it absent")


def _codes(modality: Modality, part: Tensor | None, has: Tensor, checks: Checks | None) -> Tensor:
    if part is None:
        return torch.zeros(len(has), modality.size, dtype=torch.int64, device=has.device)
    kind = part.dtype if part.is_floating_point() else torch.int64
    part = part.to(has.device, kind, non_blocking=not part.is_cuda).masked_fill(~has.unsqueeze(1), 0)
    if part.is_floating_point():
        whole_numbers = ((part == part.round()) & (part.abs() <= LARGEST_EXACT_CODE)).all()
        if checks is not None:
            checks.append((whole_numbers, lambda: _not_whole(modality)))
        elif not whole_numbers:
            raise _not_whole(modality)
    return part.to(torch.int64)


def _not_whole(modality: Modality) -> ValueError:
    return ValueError(
        f"discrete modality {modality.name!r} has a value that is no whole number up to 2**24; "
        "give larger codes, such as hashes, by name as an int64 tensor"
    )


def _side_by_side(parts: list[Tensor], given: Tensor, dtype: torch.dtype) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    if parts:
        return torch.cat(parts, dim=1)
    return torch.zeros(len(given), 0, dtype=dtype, device=given.device)
