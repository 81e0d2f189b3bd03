"""What an agent retrieves in a situation, in plain numbers for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engram_rl.agents.retrieval.neighbours import Neighbours


@dataclass(frozen=True)
class Retrieved:
    """What one environment's agent is shown of its memory: K entries, fewer than it looks up if some are not believed.

    Attributes:
        place: Where the agent is; P = 0 where observations do not say. `[P]`
        where: Where each entry was made. `[K, P]`
        outcome: Where its episode found reward. `[K, P]`
        rewarded: Whether it did. `[K]` of bool
        site: Whether it is a reward site, rather than a step of an episode. `[K]` of bool
        action: Taken there, as numbers: one-hot if discrete; 0 for a reward site. `[K, A]`
        gained: The return that followed; 1 for a reward site. `[K]`
        confidence: 0 to 1. `[K]`
        distance: Squared, of its key from the situation's; 0 for a reward site. `[K]`
        age: In episodes. `[K]`
        attention: Of the actor, mean over its heads; with `nothing` it sums to 1. `[K]`
        nothing: The attention on no entry.
    """

    place: np.ndarray
    where: np.ndarray
    outcome: np.ndarray
    rewarded: np.ndarray
    site: np.ndarray
    action: np.ndarray
    gained: np.ndarray
    confidence: np.ndarray
    distance: np.ndarray
    age: np.ndarray
    attention: np.ndarray
    nothing: float


def in_plain_numbers(
    found: Neighbours, weights: Tensor, place: np.ndarray, parts: Sequence[int], neighbours: int
) -> Retrieved:
    """What the first row is shown.

    Args:
        found: By R environments.
        weights: How it is attended to, with the null token last. `[R, K + 1]`
        place: Where the first environment is. `[P]`
        parts: Of a value, as `engram_rl.agents.retrieval.entries.Entries` says.
        neighbours: Entries before the reward sites.
    """
    shown = found.shown[0]  # [K]
    values = found.values[0, shown].split(list(parts), dim=1)
    outcome, rewarded, gained, where, action, _ = (part.numpy() for part in values)
    return Retrieved(
        place=place,
        where=where,
        outcome=outcome,
        rewarded=rewarded.ravel() > 0,
        site=(torch.arange(len(shown)) >= neighbours)[shown].numpy(),
        action=action,
        gained=gained.ravel(),
        confidence=found.confidence[0, shown].numpy(),
        distance=found.distances[0, shown].numpy(),
        age=found.age[0, shown].numpy(),
        attention=weights[0, :-1][shown].numpy(),
        nothing=float(weights[0, -1]),
    )
