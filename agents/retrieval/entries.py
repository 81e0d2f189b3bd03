"""What is remembered of episodes: keys, values and identities of their steps and of sites where reward was found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.observations import rows_of
from engram_rl.agents.episodic_control.returns import Returns
from engram_rl.agents.retrieval.situations import Situations
from engram_rl.memory import KeySpace, Modality, identify

STEP, REWARD = 0, 1
"""Kinds of entries: a step of an episode, and a site where reward was found."""

TIME_UNIT = np.float32(100)
"""Episodes of one unit of time in a key: numbers of the size of the view's, which rounding does not touch."""

Rows = tuple[dict[str, Tensor], Tensor, Tensor]
"""Keys by name, values `[B, V]` and identities `[B]`."""


class Entries:
    """Makes the rows that are written to a memory over `key_space`, and the parts of keys that queries share with them.

    A value tells where the episode found reward, whether it did, the return, the entry's own place, the action, and the
    episode's number.

    Args:
        situations: Reads keys and places from observations.
        actions: Numbers in an action, A.
        separate: Whether each environment has a world of its own.
        sites: Whether there are reward sites beside the steps.
        by_action: Whether a situation in which another action was taken is another entry.
        site_size: Places of one cell of this size are one reward site; 0 for those that are equal alone.

    Attributes:
        separate: As given.
        parts: Numbers of a value that tell where reward was found, whether it was, the return, the entry's place, its
            action and its episode.
    """

    def __init__(
        self,
        situations: Situations,
        actions: int,
        *,
        separate: bool,
        sites: bool,
        by_action: bool,
        site_size: float,
    ) -> None:
        self._key_size, self._actions = situations.key_size, actions
        self._has_context = situations.has_context
        self.separate, self._sites, self._by_action = separate, sites, by_action
        self._site_size = site_size
        self.parts = value_parts(situations.place_size, actions)

    def context(self, envs: np.ndarray, kind: int, contexts: np.ndarray | None = None) -> dict[str, Tensor]:
        """The parts of a key that say whose, in which context and what kind. `[R, 1]` each.

        Args:
            envs: Whose. `[R]`
            kind: `STEP` or `REWARD`.
            contexts: As `Situations.contexts` tells them; needed where there are any. `[R]`
        """
        parts = {"kind": torch.full((len(envs), 1), kind)} if self._sites else {}
        if self._has_context:
            assert contexts is not None
            parts["context"] = torch.from_numpy(contexts[:, None])
        return parts | ({"stream": torch.from_numpy(envs[:, None])} if self.separate else {})

    def given(self, keys: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """Which parts entries have: a step the view, a reward site the time."""
        if not self._sites:
            return None
        step = keys["kind"].flatten() == STEP
        return {"view": step, "when": ~step}

    def latest(self, ended: Returns) -> tuple[Returns, Tensor]:
        """Of an episode's situations each as it was left last, and their identities."""
        observed: Any = ended.observation
        situation = observed["name"][:, None].view(np.int32)  # [B, 2]
        what = np.concatenate([situation, observed["action"].view(np.int32)], 1) if self._by_action else situation
        names = self._names(observed["stream"], what, STEP)
        last = _last_of_each(names.numpy())
        held = rows_of(observed, last)
        return replace(ended, observation=held, action=ended.action[last], target=ended.target[last]), names[last]

    def steps(
        self, ended: Returns, names: Tensor, outcome: np.ndarray, rewarded: np.ndarray, episodes: np.ndarray
    ) -> Rows:
        """Rows for the steps of episodes.

        Args:
            ended: From `latest`; observations have the parts view, place, action and stream, and perhaps context. `[B]`
            names: Likewise. `[B]`
            outcome: Where each environment's episode found reward. `[E, P]`
            rewarded: Whether it did. `[E]`
            episodes: Its number. `[E]`
        """
        held: Any = ended.observation
        stream = held["stream"]
        values = np.concatenate(
            [
                outcome[stream],
                rewarded[stream][:, None],
                ended.target[:, None],
                held["place"],
                held["action"],
                episodes[stream][:, None],
            ],
            axis=1,
        )
        keys = {"view": torch.from_numpy(held["view"])} | self.context(stream, STEP, held.get("context"))
        if self._sites:
            keys["when"] = torch.zeros(len(stream), 1)
        return keys, torch.from_numpy(values).float(), names

    def sites(
        self, envs: np.ndarray, where: np.ndarray, episodes: np.ndarray, contexts: np.ndarray | None = None
    ) -> Rows:
        """Rows for the places where environments found reward. `[R]`, `[R, P]`, `[R]`, `[R]`."""
        episode = episodes[:, None].astype(np.float32)
        certain, no_action = np.ones((len(envs), 1)), np.zeros((len(envs), self._actions))
        values = np.concatenate([where, certain, certain, where, no_action, episode], axis=1)
        keys = {"view": torch.zeros(len(envs), self._key_size), "when": torch.from_numpy(episode / TIME_UNIT)}
        keys |= self.context(envs, REWARD, contexts)
        return keys, torch.from_numpy(values).float(), self.site_names(envs, where, contexts)

    def site_names(self, envs: np.ndarray, places: np.ndarray, contexts: np.ndarray | None = None) -> Tensor:
        """Identities of reward sites, which are others in other contexts. `[R]`, `[R, P]`, `[R]` -> `[R]`."""
        cells = np.rint(places / np.float32(self._site_size)) if self._site_size else places
        what = (cells + np.float32(0)).view(np.int32)  # -0 has other bits than 0
        if self._has_context:
            assert contexts is not None
            what = np.concatenate([what, contexts[:, None].view(np.int32)], 1)
        return self._names(envs, what, REWARD)

    def _names(self, envs: np.ndarray, what: np.ndarray, kind: int) -> Tensor:
        """Identities of entries; those of separate worlds differ. `[R]`, `[R, n]` -> `[R]`."""
        owner = envs if self.separate else np.zeros_like(envs)
        return identify(np.concatenate([np.stack([owner, np.full_like(owner, kind)], 1), what], 1))


def key_space(situations: Situations, separate: bool, sites: bool) -> KeySpace:
    """What is needed to ask both questions: the view, and where they are asked, time, kind, context and whose it is."""
    modalities = [Modality("view", situations.key_size)]
    if sites:
        modalities += [Modality("when", 1), Modality("kind", 1, kind="discrete")]
    if situations.has_context:
        modalities.append(Modality("context", 1, kind="discrete"))
    if separate:
        modalities.append(Modality("stream", 1, kind="discrete"))
    return KeySpace(modalities)


def value_parts(places: int, actions: int) -> tuple[int, int, int, int, int, int]:
    """Numbers of a value that tell where reward was found, whether it was, the return, the place, action and episode.

    Args:
        places: Numbers in a place.
        actions: Numbers in an action.
    """
    return places, 1, 1, places, actions, 1


def value_size(situations: Situations, action_space: spaces.Space) -> int:
    """Numbers stored with each entry."""
    return 2 * situations.place_size + Flatten(action_space).size + 3


def _last_of_each(names: np.ndarray) -> np.ndarray:
    """The position of the last of equal names, in rising order. `[N]` -> `[n]`."""
    backwards = np.unique(names[::-1], return_index=True)[1]
    return np.sort(len(names) - 1 - backwards)
