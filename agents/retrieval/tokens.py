"""What a policy is shown of entries that were recalled: a token of numbers of about -1 to 1 for each."""

from __future__ import annotations

import torch
from torch import Tensor

from engram_rl.agents.retrieval.controls import Neighbours


class Tokens:
    """Describes entries to a policy.

    A token says of an entry: whether it is a place of reward; its rank, 1, 1/2, 1/3 ... (the nearest, or the latest and
    most trusted of the places); what came of it: the way from here to where reward was found, shorter the less it is
    trusted, whether it was found, and the return; the way from here to its own place; how unlike the present situation
    it is; the action taken; how fresh it is, 1 over its age in episodes; and how far it is trusted.

    Args:
        here: Entries recalled by the present situation.
        found: Places of reward that follow them.
        places: Numbers in a place, P.
        actions: Numbers in an action, A.
        reach: Distance at which the way to a place reaches the bound of what is shown.

    Attributes:
        size: F.
        return_column: Where a token tells the return.
    """

    def __init__(self, *, here: int, found: int, places: int, actions: int, reach: float) -> None:
        self._places, self._reach = places, reach
        self._parts = [places, 1, 1, places, actions, 1]
        self.size, self.return_column = 2 * places + actions + 7, places + 3
        rank = torch.cat([1 / torch.arange(1.0, 1 + count) for count in (here, found)])
        self._order = torch.stack([(torch.arange(here + found) >= here).float(), rank], dim=1)  # [K, 2]

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Where reward was found, whether it was, the return, the entry's place, action and episode. `[R, K, ...]`."""
        return values.split(self._parts, dim=2)

    def __call__(self, neighbours: Neighbours, distances: Tensor, place: Tensor, age: Tensor) -> Tensor:
        """Tokens `[R, K, F]`.

        Args:
            neighbours: K for each of R situations.
            distances: Squared, to the situation. `[R, K]`
            place: Of the situation. `[R, P]`
            age: In episodes. `[R, K]`
        """
        outcome, rewarded, gained, where, action, _ = self.split(neighbours.values)
        order = self._order.expand(len(place), -1, -1)  # [R, K, 2]
        trust = neighbours.trust.unsqueeze(2)
        promised, way = outcome, where  # no numbers where there are no places
        if self._places:
            here = place.unsqueeze(1)  # [R, 1, P]
            promised = self._way(outcome - here) * rewarded * trust
            way = self._way(where - here) * (1 - order[..., :1])
        gained = gained.sign() * gained.abs().log1p()
        fresh = 1 / age.clamp(min=1).unsqueeze(2)
        return torch.cat(
            [order, promised, rewarded, gained, way, distances.log1p().unsqueeze(2), action, fresh, trust], 2
        )

    def _way(self, displacement: Tensor) -> Tensor:
        """A displacement as a network is shown it, within -1 to 1."""
        return (displacement / self._reach).clamp(-1, 1)
