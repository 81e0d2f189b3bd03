"""An agent of one's own: four verbs and a state, around one memory of situations and actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.actions import require_discrete
from engram_rl.agents.common.encoders import make_projection
from engram_rl.agents.common.exploration import EpsilonGreedy
from engram_rl.agents.common.observations import hash_observations, to_tensors
from engram_rl.agents.common.schedules import Schedule
from engram_rl.agents.common.seeding import generator_for
from engram_rl.memory import DifferentiableNeuralDictionary, KeySpace, Modality


class OneStep:
    """Q-learning whose table is a memory: `Q(s, a)` moves towards `r + gamma max_b Q(s', b)` after every step.

    One memory holds all actions: the key is a situation and, as a second modality, the action.
    """

    memory_parts = ("memory",)
    """What of its state is memory: `engram evaluate memory=fresh` begins without it."""

    def __init__(
        self,
        project: nn.Module,
        memory: DifferentiableNeuralDictionary,
        explore: EpsilonGreedy,
        num_actions: int,
        discount: float,
    ):
        self.project, self.memory = project, memory
        self._explore, self._num_actions, self._discount = explore, num_actions, discount
        self._steps = 0

    def act(self, observation: Observation, *, explore: bool = True) -> np.ndarray:
        """Actions `[E]`; without exploring, greedy and without a trace."""
        q = self._values(observation, touch=explore)
        return (self._explore(q, self._steps) if explore else q.argmax(dim=1)).numpy()

    def observe(self, transition: Transition) -> None:
        """Write what this step says its situations are worth; nothing follows where the task ended."""
        self._steps += len(transition.reward)
        following = self._values(transition.next_observation, touch=False).max(dim=1).values.double().numpy()
        target = transition.reward + self._discount * np.where(transition.terminated, 0.0, following)  # [E]
        action = torch.from_numpy(transition.action)
        self.memory.write(
            {"situation": self._keys(transition.observation), "action": action.unsqueeze(1)},
            torch.from_numpy(target).float().unsqueeze(1),
            identity=hash_observations(_with_action(transition.observation, transition.action)),
        )

    def learn(self) -> dict[str, float]:
        """Nothing is left to learn; what TensorBoard shows."""
        return {"memory/size": float(len(self.memory)), "train/epsilon": self._explore.epsilon(self._steps)}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a continued run needs."""
        return {"memory": self.memory.state_dict(), "explore": self._explore.state_dict(), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.memory.load_state_dict(state["memory"])
        self._explore.load_state_dict(state["explore"])
        self._steps = state["steps"]

    @torch.no_grad()
    def _keys(self, observation: Observation) -> Tensor:
        return self.project(to_tensors(observation))  # [E, D]

    @torch.no_grad()
    def _values(self, observation: Observation, touch: bool) -> Tensor:
        """`Q(s, a)` of all actions in one search.  `[E, A]`."""
        keys = self._keys(observation)
        actions = torch.arange(self._num_actions).repeat(len(keys)).unsqueeze(1)  # [E A, 1]
        query = {"situation": keys.repeat_interleave(self._num_actions, 0), "action": actions}
        return self.memory.lookup(query, touch=touch).value.reshape(len(keys), self._num_actions)


def make_one_step(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    key_size: int,
    memory: Callable[..., DifferentiableNeuralDictionary],
    exploration: Schedule,
    discount: float,
) -> OneStep:
    """What `agent/one_step.yaml` names: called with the spaces, the number of environments, a seed and its values."""
    count = require_discrete(action_space, "OneStep")
    space = KeySpace([Modality("situation", key_size), Modality("action", kind="discrete")])
    return OneStep(
        make_projection(observation_space, key_size, seed),
        memory(space, value_dim=1),
        EpsilonGreedy(exploration, generator_for(seed, "exploration")),
        count,
        discount,
    )


def _with_action(observation: Observation, action: np.ndarray) -> Observation:
    parts = observation if isinstance(observation, dict) else {"observation": observation}
    return {**parts, "action taken": action}
