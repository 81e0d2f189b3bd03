"""How keys lie in memory and are compared: one protocol, and a store for each kind of key space."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from engram_rl.memory.keys.coded import Group
from engram_rl.memory.keys.masked import MaskedStore
from engram_rl.memory.keys.plain import PlainStore
from engram_rl.memory.keys.space import KeyInput, Keys, KeySpace, Present
from engram_rl.memory.waiting import Checks


class KeyStore(Protocol):
    """Keys in preallocated rows, one per slot, and the distances between them; what an index is attached to.

    Attributes:
        space: What a key is made of.
        rows: What a search runs over. `[N, W]`
        by_distance: Whether the rows nearest to `queries` are those at the least squared distance; else those with the
            largest inner product.
        vectors: The keys' vectors, in place. `[N, D]`
        column_weights: Factor of each column of the vectors in the squared distance. `[D]`
        codes: Codes of the discrete modalities. `[N, C]` int64
        present: Which modalities an entry has. `[N, M]` bool
        doubt: Whether what was last computed has to be computed again, if that has not been asked yet. `[]` bool
    """

    space: KeySpace
    rows: Tensor
    by_distance: bool
    column_weights: Tensor
    codes: Tensor
    present: Tensor
    doubt: Tensor | None

    @property
    def vectors(self) -> Tensor:
        """The keys' vectors, in place.  `[N, D]`."""

    @property
    def centre(self) -> Tensor | None:
        """Where keys are seen from when products are taken; None for the origin.  `[D]`."""

    def pack(self, keys: KeyInput, present: Present = None, checks: Checks | None = None) -> Keys:
        """Check keys and lay them out, as `KeySpace.pack` does, where this store lives."""

    def queries(self, query: Keys) -> Tensor:
        """What to search the rows for.  `[B, W]`."""

    def distances(self, query: Keys, entries: Keys) -> Tensor:
        """Weighted squared distance over the modalities a query asks for, differentiable; inf if a code differs.

        Args:
            query: B keys.
            entries: k for each of them: `[B, k, D]`, `[B, k, C]`, `[B, k, M]`.

        Returns:
            `[B, k]`
        """

    def distances_at(self, query: Keys, slots: Tensor, vectors: Tensor | None = None) -> Tensor:
        """The same to the entries at `slots` `[B, k]`; `vectors` `[B, k, D]`, if given, stand for theirs.  `[B, k]`."""

    def parts_at(self, query: Keys, slots: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Squared distance by modality: the penalty where an entry lacks it, inf where a code differs.  `[B, k, M]`."""

    def weighted(self, parts: Tensor, query: Keys) -> Tensor:
        """The sum of the parts that are asked for, by weight.  `[B, k, M]` -> `[B, k]`."""

    def penalties(self) -> Tensor:
        """What lacking each modality costs, as a squared distance.  `[M]`."""

    def assume(self, penalties: Tensor) -> None:
        """Have these in place of what is stored, until that changes: it is part of something larger.  `[M]`."""

    def settle(self, doubtful: bool) -> None:
        """The answer to `doubt`."""

    def rounding(self, query: Keys, near: Tensor) -> Tensor:
        """How wrong a search may rank rows at a squared distance of `near`, by rounding.  `[B]` -> `[B]`."""

    def see_from_amid(self, used: int) -> bool:
        """Have the centre amid the keys, as rounding hides who is near; whether that has moved it."""

    def groups(self, query: Keys, used: int) -> list[Group] | None:
        """Queries by the codes they ask for, each with the entries to compare; None if none asks for any."""

    def latest(self, query: Keys, k: int, used: int) -> Tensor | None:
        """For queries that ask for codes alone: the k latest entries that have them, then those that lack some.

        `[B, >= k]`, -1 where there are no more; None if these are other queries.
        """

    def latest_first(self, slots: Tensor) -> Tensor:
        """The slots in the order of their writes, the latest first, where codes are kept.  `[m]`."""

    def put(self, slots: Tensor, keys: Keys, used: int) -> None:
        """Store new or replacing keys; slots from `used` on have never held an entry."""

    def as_kept(self, slots: Tensor, vectors: Tensor, checks: Checks | None = None) -> Tensor:
        """Vectors as entries keep them: directions of unit length, and 0 where an entry lacks the part.  `[n, D]`."""

    def move(self, slots: Tensor, vectors: Tensor) -> None:
        """Put the vectors of existing entries elsewhere, which are `as_kept`.  `[n, D]`."""

    def erase(self, slots: Tensor) -> None:
        """Make the search rank these rows behind every entry."""

    def state_dict(self, used: int) -> dict[str, Any]:
        """What is kept beside `rows`, `codes` and `present`."""

    def load_state_dict(self, state: dict[str, Any], used: int) -> None:
        """Restore what `state_dict` gave, after the keys of `used` slots, from which all else is worked out."""


def make_store(space: KeySpace, capacity: int, dtype: torch.dtype, device: torch.device) -> KeyStore:
    """The store that suits a key space: a simpler one if a key is one vector, so that nothing can ever be absent."""
    return _kind(space)(space, capacity, dtype, device)


def entry_bytes(space: KeySpace, value_dim: int, dtype: torch.dtype) -> int:
    """Bytes that a slot takes up, all that is kept beside key and value included; links come on top."""
    width = _kind(space).row_width(space)
    ordered = 8 if space.code_size else 0
    return dtype.itemsize * (width + value_dim) + 8 * space.code_size + ordered + len(space) + 64


def _kind(space: KeySpace) -> type[PlainStore | MaskedStore]:
    return PlainStore if len(space) == 1 and space.code_size == 0 else MaskedStore
