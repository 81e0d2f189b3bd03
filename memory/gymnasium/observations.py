"""Observations of any space as tensors: copies, in batches, by name where they have parts; text is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor

AsTensors: TypeAlias = Callable[[Any], Any]
"""A batch of observations, `[E, ...]`, to a tensor, or to one by name for each part."""


def parts_of(space: Space) -> dict[str, Space] | None:
    """The parts of a Dict, or of a Tuple by their numbers, that hold numbers; None for other spaces."""
    if isinstance(space, spaces.Dict):
        found = dict(space.spaces)
    elif isinstance(space, spaces.Tuple):
        found = {str(number): part for number, part in enumerate(space.spaces)}
    else:
        return None
    return {name: part for name, part in found.items() if parts_of(part) or _numeric(part)}


def as_tensors(space: Space, place: str = "observation") -> AsTensors:
    """What turns batches of a space's observations into tensors that share nothing with them.

    Args:
        space: Of one environment's observations.
        place: What it is called in errors.

    The result raises ValueError for what is no numbers, and for numbers that are NaN or infinite.
    """
    parts = parts_of(space)
    if parts is not None:
        readers = {name: as_tensors(part, f"{place} {name!r}") for name, part in parts.items()}
        named = isinstance(space, spaces.Dict)
        return lambda batch: {name: read(batch[name if named else int(name)]) for name, read in readers.items()}
    return lambda batch: _tensor(batch, place)


def batch_of_one(observation: Any) -> Any:
    """One environment's observation as a batch. `[...] -> [1, ...]`."""
    if hasattr(observation, "items"):
        return {name: batch_of_one(part) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(batch_of_one(part) for part in observation)
    return [observation] if isinstance(observation, str) else np.asarray(observation)[None]


def rows_of(batch: Any, rows: np.ndarray) -> Any:
    """The observations of these environments, from a batch or an array of single ones. `[n, ...]`."""
    if isinstance(batch, dict):
        return {name: rows_of(part, rows) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(rows_of(part, rows) for part in batch)
    if isinstance(batch, list):
        return _stacked([batch[row] for row in rows])
    chosen = batch[rows]
    return _stacked(list(chosen)) if chosen.dtype == object else chosen


def row_of(batch: Any, row: int) -> Any:
    """One observation of a batch."""
    if isinstance(batch, dict):
        return {name: row_of(part, row) for name, part in batch.items()}
    return tuple(row_of(part, row) for part in batch) if isinstance(batch, tuple) else batch[row]


def _stacked(observations: list[Any]) -> Any:
    first = observations[0]
    if isinstance(first, dict):
        return {name: _stacked([one[name] for one in observations]) for name in first}
    if isinstance(first, tuple):
        return tuple(_stacked([one[i] for one in observations]) for i in range(len(first)))
    return observations if isinstance(first, str) else np.stack([np.asarray(one) for one in observations])


def _numeric(space: Space) -> bool:
    return space.shape is not None and space.dtype is not None and space.dtype.kind in "biuf"


def _tensor(batch: Any, place: str) -> Tensor:
    numbers = np.array(np.asarray(batch))  # in two, as tensors know no argument copy
    if numbers.dtype.kind not in "biuf":
        raise ValueError(
            f"the {place} is {batch!r}, no array of numbers; mend the environment, or convert in a wrapper"
        )
    tensor = torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), copy=False))
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(
            f"the {place} holds NaN or an infinity; a memory needs finite numbers, so mend the environment"
        )
    return tensor
