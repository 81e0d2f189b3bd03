"""An index, a write rule and two ways to forget of one's own; a YAML names them, and nothing of Engram is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engram_rl.memory import (
    ExactIndex,
    Forgetting,
    Keys,
    KeyStore,
    Proposer,
    RandomProjection,
    WriteContext,
    WrittenRows,
)


@dataclass(frozen=True)
class Pessimist:
    """The smaller of the two values: what an action is worth at worst.

    A write rule says whether a known identity updates its entry (`matches`) and how (`combine`).
    """

    matches = True

    def combine(self, stored: Tensor, value: Tensor, context: WriteContext) -> Tensor:
        """`[n, V]`, `[n, V]` -> `[n, V]`; the context says which slots, how often they were written, and priorities."""
        return torch.minimum(stored, value)


class Lottery(Forgetting):
    """Any entry may have to make room: its number is drawn when it is written, and the lowest goes first.

    A policy is an order by `score`: it says what `written` and `retrieved` do to the scores, and in `state_dict` what
    else orders the entries.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def settings(self) -> dict[str, Any]:
        """The arguments that make another like it."""
        return {"seed": self.seed}

    def attach(self, capacity: int, device: torch.device) -> None:
        """Start the draws anew."""
        super().attach(capacity, device)
        self._draws = torch.Generator().manual_seed(self.seed)

    def written(self, rows: WrittenRows) -> None:
        """New entries get a number; one that is written again keeps its own."""
        drawn = torch.rand(len(rows.slots), generator=self._draws, dtype=torch.float64).to(self.score)
        self.set_scores(rows.slots[rows.new], drawn[rows.new])

    def lowest_birth(self, rows: WrittenRows) -> float:
        """A new entry may draw the lowest number of all."""
        return 0.0

    def retrieved(self, slots: Tensor) -> None:
        """Use does not matter."""

    def state_dict(self, used: int) -> dict[str, Any]:
        """Scores and the generator."""
        return super().state_dict(used) | {"draws": self._draws.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore scores and the generator."""
        super().load_state_dict(state)
        self._draws.set_state(state["draws"])


class KeepBest(Forgetting):
    """The entry with the lowest value goes first, whatever its age; what is written again counts by its new value."""

    def written(self, rows: WrittenRows) -> None:
        """The value is the score."""
        self.set_scores(rows.slots, rows.values[:, 0].double())

    def lowest_birth(self, rows: WrittenRows) -> float:
        """The lowest value among the rows."""
        return float(rows.values[:, 0].min())

    def retrieved(self, slots: Tensor) -> None:
        """Use does not matter."""


class ShortKeys:
    """Searches keys projected to a few columns, a fraction of the work; the memory re-ranks what is proposed.

    An index is a cache over the rows of a `KeyStore`: it hears which slots were written or are about to move, and
    proposes slots. This one leaves keys of several modalities to the exact search.

    Args:
        size: Columns that are searched.
        spare: How many times more slots are proposed than asked for.
    """

    exact = False

    def __init__(self, size: int = 8, spare: int = 4) -> None:
        self.size, self.spare = size, spare

    def attach(self, store: KeyStore) -> None:
        """Serve this store from scratch."""
        self._store, self._others = store, ExactIndex()
        self._others.attach(store)
        self._project = RandomProjection(store.space.vector_size, self.size).to(store.rows.device)
        self._short = self._project(store.vectors)  # [N, size]

    def serving(self, query: Keys, used: int) -> Proposer:
        """Who should answer."""
        return self if self._store.by_distance else self._others

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """Slots that probably hold the k nearest.  `[B, >= min(k, used)]`."""
        distances = torch.cdist(self._project(query.vectors.detach()), self._short[:used])  # [B, used]
        return distances.topk(min(used, self.spare * k), dim=1, largest=False).indices

    def written(self, slots: Tensor) -> None:
        """These slots hold other keys now, or none."""
        self._short[slots] = self._project(self._store.vectors[slots])

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """These slots' vectors are about to become these."""
        self._short[slots] = self._project(vectors)

    def report(self) -> dict[str, Any]:
        """Its kind."""
        return {"kind": "short keys"}
