"""What a transition memory answers: what a write met, and what every action would do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Written:
    """What a write of B transitions met.

    Attributes:
        states: Id of the state each began in. `[B]`
        next_states: Id of the state each ended in. `[B]`
        new: Nothing was known about this action in this state. `[B]` of bool
        refuted: Something else was known. `[B]` of bool
        since: Tick at which what was known before was last experienced; of no meaning where nothing was. `[B]`
    """

    states: np.ndarray
    next_states: np.ndarray
    new: np.ndarray
    refuted: np.ndarray
    since: np.ndarray


@dataclass(frozen=True)
class Expansion:
    """What every action would do in each of B states.

    Attributes:
        next_states: The remembered successor, or the imagined one, or the state itself if there is neither. `[B, A, D]`
        known: Whether the transition is remembered. `[B, A]` of bool
        support: 1 where remembered; where imagined, the share of recalled movements that agree; else 0. `[B, A]`
        reward: Mean reward of the remembered transition, weighted by strength; else 0. `[B, A]`
        terminal: Whether the remembered transition ended the task. `[B, A]` of bool
        harm: The harm it did when last experienced; else 0. `[B, A]`
    """

    next_states: np.ndarray
    known: np.ndarray
    support: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    harm: np.ndarray
