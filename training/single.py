"""An agent for one environment, in a loop of one's own: it is given what `reset` and `step` give, as they give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space, spaces

from engram_rl.agents.agent import Agent, Transition
from engram_rl.training.errors import UsageError
from engram_rl.training.intake.ends import truth
from engram_rl.training.intake.infos import MASK, action_masks, own
from engram_rl.training.intake.observations import copied, reader
from engram_rl.training.intake.rewards import number, numbers
from engram_rl.training.rollout import act


@dataclass(frozen=True)
class _Open:
    """What was acted on and done, until it is observed what followed."""

    observation: Any
    action: np.ndarray
    mask: np.ndarray | None


class SingleAgent:
    """A batched agent behind the habits of one environment.

        action = agent.act(observation, info)
        observation, reward, terminated, truncated, info = environment.step(action)
        metrics = agent.observe(observation, reward, terminated, truncated, info)

    What it is given is checked against the spaces, and copied. An agent that learns is told what followed each action
    by `observe`. One that only acts (`learning=False`, as loaded from a run) need not be, unless it has a state that
    lives over the steps of an episode: then `observe` carries it on, and writes nothing. After a reset in the middle
    of an episode call `begin`; after others it may be called.

    Args:
        agent: Batched over `num_envs` environments; the others, if there are several, see what the one sees.
        observation_space: Of the environment.
        action_space: Of the environment.
        shown_as: What the agent is shown of the observations (`engram_rl.training.construction.space_shown`).
        num_envs: How many the agent was made for.
        learning: Whether it explores, remembers and learns.

    Attributes:
        agent: The batched one, with its memory and `state_dict`.
    """

    def __init__(
        self,
        agent: Agent,
        observation_space: Space,
        action_space: Space,
        shown_as: Space,
        *,
        num_envs: int = 1,
        learning: bool = True,
    ):
        self.agent, self.learning = agent, learning
        self._read = reader(observation_space, shown_as, "the environment")
        self._actions, self._rows = action_space, num_envs
        self._open: _Open | None = None
        self._ended: dict[str, Any] | None = None
        self.begin()

    def begin(self) -> None:
        """The environment was reset: whatever was open is dropped; what has ended is learned from all the same."""
        if self.learning and self._ended is not None:
            return
        self._open = self._ended = None
        if self.learning:
            if hasattr(self.agent, "begin_episodes"):
                self.agent.begin_episodes()
            self._player: Any = self.agent
            return
        has_player = hasattr(self.agent, "player")
        self._rows = 1 if has_player else self._rows
        self._player = self.agent.player(1) if has_player else self.agent  # type: ignore[attr-defined]

    def act(self, observation: Any, info: dict[str, Any] | None = None) -> Any:
        """The action for an observation as `reset` or `step` gave it, of those that `info["action_mask"]` allows."""
        batch = self._batch(observation)
        mask = self._mask(info)
        if self._ended is not None:
            self._finish(self._ended, reset_observation=batch, reset_mask=mask)
        action = np.asarray(act(self._player, batch, mask, explore=self.learning))
        self._open = _Open(batch, action, mask)
        first = action[0]
        return int(first) if isinstance(self._actions, spaces.Discrete) else first.copy()

    def observe(
        self, observation: Any, reward: float, terminated: bool, truncated: bool, info: dict[str, Any] | None = None
    ) -> dict[str, float]:
        """What followed the last action, as `step` gave it.

        Returns:
            What learning said, by TensorBoard name; `{}` at the end of an episode, which is learned from once the
            next begins.

        Raises:
            UsageError: No action was asked for since the last call, or what followed is not what an environment gives.
        """
        if self._open is None:
            raise UsageError("observe() tells what followed an action: call act(observation) before it.")
        terminated = truth(terminated, "terminated", "the environment")
        truncated = truth(truncated, "truncated", "the environment")
        following, mask = self._batch(observation), self._mask(info, acting=not (terminated or truncated))
        gained = numbers([number(reward, "the environment")], 1, "the environment")
        row = {
            "observation": self._open.observation,
            "action": self._open.action,
            "reward": np.repeat(gained, self._rows),
            "terminated": np.full(self._rows, terminated),
            "truncated": np.full(self._rows, truncated),
            "next_observation": following,
            "mask": self._open.mask,
            "next_mask": mask,
        }
        self._open = None
        if terminated or truncated:
            self._ended = row
            return {}
        return self._finish(row, reset_observation=following, reset_mask=mask)

    def _finish(self, row: dict[str, Any], reset_observation: Any, reset_mask: np.ndarray | None) -> dict[str, float]:
        """Tell the agent of a step, now that it is known what it acts on next."""
        self._ended = None
        if not self.learning and self._player is self.agent:
            return {}
        self._player.observe(Transition(**row, reset_observation=reset_observation, reset_mask=reset_mask))
        return self.agent.learn() if self.learning else {}

    def _batch(self, observation: Any) -> Any:
        """An observation as agents are shown it, once for each environment. `[E, ...]`."""
        return _repeated(copied(self._read(observation)), self._rows)

    def _mask(self, info: dict[str, Any] | None, acting: bool = True) -> np.ndarray | None:
        if MASK not in (said := own(info)):
            return None
        return action_masks({MASK: [said[MASK]] * self._rows}, self._actions, self._rows, acting=acting)


def _repeated(value: Any, rows: int) -> Any:
    if isinstance(value, dict):
        return {name: _repeated(part, rows) for name, part in value.items()}
    return np.repeat(np.asarray(value)[None], rows, axis=0)
