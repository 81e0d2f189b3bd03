"""What a policy is shown of entries that were retrieved: a token of numbers of about -1 to 1 for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
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
        self._places, self._reach = places, reach
        self._of_values, self._of_tokens = columns_of(parts), columns_of([2, places, 1, 1, places, 1, actions, 1, 1])
        self.size, self.return_column = 2 * places + actions + 7, places + 3
        rank = np.concatenate([1 / np.arange(1, 1 + count, dtype=np.float32) for count in (neighbours, reward_sites)])
        site = np.arange(neighbours + reward_sites) >= neighbours
        self._order = np.stack([site, rank], axis=1).astype(np.float32)  # [K, 2]

    def __call__(self, neighbours: Neighbours, place: Tensor) -> Tensor:
        """Tokens `[R, K, F]`, 0 for what is not shown.

        Args:
            neighbours: K for each of R situations.
            place: Of the situation. `[R, P]`
        """
        values, here = neighbours.values.numpy(), place.numpy()[:, None]  # [R, K, V], [R, 1, P]
        outcome, rewarded, gained, where, action, _ = (values[..., part] for part in self._of_values)
        confidence = neighbours.confidence.numpy()[..., None]
        tokens = np.empty((*values.shape[:2], self.size), np.float32)
        order, expected, paid, returned, way, unlike, taken, fresh, believed = (tokens[..., s] for s in self._of_tokens)
        order[:], paid[:], taken[:], believed[:] = self._order, rewarded, action, confidence
        if self._places:
            expected[:] = self._way(outcome - here) * rewarded * confidence
            way[:] = self._way(where - here) * (1 - self._order[:, :1])
        returned[:] = np.sign(gained) * _log1p(np.abs(gained))
        unlike[..., 0] = neighbours.distances.log1p()
        fresh[..., 0] = 1 / np.maximum(neighbours.age.numpy(), 1)
        tokens[~neighbours.shown.numpy()] = 0
        return torch.from_numpy(tokens)

    def _way(self, displacement: np.ndarray) -> np.ndarray:
        """A displacement as a network is shown it, within -1 to 1."""
        return np.clip(displacement / np.float32(self._reach), -1, 1)


def columns_of(sizes: Sequence[int]) -> list[slice]:
    """Where parts of these sizes lie, side by side."""
    return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _log1p(numbers: np.ndarray) -> np.ndarray:
    """As torch rounds it."""
    return torch.from_numpy(numbers).log1p().numpy()
