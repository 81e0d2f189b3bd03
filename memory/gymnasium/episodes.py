"""Running episodes: what their situations returned before is looked up, and what they return is written at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.gymnasium.observations import AsTensors
from engram_rl.memory.keys.identity import identify

ACTION = "action"
"""The modality under which actions are remembered, if the memory has it."""

MakeKeys: TypeAlias = Callable[[Any], Tensor | Mapping[str, Tensor]]
"""A batch of observations, `[E, ...]` or one such tensor by name, to keys without their action."""


class RunningEpisodes:
    """Recalls for E environments side by side, and keeps their running episodes until their returns are known.

    Nothing of a running episode is in the memory. When it ends, each of its situations is written with the discounted
    return that followed, `R_t = r_t + gamma R_{t+1}`; where it was cut, the best value recalled for its last
    observation stands for what would have come. One that is left in the middle by a reset was cut as
    well, unless it is a single step: a limit outside, such as `TimeLimit` around the wrapper, ends episodes in no
    other way.

    If the memory has a discrete modality "action", situations are remembered by action and recalled for each of the A
    actions; otherwise A is 1.

    Args:
        memory: With values of one number.
        keys: Of a batch of observations, as tensors.
        tensors: Makes tensors of a batch of observations.
        num_envs: E.
        actions: Of one environment.
        discount: gamma in [0, 1].

    Raises:
        ValueError: The memory's values are not one number, the discount is none, or actions that are to be remembered
            cannot be counted.
    """

    def __init__(
        self,
        memory: DifferentiableNeuralDictionary,
        keys: MakeKeys,
        tensors: AsTensors,
        num_envs: int,
        actions: spaces.Space,
        discount: float,
    ) -> None:
        if memory.value_dim != 1:
            raise ValueError(f"the memory's values have {memory.value_dim} numbers; returns need value_dim=1")
        if not 0 <= discount <= 1:
            raise ValueError(f"discount is {discount}; it must be a share in [0, 1]")
        by_action, discrete = ACTION in memory.space.names, isinstance(actions, spaces.Discrete)
        if by_action and not discrete:
            raise ValueError(
                f"the memory has a modality {ACTION!r}, but the environment's actions are not Discrete; "
                "leave the modality out, or wrap the environment so that its actions are"
            )
        self.memory = memory
        self.num_actions = int(actions.n) if by_action else 1  # type: ignore[attr-defined]
        self._first_action = int(actions.start) if by_action else 0  # type: ignore[attr-defined]
        self._tensors = tensors
        self._keys, self._discount, self._by_action = keys, discount, by_action
        self._names = [name for name in memory.space.names if name != ACTION]
        self._steps: list[tuple[dict[str, Tensor], np.ndarray]] = []
        """Keys and rewards of the newest vector steps, as far back as the longest running episode goes."""
        self._held = np.zeros(num_envs, np.int64)  # [E] how many of them belong to the running episode
        self._acting_on: dict[str, Tensor] | None = None

    @property
    def width(self) -> int:
        """Numbers recalled for an observation: value, distance and whether there is one, of each action."""
        return 3 * self.num_actions

    def start(self, observation: Any, rows: np.ndarray | None = None) -> None:
        """Environments begin anew at these observations; what they had open is dropped, unless `cut` wrote it.

        Args:
            observation: Of all.  `[E, ...]`
            rows: Which begin anew; None for all.  `[n]`
        """
        self._require_own_process()
        self._held[slice(None) if rows is None else rows] = 0
        del self._steps[: len(self._steps) - self._held.max()]
        self._acting_on = self.keys(observation)

    def _require_own_process(self) -> None:
        """Raise if the memory is a copy in another process, such as a worker's: what it learned would be lost."""
        if self.memory.process != os.getpid():
            raise ValueError(
                f"the memory was made in process {self.memory.process}, this is a copy in process {os.getpid()}: what "
                "is written here never comes back. Wrap the vector environment (MemoryVectorWrapper), or make a memory "
                "where each environment is made"
            )

    def cut(self, last_values: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Episodes that are open in these environments, all by default, were cut; a single step is none.

        Args:
            last_values: What would have come.  `[E]`
            rows: Which environments.  `[n]`
        """
        for environment in np.arange(len(self._held)) if rows is None else rows:
            if self._held[environment] > 1:
                self.finish(int(environment), float(last_values[environment]))

    def advance(self, action: np.ndarray, reward: Any, following: Any) -> None:
        """Each environment took an action and got a reward, and is about to act on what follows.

        Args:
            action: `[E]`; only read if actions are remembered.
            reward: `[E]`
            following: Observations, the first of the next episode where one ended. `[E, ...]`
        """
        assert self._acting_on is not None, "reset the environment before its first step"
        rewards = _numbers(reward, len(self._held))
        chosen = torch.from_numpy(np.array(action) - self._first_action) if self._by_action else None
        self._steps.append((self._with_actions(self._acting_on, chosen), rewards))
        self._held += 1
        self._acting_on = self.keys(following)

    def finish(self, environment: int, last_value: float) -> None:
        """The running episode of this environment is over: write it.

        Args:
            environment: Which.
            last_value: What would have come where it was cut, 0 where it terminated.
        """
        steps = self._steps[len(self._steps) - self._held[environment] :]
        returns, ahead = [], last_value
        for _, reward in reversed(steps):
            ahead = float(reward[environment]) + self._discount * ahead
            returns.append(ahead)
        keys = {name: torch.stack([key[name][environment] for key, _ in steps]) for name in steps[0][0]}
        self.memory.write(keys, torch.tensor(returns[::-1]).unsqueeze(1), identity=_identities(keys))
        self._held[environment] = 0
        del self._steps[: len(self._steps) - self._held.max()]

    @torch.no_grad()
    def recall(self, keys: dict[str, Tensor], touch: bool) -> tuple[np.ndarray, np.ndarray]:
        """What is remembered of these situations.

        Args:
            keys: Without actions, by name. `[B, size]` each
            touch: Whether the neighbours count as used.

        Returns:
            Values, then squared distances, then 1 where there is a neighbour and else 0, `[B, 3 A]`; and the best value
            of each row, 0 where nothing is remembered, `[B]`.
        """
        rows = len(next(iter(keys.values())))
        actions = torch.arange(self.num_actions).repeat(rows) if self._by_action else None
        repeated = {name: part.repeat_interleave(self.num_actions, 0) for name, part in keys.items()}
        found = self.memory.lookup(self._with_actions(repeated, actions), touch=touch)
        shape = (rows, self.num_actions)
        value, distance = found.value[:, 0].reshape(shape), found.distances[:, 0].reshape(shape)
        valid = found.valid[:, 0].reshape(shape)
        best = value.masked_fill(~valid, -torch.inf).amax(1)
        recalled = torch.cat([value, distance, valid.to(value)], dim=1).float()
        return recalled.cpu().numpy(), torch.where(valid.any(1), best, 0).double().cpu().numpy()

    @property
    def now(self) -> dict[str, Tensor]:
        """Keys of what the environments are about to act on.  By name `[E, size]`."""
        assert self._acting_on is not None, "reset the environment before its first step"
        return self._acting_on

    def keys(self, observation: Any) -> dict[str, Tensor]:
        """Keys by name, without their action.  `[E, ...]` -> `[E, size]` each."""
        tensors = self._tensors(observation)
        try:
            with torch.no_grad():
                made = self._keys(tensors)
        except (TypeError, AttributeError, KeyError) as error:
            if not isinstance(tensors, dict):
                raise
            raise ValueError(
                f"key=... was given the parts of the observation by name ({', '.join(map(repr, tensors))}) and failed: "
                f"{error}; give a function that picks one, such as key=lambda parts: project(parts['image'])"
            ) from error
        if isinstance(made, Mapping):
            return dict(made)
        if len(self._names) != 1:
            raise ValueError(
                f"key=... gave one tensor for the modalities {', '.join(self._names)}; give one of each by name"
            )
        return {self._names[0]: made}

    def _with_actions(self, keys: dict[str, Tensor], actions: Tensor | None) -> dict[str, Tensor]:
        return keys if actions is None else keys | {ACTION: actions.reshape(-1, 1)}


def keys_of_parts(names: list[str]) -> MakeKeys:
    """Keys that are the numbers of an observation as they are: all of them, or the parts of a Dict by name."""

    def keys(observation: Any) -> Tensor | dict[str, Tensor]:
        if isinstance(observation, dict):
            return {name: observation[name].reshape(len(observation[name]), -1) for name in names}
        return observation.reshape(len(observation), -1).float()

    return keys


def _numbers(reward: Any, num_envs: int) -> np.ndarray:
    """Rewards, one number for each environment.  `[E]`."""
    try:
        found = np.asarray(reward, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.size != num_envs or not np.isfinite(found).all():
        raise ValueError(f"the reward is {reward!r}; it must be one finite number for each environment")
    return found.reshape(num_envs)


def _identities(keys: dict[str, Tensor]) -> Tensor:
    """One for each distinct key.  `[B]`."""
    return identify(np.stack([identify(part.cpu().numpy()).numpy() for part in keys.values()], axis=1))
