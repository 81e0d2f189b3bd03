"""What a policy is shown beside the observation: what came before, or what a memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.scaling import SCALE_RULE


class ExtraInput(Protocol):
    """Gives a policy named tensors beside the observation: what came before, or what a memory holds.

    They are read once, when acting, and kept in the rollout: an update sees what the actor saw.
    """

    def read(self, observation: Observation, *, explore: bool) -> dict[str, Tensor]:
        """What is shown beside E observations. With `explore=False` nothing changes. By name, `[E, ...]`."""

    def read_final(self, transition: Transition, rows: np.ndarray) -> dict[str, Tensor]:
        """The same beside the last observations of episodes that were cut, without a trace, before `observe`.

        Args:
            transition: In which they were cut.
            rows: The R environments concerned. `[R]` of int

        Returns:
            By name, `[R, ...]`.
        """

    def observe(self, transition: Transition) -> None:
        """Take in one vector step; may write to memory."""

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were."""

    def player(self, num_envs: int) -> ExtraInput:
        """One for playing `num_envs` environments elsewhere: it knows what this knows and changes nothing of it."""

    def metrics(self) -> dict[str, float]:
        """By TensorBoard name, for the logger; `{}` for nothing new."""

    def state_dict(self) -> dict[str, Any]:
        """All that a continued run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""


def read(extras: Sequence[ExtraInput], observation: Observation, *, explore: bool) -> dict[str, Tensor]:
    """What all of them show beside E observations. By name, `[E, ...]`."""
    found: dict[str, Tensor] = {}
    for extra in extras:
        found |= extra.read(observation, explore=explore)
    return found


class PreviousStep:
    """The action taken and the reward got in the step before, which a recurrent policy needs to learn within a task.

    Wang et al. 2016 (arXiv 1611.05763) and Duan et al. 2016 (arXiv 1611.02779).

    Args:
        space: Of one environment's actions; they are shown as rows of numbers, choices as one-hot.
        num_envs: E.
        carry: Whether they are shown across episode ends too, beside a flag that one ended.
        device: Where they are shown.
        scale_rule: How numbers of actions are scaled.
        reward: Whether the reward is shown beside the action.
    """

    NAME = "previous"

    def __init__(
        self,
        space: spaces.Space,
        num_envs: int,
        carry: bool,
        device: torch.device,
        scale_rule: int = SCALE_RULE,
        reward: bool = True,
    ):
        self._space, self._carry, self._device, self._scale_rule = space, carry, device, scale_rule
        self._reward = reward
        self._actions = Flatten(space, scale_rule)
        self.size = self.size_of(space, reward)
        self._rows = np.zeros((num_envs, self.size), dtype=np.float32)  # [E, A + 2], A + 1 without the reward

    @staticmethod
    def size_of(space: spaces.Space, reward: bool) -> int:
        """Numbers that are shown of a step with actions of this space."""
        return spaces.flatdim(space) + 1 + reward

    def read(self, observation: Observation, *, explore: bool) -> dict[str, Tensor]:
        """`[E, A + 2]`: action, reward unless left out, whether an episode ended; zeros before the first step."""
        return {self.NAME: torch.as_tensor(self._rows.copy(), device=self._device)}

    def read_final(self, transition: Transition, rows: np.ndarray) -> dict[str, Tensor]:
        """`[R, A + 2]`."""
        return {self.NAME: torch.as_tensor(self._after(transition)[rows], device=self._device)}

    def observe(self, transition: Transition) -> None:
        """Remember the step."""
        self._rows = self._after(transition)
        if self._carry:
            self._rows[:, -1] = transition.done
        else:
            self._rows[transition.done] = 0

    def _after(self, transition: Transition) -> np.ndarray:
        action = self._actions(torch.as_tensor(transition.action)).numpy()
        none = np.zeros(len(action))
        rest = np.stack([*([transition.reward] if self._reward else []), none], axis=1)
        return np.concatenate([action, rest.astype(np.float32)], axis=1)

    def begin_episodes(self) -> None:
        """There is no step before."""
        self._rows = np.zeros_like(self._rows)

    def player(self, num_envs: int) -> PreviousStep:
        """One that has seen no step."""
        return PreviousStep(self._space, num_envs, self._carry, self._device, self._scale_rule, self._reward)

    def metrics(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The step before."""
        return {"rows": self._rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._rows = state["rows"]
