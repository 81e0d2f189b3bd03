"""Playing by a policy without learning from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.policy_gradient.extra_inputs import ExtraInput, read
from engram_rl.agents.policy_gradient.perception import Perception
from engram_rl.agents.policy_gradient.policies import Policy


class Player:
    """Plays by an agent's policy and changes nothing of the agent.

    Args:
        policy: The agent's.
        perceive: The agent's.
        extras: Players of the agent's own.
        num_envs: How many environments are played, each from its first step on.
        carry_state: Whether a recurrent state outlives an episode.
        generator: Draws actions; without one the most probable are taken.
    """

    def __init__(
        self,
        policy: Policy,
        perceive: Perception,
        extras: Sequence[ExtraInput],
        num_envs: int,
        carry_state: bool,
        generator: torch.Generator | None = None,
    ):
        self._policy, self._perceive, self._extras = policy, perceive, extras
        self._carry, self._generator = carry_state, generator
        self._state = policy.initial_state(num_envs)  # [E, ...] by name
        self._starts = torch.ones(num_envs, dtype=torch.bool, device=policy.device)  # [E]

    def act(self, observation: Observation, *, explore: bool = False, mask: np.ndarray | None = None) -> np.ndarray:
        """One action for each environment, of those that `mask` `[E, A]` allows. `[E, ...]`."""
        extras = read(self._extras, observation, explore=False)
        seen = self._perceive(observation, learn=False)
        with torch.no_grad():
            features, self._state, _ = self._policy.features(seen, self._state, self._starts[None], extras)
            allowed = self._policy.head.allowed(mask, len(self._starts))
            distribution = self._policy.distribution(features, extras, allowed)
            chosen = distribution.sample(self._generator) if self._generator else distribution.mode()
        return self._policy.head.taken(chosen)

    def observe(self, transition: Transition) -> None:
        """Take in what followed."""
        for extra in self._extras:
            extra.observe(transition)
        self._starts = torch.as_tensor(transition.done & (not self._carry), device=self._policy.device)
