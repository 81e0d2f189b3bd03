"""What an index has to offer. It proposes slots; the memory takes distances from the keys themselves.

Inner products of long rows lose small distances to rounding, and an approximate index misses some entries: neither
matters as long as the true neighbours are among the proposals, so more are proposed than asked for.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore


class Proposer(Protocol):
    """Answers queries; both members are required."""

    exact: bool
    """Whether it looks at every row."""

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """Slots among the first `used` that probably hold the k nearest and a few more, -1 where there are no more.

        Columns are in no promised order. `[B, >= min(k, used)]`
        """


class Index(Proposer, Protocol):
    """A cache over the rows of a `KeyStore`, which may be dropped and rebuilt at any time; all members are required."""

    def attach(self, store: KeyStore) -> None:
        """Serve this store from now on, from scratch."""

    def serving(self, query: Keys, used: int) -> Proposer:
        """Who should answer: itself, or another where it would do badly."""

    def written(self, slots: Tensor) -> None:
        """These slots hold other keys now, or none."""

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """These slots' vectors are about to become these."""

    def report(self) -> dict[str, Any]:
        """How it is doing, for people."""
