"""What an agent takes a situation to be when it remembers one: a key that never goes stale, perhaps a place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.encoders import make_projection
from engram_rl.agents.common.observations import batch_size, hash_observations, named_parts, to_tensors
from engram_rl.agents.common.scaling import SCALE_RULE, parts_of, require_rule
from engram_rl.agents.retrieval.reading_cache import Reading, ReadingCache
from engram_rl.memory import identify
from engram_rl.memory.checks import brief


class Situations(Protocol):
    """Reads situations from observations.

    Attributes:
        key_size: Numbers in a key, D.
        place_size: Numbers in a place, P; 0 where observations do not say where the agent is.
        reach: Distance at which a displacement between places reaches the bound of what a network is shown.
        has_context: Whether a part of an observation says in which context it was made; what was remembered in others
            is then not retrieved.
    """

    key_size: int
    place_size: int
    reach: float
    has_context: bool

    def keys(self, observation: Observation) -> torch.Tensor:
        """`[E, ...]` to `[E, D]` of float32."""

    def places(self, observation: Observation) -> np.ndarray:
        """`[E, ...]` to `[E, P]` of float32."""

    def contexts(self, observation: Observation) -> np.ndarray:
        """A hash that equal contexts share; 0 where observations tell none. `[E]` of int64."""

    def identities(self, observation: Observation) -> np.ndarray:
        """A hash that equal situations share. `[E]` of int64."""


class PlaceSituations:
    """A situation is where the agent is.

    Args:
        space: Of one observation: a vector, or a Dict with one.
        seed: Unused; nothing is drawn.
        part: Name of the Dict's part that says where the agent is; None if the observation is that vector.
        columns: Which of its numbers do; all if None.
        context: Name of the Dict's part that says in which context the agent is; None for one context.
        reach: Distance at which displacements reach their bound.

    Raises:
        ValueError: There is no such part or column, or the reach is not positive.
    """

    def __init__(
        self,
        space: spaces.Space,
        seed: int,
        *,
        part: str | None = None,
        columns: Sequence[int] | None = None,
        context: str | None = None,
        reach: float = 3.0,
    ) -> None:
        if not reach > 0:
            raise ValueError(f"reach is {reach}; it is a distance, above 0.")
        named = parts_of(space) if isinstance(space, spaces.Dict | spaces.Tuple) else {}
        vector = named.get(part) if part is not None and named else space
        if not isinstance(vector, spaces.Box | spaces.MultiDiscrete) or len(vector.shape) != 1:
            raise ValueError(
                f"Places are numbers of a vector (part={part}); this environment shows {brief(space)}. Name a part "
                f"that is one (agent.view.part), flatten it in a wrapper (gymnasium.wrappers.FlattenObservation), or "
                f"take agent=retrieval_ppo_view, which compares all that is shown."
            )
        (size,) = vector.shape
        self._part, self._columns = part, list(range(size) if columns is None else columns)
        if not self._columns or not all(0 <= column < size for column in self._columns):
            raise ValueError(f"Columns {self._columns} are not among the {size} of {vector}.")
        if context is not None and context not in named:
            raise ValueError(f"No part is called context={context}: this environment shows {brief(space)}.")
        self._context, self.has_context = context, context is not None
        self.key_size = self.place_size = len(self._columns)
        self.reach = reach

    def keys(self, observation: Observation) -> torch.Tensor:
        """The place. `[E, D]`."""
        return torch.from_numpy(self.places(observation))

    def places(self, observation: Observation) -> np.ndarray:
        """Those numbers. `[E, P]`."""
        shown = named_parts(observation)
        vector = shown[self._part] if isinstance(shown, dict) and self._part is not None else shown
        return np.asarray(vector)[:, self._columns].astype(np.float32)

    def contexts(self, observation: Observation) -> np.ndarray:
        """The hash of that part. `[E]`."""
        shown = named_parts(observation)
        if self._context is None or not isinstance(shown, dict):
            return np.zeros(batch_size(observation), np.int64)
        return identify(np.asarray(shown[self._context])).numpy()

    def identities(self, observation: Observation) -> np.ndarray:
        """Equal places in equal contexts are equal situations, whatever else the observation says. `[E]`."""
        places = identify(self.places(observation)).numpy()
        if not self.has_context:
            return places
        return identify(np.stack([places, self.contexts(observation)], axis=1)).numpy()


class ProjectionSituations:
    """A situation is what is seen: a fixed random projection of any observation.

    Small observations are read once; of those that come again, keys and identities are looked up.

    Args:
        space: Of one observation.
        seed: Of the projection.
        size: Columns of the projection.
        scale_rule: How numbers are scaled first; 1 for what the first version remembered.
    """

    place_size = 0
    reach = 1.0
    has_context = False

    def __init__(self, space: spaces.Space, seed: int, *, size: int = 16, scale_rule: int = SCALE_RULE) -> None:
        self.key_size = size
        self._project = make_projection(space, size, seed, require_rule(scale_rule))
        self._cache = ReadingCache(self._read, size)

    def keys(self, observation: Observation) -> torch.Tensor:
        """The projection. `[E, D]`."""
        return torch.from_numpy(self._cache(observation).keys)

    def places(self, observation: Observation) -> np.ndarray:
        """None: no columns. `[E, 0]`."""
        return np.zeros((batch_size(observation), 0), np.float32)

    def contexts(self, observation: Observation) -> np.ndarray:
        """One for all. `[E]`."""
        return np.zeros(batch_size(observation), np.int64)

    def identities(self, observation: Observation) -> np.ndarray:
        """Equal observations are equal situations. `[E]`."""
        return self._cache(observation).identities

    @torch.no_grad()
    def _read(self, observation: Observation) -> Reading:
        return Reading(self._project(to_tensors(observation)).numpy(), hash_observations(observation).numpy())
