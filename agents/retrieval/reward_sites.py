"""Places where reward was found: which of them each environment is shown, and how far the memory trusts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.agents.retrieval.entries import DAYS, REWARD, Entries
from engram_rl.memory import DifferentiableNeuralDictionary

WIDER = 4
"""Times as many places of reward are looked up as are shown; of these the most trusted and latest are."""

AGING = 0.02
"""What an episode of age costs a place of reward beside the logarithm of its trust."""


class Sites:
    """The most trusted and latest places of reward, kept until a write or a removal could change them.

    Args:
        entries: Makes the queries.
        count: Places shown to each environment, S.
        num_envs: E.
    """

    def __init__(self, entries: Entries, count: int, num_envs: int) -> None:
        self._count = count
        self._entries = entries
        self._slots = torch.full((num_envs, count), -1)  # [E, S] of their entries
        self._held = torch.zeros(num_envs, count, dtype=torch.int32)  # [E, S] generation of these then
        self._outdated = np.ones(num_envs, bool)  # [E] whether these must be looked up anew

    def of(self, streams: np.ndarray) -> Tensor:
        """Slots of what some environments are shown, -1 for none. `[R]` -> `[R, S]`."""
        return self._slots[streams]

    def outdate(self, rows: np.ndarray) -> None:
        """Something was written in the worlds of these environments. `[R]`."""
        self._outdated[rows] = True

    def refresh(self, memory: DifferentiableNeuralDictionary, episodes: np.ndarray) -> None:
        """Look up anew what may have changed.

        Args:
            memory: Of places of reward; their values end with the episode's number.
            episodes: The number of each environment's episode. `[E]`
        """
        if not self._count:
            return
        rows = np.flatnonzero(self._outdated | self._gone(memory).any(1).numpy())  # [R]
        if not len(rows):
            return
        now = torch.from_numpy(episodes[rows]).float().unsqueeze(1)
        query = {"when": now / float(DAYS)} | self._entries.context(rows, REWARD)
        found = memory.lookup(query, WIDER * self._count, touch=False)
        age = now - found.values[..., -1]  # [R, WIDER S]
        rank = (trust_in(memory, found.slots).clamp(min=1e-6).log() - AGING * age).masked_fill(~found.valid, -torch.inf)
        best = rank.topk(self._count, dim=1).indices
        self._slots[rows], self._held[rows] = found.slots.gather(1, best), found.generation.gather(1, best)
        self._outdated[rows] = False

    def state_dict(self) -> dict[str, Any]:
        """What is shown, and where that must be looked up anew."""
        return {"slots": self._slots.clone(), "held": self._held.clone(), "outdated": self._outdated.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._slots, self._held = state["slots"].clone(), state["held"].clone()
        self._outdated = state["outdated"].copy()

    def _gone(self, memory: DifferentiableNeuralDictionary) -> Tensor:
        """Whether the entry of a place has been removed since it was looked up. `[E, S]` of bool."""
        slots = self._slots.clamp(min=0)
        present = memory.alive[slots] & (memory.generation[slots] == self._held)
        return (self._slots >= 0) & ~present


def trust_in(memory: DifferentiableNeuralDictionary, slots: Tensor) -> Tensor:
    """How far a memory trusts entries, 0 where there is none. `[R, K]`."""
    trust = memory.strength(slots.clamp(min=0).flatten()).view(slots.shape)
    return trust.float().masked_fill(slots < 0, 0.0)
