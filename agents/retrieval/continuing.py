"""What follows an episode that was cut, by what is remembered of situations like its last."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Observation
from engram_rl.agents.retrieval.entries import STEP, Entries
from engram_rl.agents.retrieval.logit_bias import NEAR
from engram_rl.agents.retrieval.situations import Situations
from engram_rl.memory.sharded import AnyMemory


class Continuing:
    """The best that an action returned in situations like this one: the mean of its entries near, as NEC weighs them.

    Args:
        situations: Reads keys from observations.
        entries: Makes the queries.
        action_space: Of one environment; of choices the best counts, of a Box's numbers the mean of all.
        neighbours: Entries asked for.
    """

    def __init__(self, situations: Situations, entries: Entries, action_space: spaces.Space, neighbours: int) -> None:
        self._situations, self._entries, self._neighbours = situations, entries, neighbours
        self._choices = not isinstance(action_space, spaces.Box)

    @torch.no_grad()
    def __call__(
        self,
        memory: AnyMemory,
        observation: Observation,
        envs: np.ndarray,
        mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """What some environments' observations are worth; minus infinity where nothing is known. `[R]`.

        Args:
            memory: What is remembered; it is left as it is.
            observation: `[R, ...]`
            envs: `[R]`
            mask: Which choices are allowed there; None for all. `[R, A]`
        """
        contexts = self._situations.contexts(observation)
        query = {"view": self._situations.keys(observation)} | self._entries.context(envs, STEP, contexts)
        found = memory.lookup(query, self._neighbours, touch=False)
        _, _, returns, _, actions, _ = found.values.split(list(self._entries.parts), dim=2)
        weight = (found.valid * NEAR / (found.distances + NEAR)).unsqueeze(2)  # [R, K, 1]
        share = actions * weight if self._choices else weight  # [R, K, A]
        total = share.sum(1)  # [R, A]
        mean = (share * returns).sum(1) / total  # not a number where nothing is known
        known = total > 0
        if mask is not None and self._choices:
            known &= torch.from_numpy(np.asarray(mask, bool))
        return mean.masked_fill(~known, -torch.inf).amax(1).double().numpy()
