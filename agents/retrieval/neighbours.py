"""Which entries a situation retrieves, and how credible they are: the nearest, and the sites where reward was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.agents.agent import Observation
from engram_rl.agents.retrieval.controls import Control
from engram_rl.agents.retrieval.entries import REWARD, STEP, TIME_UNIT, Entries
from engram_rl.agents.retrieval.situations import Situations
from engram_rl.memory.forgetting import Forgetting
from engram_rl.memory.sharded import AnyMemory

WIDER = 4
"""Times as many reward sites are looked up as are shown; of these the most credible and latest are."""

AGING = 0.02
"""What an episode of age costs a reward site beside the logarithm of its confidence."""


@dataclass(frozen=True)
class Neighbours:
    """Entries retrieved for R situations, K each, the reward sites last.

    Attributes:
        values: What is stored with them. `[R, K, V]`
        confidence: How far they are believed, 0 to 1. `[R, K]`
        distances: Squared, of their keys from the situation's; 0 for reward sites. `[R, K]`
        age: In episodes. `[R, K]`
        shown: Which of them are shown: those that exist and are believed enough. `[R, K]` of bool
        asked: Where what the memory answered lies, whatever a control made of it; -1 for nobody. `[R, K]`
    """

    values: Tensor
    confidence: Tensor
    distances: Tensor
    age: Tensor
    shown: Tensor
    asked: Tensor


class Retriever:
    """Retrieves entries for situations: nearest neighbours, then reward sites.

    Args:
        memory: Over the key space of `entries`.
        situations: Reads keys from observations.
        entries: Makes the queries.
        neighbours: Entries retrieved by the present situation.
        reward_sites: Places retrieved as those where reward was found.
        min_confidence: Entries believed less are not shown.
        num_envs: E.
        control: What is done to retrieval on purpose, for comparison; None for nothing.
    """

    def __init__(
        self,
        memory: AnyMemory,
        situations: Situations,
        entries: Entries,
        *,
        neighbours: int,
        reward_sites: int,
        min_confidence: float,
        num_envs: int,
        control: Control | None,
    ) -> None:
        self.memory, self.control = memory, control
        self.sites = RewardSites(entries, reward_sites, num_envs)
        self._situations, self._entries = situations, entries
        self._neighbours, self._reward_sites, self._min_confidence = neighbours, reward_sites, min_confidence

    def __call__(self, observation: Observation, envs: np.ndarray, episodes: np.ndarray, *, touch: bool) -> Neighbours:
        """What some environments retrieve.

        Args:
            observation: What they show. `[R, ...]`
            envs: `[R]`
            episodes: The number of every environment's episode. `[E]`
            touch: Whether the entries count as used.
        """
        contexts = self._situations.contexts(observation)  # [R]
        self.sites.enter(envs, contexts)
        self.sites.refresh(self.memory, episodes)
        asked, distances, values = self._slots(observation, envs, contexts, touch)
        slots = asked
        if self.control:
            slots = self.control.choose(slots, self.memory)
            values = self.memory.values[slots]  # of -1 any, never shown
        confidence = self._confidence(slots, values, envs, contexts)
        if self.control:
            values, confidence = self.control.alter(slots, values, confidence, self.memory)
        age = episodes[envs].astype(np.float32)[:, None] - values[..., -1].numpy()  # [R, K]
        shown = (slots.numpy() >= 0) & (confidence.numpy() >= np.float32(self._min_confidence))
        return Neighbours(values, confidence, distances, torch.from_numpy(age), torch.from_numpy(shown), asked)

    def _slots(
        self, observation: Observation, envs: np.ndarray, contexts: np.ndarray, touch: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Slots, squared distances and values, the reward sites last. `[R, K]`, `[R, K]`, `[R, K, V]`."""
        sites = self.sites.slots[envs]  # [R, S]
        if not self._neighbours:
            return sites, torch.zeros(sites.shape), self.memory.values[sites]
        query = {"view": self._situations.keys(observation)} | self._entries.context(envs, STEP, contexts)
        near = self.memory.lookup(query, self._neighbours, touch=touch)
        if not self._reward_sites:
            return near.slots, near.distances, near.values
        slots, distances = torch.cat([near.slots, sites], 1), torch.cat([near.distances, torch.zeros(sites.shape)], 1)
        return slots, distances, self.memory.values[slots]

    def _confidence(self, slots: Tensor, values: Tensor, envs: np.ndarray, contexts: np.ndarray) -> Tensor:
        """How far entries are believed: a step as far as the reward site that it led to. `[R, K]`."""
        if not (self._reward_sites and self._neighbours):
            return confidence_in(self.memory, slots)
        steps = slots[:, : self._neighbours]
        outcome, rewarded = values[:, : self._neighbours].split(self._entries.parts, dim=2)[:2]
        owners, within = (np.repeat(of, self._neighbours) for of in (envs, contexts))
        names = self._entries.site_names(owners, outcome.flatten(0, 1).numpy(), within)
        led_to = self.memory.find(names).view(steps.shape)
        believed = torch.cat([torch.where(rewarded.squeeze(2) > 0, led_to, steps), slots[:, self._neighbours :]], 1)
        return confidence_in(self.memory, believed)


class RewardSites:
    """The most credible and latest reward sites, kept until a write or a removal could change them.

    They are chosen among the latest of their world, and of the context that it is in. Those are looked up once; where
    each environment has a world of its own they then follow what is written, until one of as many as are kept goes or
    the context changes.

    Args:
        entries: Makes the queries.
        count: Sites shown to each environment, S.
        num_envs: E.

    Attributes:
        slots: Of their entries, -1 for none. `[E, S]`
    """

    def __init__(self, entries: Entries, count: int, num_envs: int) -> None:
        self._count = count
        self._entries = entries
        self.slots = torch.zeros(num_envs, count, dtype=torch.int64)  # looked up before they are shown
        self._held = torch.zeros(num_envs, count, dtype=torch.int32)  # [E, S] generation of these then
        self._outdated = np.ones(num_envs, bool)  # [E] whether these must be chosen anew
        self._latest = np.full((num_envs, WIDER * count), -1)  # [E, WIDER S] slots, the latest first; -1 for no more
        self._since = np.zeros(self._latest.shape, np.int32)  # [E, WIDER S] generation of these then
        self._known = np.zeros(num_envs, bool)  # [E] whether these are the latest
        self._contexts = np.zeros(num_envs, np.int64)  # [E] in which these were found

    def written(self, memory: AnyMemory, envs: np.ndarray, slots: Tensor) -> None:
        """Sites were found by these environments, each in a world of its own, and lie there now. `[R]`, `[R]`."""
        new = slots.numpy()[:, None]
        earlier = np.where(self._latest[envs] == new, -1, self._latest[envs])
        slots_now, since = np.concatenate([new, earlier], 1), np.concatenate([new, self._since[envs]], 1)
        since[:, :1] = memory.generation.numpy()[new]
        self._keep(envs, slots_now, since)

    def enter(self, envs: np.ndarray, contexts: np.ndarray) -> None:
        """These environments are in these contexts now. `[R]`, `[R]`."""
        elsewhere = self._contexts[envs] != contexts
        if elsewhere.any():
            changed = envs[elsewhere]
            self._contexts[changed] = contexts[elsewhere]
            self._latest[changed], self._known[changed], self._outdated[changed] = -1, False, True

    def outdate(self, envs: np.ndarray) -> None:
        """Something was written in the worlds of these environments. `[R]`."""
        self._outdated[envs] = True

    def anew(self, num_envs: int, envs: np.ndarray) -> RewardSites:
        """Of that many environments, of which these `[R]` are going to be shown some."""
        other = RewardSites(self._entries, self._count, num_envs)
        other.slots.fill_(-1)
        other._outdated[:] = np.isin(np.arange(num_envs), envs)
        return other

    def clear(self) -> None:
        """Entries lie elsewhere now: all are looked up anew before they are shown."""
        self.slots.fill_(-1)
        self._outdated[:], self._known[:] = True, False

    def refresh(self, memory: AnyMemory, episodes: np.ndarray) -> None:
        """Look up anew what may have changed.

        Args:
            memory: Of reward sites; their values end with the episode's number.
            episodes: The number of each environment's episode. `[E]`
        """
        if not self._count:
            return
        envs = np.flatnonzero(self._outdated | self._gone(memory).any(1))  # [R]
        if not len(envs):
            return
        now = torch.from_numpy(episodes[envs]).float().unsqueeze(1)
        self._look_up(memory, envs, now)
        latest, since = torch.from_numpy(self._latest[envs]), torch.from_numpy(self._since[envs])  # [R, WIDER S]
        age = now - memory.values[latest][..., -1]  # of -1 any, never chosen
        credible = confidence_in(memory, latest).clamp(min=1e-6).log() - AGING * age
        best = credible.masked_fill(latest < 0, -torch.inf).topk(self._count, dim=1).indices
        sites = latest.gather(1, best)
        self.slots[envs], self._held[envs] = sites, since.gather(1, best).masked_fill(sites < 0, 0)
        self._outdated[envs] = False

    def state_dict(self) -> dict[str, Any]:
        """What is shown, and where that must be looked up anew."""
        arrays = {"outdated": self._outdated.copy(), "contexts": self._contexts.copy()}
        return {"slots": self.slots.clone(), "held": self._held.clone(), **arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.slots, self._held = state["slots"].clone(), state["held"].clone()
        self._outdated = state["outdated"].copy()
        self._contexts = state.get("contexts", np.zeros_like(self._contexts)).copy()  # older ones knew of none
        self._known[:] = False

    def _look_up(self, memory: AnyMemory, envs: np.ndarray, now: Tensor) -> None:
        """See to it that the latest of these are known. `[R]`, `[R, 1]`."""
        latest, since = self._latest[envs], self._since[envs]
        there = (latest >= 0) & memory.alive.numpy()[latest] & (memory.generation.numpy()[latest] == since)
        went = ((latest >= 0) & ~there).any(1)
        others = latest[:, -1] >= 0  # that may come after those that are kept
        lost = ~self._known[envs] | (went & others) | (not self._entries.separate)
        if (went & ~lost).any():
            rows = np.flatnonzero(went & ~lost)
            self._keep(envs[rows], np.where(there, latest, -1)[rows], since[rows])
        if lost.any():
            rows = np.flatnonzero(lost)
            query = {"when": now[rows] / float(TIME_UNIT)} | self._entries.context(
                envs[rows], REWARD, self._contexts[envs[rows]]
            )
            found = memory.lookup(query, self._latest.shape[1], touch=False)
            self._latest[envs[rows]], self._since[envs[rows]] = found.slots.numpy(), found.generation.numpy()
            self._known[envs[rows]] = True

    def _keep(self, envs: np.ndarray, slots: np.ndarray, since: np.ndarray) -> None:
        """Of these slots, the latest first, as many as there is room for; -1 is left out. `[R]`, `[R, n]`, `[R, n]`."""
        order = np.argsort(slots < 0, axis=1, kind="stable")[:, : self._latest.shape[1]]
        self._latest[envs] = np.take_along_axis(slots, order, 1)
        self._since[envs] = np.take_along_axis(since, order, 1)

    def _gone(self, memory: AnyMemory) -> np.ndarray:
        """Whether the entry of a site has been removed since it was looked up. `[E, S]` of bool."""
        slots = self.slots.numpy()
        present = memory.alive.numpy()[slots] & (memory.generation.numpy()[slots] == self._held.numpy())
        return (slots >= 0) & ~present


def confidence_in(memory: AnyMemory, slots: Tensor) -> Tensor:
    """How far a memory believes entries that it holds, 0 where there is none. `[R, K]`."""
    if type(memory.forgetting).strength is Forgetting.strength:  # it knows none
        return (slots >= 0).float()
    confidence = memory.strength(slots.clamp(min=0).flatten()).view(slots.shape)
    return confidence.float().masked_fill(slots < 0, 0.0)
