"""What an agent recalls in a situation, in plain numbers for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engram_rl.agents.retrieval.controls import Neighbours


@dataclass(frozen=True)
class Recalled:
    """What one environment's agent is shown of its memory: K entries, fewer than it looks up if some are not trusted.

    Attributes:
        place: Where the agent is; P = 0 where observations do not say. `[P]`
        where: Where each entry was made. `[K, P]`
        outcome: Where its episode found reward. `[K, P]`
        rewarded: Whether it did. `[K]` of bool
        site: Whether it is a place of reward, rather than a step of an episode. `[K]` of bool
        action: Taken there, as numbers: one-hot if discrete; 0 for a place of reward. `[K, A]`
        gained: The return that followed; 1 for a place of reward. `[K]`
        trust: 0 to 1. `[K]`
        distance: Squared, of its key from the situation's; 0 for a place of reward. `[K]`
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
    trust: np.ndarray
    distance: np.ndarray
    age: np.ndarray
    attention: np.ndarray
    nothing: float


class Shown(NamedTuple):
    """What is recalled beside R observations.

    Attributes:
        neighbours: K each.
        distances: Squared, 0 for places of reward. `[R, K]`
        age: In episodes. `[R, K]`
        there: Whether it is shown. `[R, K]` of bool
    """

    neighbours: Neighbours
    distances: Tensor
    age: Tensor
    there: Tensor


def in_plain_numbers(
    shown: Shown, weights: Tensor, places: np.ndarray, split: Callable[[Tensor], tuple[Tensor, ...]], here: int
) -> Recalled:
    """What the first row is shown.

    Args:
        shown: To R environments.
        weights: How it is attended to, with the null token last. `[R, K + 1]`
        places: Where the environments are. `[R, P]`
        split: Values into outcome, whether it was reward, return, place, action and episode, as `Tokens.split` does.
        here: Entries before the places of reward.
    """
    there = shown.there[0]  # [K]
    outcome, rewarded, gained, where, action, _ = (p[0].numpy() for p in split(shown.neighbours.values[:1, there]))
    return Recalled(
        place=places[0],
        where=where,
        outcome=outcome,
        rewarded=rewarded[:, 0] > 0,
        site=(torch.arange(len(there)) >= here)[there].numpy(),
        action=action,
        gained=gained[:, 0],
        trust=shown.neighbours.trust[0, there].numpy(),
        distance=shown.distances[0, there].numpy(),
        age=shown.age[0, there].numpy(),
        attention=weights[0, :-1][there].numpy(),
        nothing=float(weights[0, -1]),
    )
