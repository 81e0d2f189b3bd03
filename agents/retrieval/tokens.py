"""What a policy is shown of entries that were retrieved: a token of numbers of about -1 to 1 for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engram_rl.agents.retrieval.neighbours import Neighbours

NEIGHBOURS, SHOWN, ACTION_RETURNS = "neighbours", "shown", "action_returns"
"""Names of what a policy is shown beside the observation: tokens `[E, K, F]`, which of them are there `[E, K]`, and how
good each action has been `[E, A]` (`engram_rl.agents.retrieval.logit_bias`)."""


class Tokens:
    """Describes entries to a policy.

    A token says of an entry: whether it is a reward site; its rank, 1, 1/2, 1/3 ... (the nearest, or the latest and
    most credible of the sites); what came of it: the way from here to where reward was found, shorter the less it is
    believed, whether it was found, and the return; the way from here to its own place; how unlike the present situation
    it is; the action taken; how fresh it is, 1 over its age in episodes; and the confidence in it.

    Args:
        parts: Of a value, as `engram_rl.agents.retrieval.entries.Entries` says.
        neighbours: Entries retrieved by the present situation.
        reward_sites: Reward sites that follow them.
        reach: Distance at which the way to a place reaches the bound of what is shown.

    Attributes:
        size: F.
        return_column: Where a token tells the return.
    """

    def __init__(self, parts: Sequence[int], *, neighbours: int, reward_sites: int, reach: float) -> None:
        places, actions = parts[0], parts[4]
        self._parts, self._places, self._reach = list(parts), places, reach
        self.size, self.return_column = 2 * places + actions + 7, places + 3
        rank = torch.cat([1 / torch.arange(1.0, 1 + count) for count in (neighbours, reward_sites)])
        site = (torch.arange(neighbours + reward_sites) >= neighbours).float()
        self._order = torch.stack([site, rank], dim=1)  # [K, 2]

    def __call__(self, neighbours: Neighbours, place: Tensor) -> Tensor:
        """Tokens `[R, K, F]`, 0 for what is not shown.

        Args:
            neighbours: K for each of R situations.
            place: Of the situation. `[R, P]`
        """
        outcome, rewarded, gained, where, action, _ = neighbours.values.split(self._parts, dim=2)
        order = self._order.expand(len(place), -1, -1)  # [R, K, 2]
        confidence = neighbours.confidence.unsqueeze(2)
        expected, way = outcome, where  # no numbers where there are no places
        if self._places:
            here = place.unsqueeze(1)  # [R, 1, P]
            expected = self._way(outcome - here) * rewarded * confidence
            way = self._way(where - here) * (1 - order[..., :1])
        gained = gained.sign() * gained.abs().log1p()
        fresh = 1 / neighbours.age.clamp(min=1).unsqueeze(2)
        unlike = neighbours.distances.log1p().unsqueeze(2)
        tokens = torch.cat([order, expected, rewarded, gained, way, unlike, action, fresh, confidence], 2)
        return tokens.masked_fill(~neighbours.shown.unsqueeze(2), 0)

    def _way(self, displacement: Tensor) -> Tensor:
        """A displacement as a network is shown it, within -1 to 1."""
        return (displacement / self._reach).clamp(-1, 1)
