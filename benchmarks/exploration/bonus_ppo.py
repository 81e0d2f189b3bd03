"""PPO that is paid for what is new: by counts of cells, or by the error of a network that predicts another.

Counts: `1 / sqrt(N(c))` of the cell that a step led into (Strehl and Littman 2008; Bellemare et al. 2016, arXiv
1606.01868). Random network distillation: Burda et al. 2018, arXiv 1810.12894. Both bonuses are added to the reward and
share its critic and the episode's end; the paper of the latter has a second critic that looks past it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.perceptron import Perceptron
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.goal_directed.cells import Cells, make_cells
from engram_rl.agents.policy_gradient.perception import AsRows, RunningMoments
from engram_rl.agents.ppo import PPO, make_ppo
from engram_rl.memory.transitions.states import StateTable

CELLS = 50_000
"""Room for cells that are counted."""


class Bonus(Protocol):
    """What a step is paid for its newness."""

    def __call__(self, observation: Observation) -> np.ndarray:
        """Of the observations that a step led to. `[E, ...]` to `[E]`."""

    def learn(self) -> None:
        """A rollout is over."""


class Counts:
    """`1 / sqrt(N(c))`, the visit itself counted.

    Args:
        cells: Observations to cells.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells, self._table = cells, StateTable(cells.dim, CELLS)
        self.counts = np.zeros(CELLS, np.int64)  # [S]

    def __call__(self, observation: Observation) -> np.ndarray:
        """`[E]`."""
        cells = self._cells(observation)
        ids = self._table.add(cells, np.zeros(len(cells), np.int64))
        np.add.at(self.counts, ids, 1)
        return np.asarray(1 / np.sqrt(self.counts[ids]))

    def learn(self) -> None:
        """Counting is all."""


class Distillation:
    """The error with which a network predicts another that stays as it began, in deviations of its discounted sum.

    Args:
        space: Of one observation; numbers are brought to mean 0 and deviation 1.
        num_envs: E.
        seed: Of both networks.
        discount: Of the sum.
        learning_rate: Of Adam.
        epochs: Passes over a rollout.
        minibatch_size: Of these.
    """

    def __init__(
        self,
        space: spaces.Space,
        num_envs: int,
        seed: int,
        discount: float = 0.99,
        learning_rate: float = 1e-4,
        epochs: int = 4,
        minibatch_size: int = 256,
    ) -> None:
        self._rows = AsRows(space, torch.device("cpu"), normalise=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.target = Perceptron([self._rows.size, 128, 64], nn.ReLU).requires_grad_(False)
            self.predictor = Perceptron([self._rows.size, 128, 128, 64], nn.ReLU)
        self._optimiser = torch.optim.Adam(self.predictor.parameters(), lr=learning_rate)
        self._generator = generator_for(seed, "distillation")
        self._epochs, self._minibatch_size, self._discount = epochs, minibatch_size, discount
        self._sum, self._sums = np.zeros(num_envs), RunningMoments(1)
        self._seen: list[Tensor] = []  # of the open rollout, [E, F] each

    def __call__(self, observation: Observation) -> np.ndarray:
        """`[E]`."""
        rows = self._rows(observation, learn=True)
        self._seen.append(rows)
        with torch.no_grad():
            error = self.errors(rows).numpy().astype(np.float64)
        self._sum = self._discount * self._sum + error
        self._sums.update(self._sum[:, None])
        return np.asarray(error / self._sums.deviation[0])

    def errors(self, rows: Tensor) -> Tensor:
        """Mean squared, by row. `[B, F]` to `[B]`."""
        return (self.predictor(rows) - self.target(rows)).square().mean(1)

    def learn(self) -> None:
        """Predict what the rollout showed."""
        rows, self._seen = torch.cat(self._seen), []
        for _ in range(self._epochs):
            for batch in torch.randperm(len(rows), generator=self._generator).split(self._minibatch_size):
                loss = self.errors(rows[batch]).mean()
                self._optimiser.zero_grad()
                loss.backward()
                self._optimiser.step()


class BonusPPO(PPO):
    """PPO whose rewards have a bonus added.

    Args:
        bonus: Of each step.
        weight: Of the bonus, beside the reward's 1.
        **options: Of PPO.
    """

    def __init__(self, *, bonus: Bonus, weight: float, **options: Any) -> None:
        super().__init__(**options)
        self._bonus, self._weight = bonus, weight

    def add(self, transition: Transition, final_value: np.ndarray) -> None:
        """Add one vector step, with its bonus."""
        paid = self._weight * self._bonus(transition.next_observation)
        super().add(replace(transition, reward=transition.reward + paid), final_value)

    def update(self, data: dict[str, Any]) -> dict[str, float]:
        """PPO's update, then the bonus's."""
        metrics = super().update(data)
        self._bonus.learn()
        return metrics


PPO_SETTINGS: Mapping[str, Any] = {"num_steps": 128, "entropy_coefficient": 0.01, "learning_rate": 1e-3}
"""What both have of PPO; all else is its default."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "counts_ppo": {**PPO_SETTINGS, "weight": 0.01},
    "rnd_ppo": {**PPO_SETTINGS, "weight": 0.01},
}
"""By name of the agent; of weights 0.1 and 0.01, what was better on layout 100."""


def make_bonus_ppo(
    name: str,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    weight: float,
    **ppo: Any,
) -> PPO:
    """PPO with the bonus of that name, a key of `SETTINGS`."""
    counts = name == "counts_ppo"
    bonus: Bonus = Counts(make_cells(observation_space)) if counts else Distillation(observation_space, num_envs, seed)
    agent = partial(BonusPPO, bonus=bonus, weight=weight)
    return make_ppo(observation_space, action_space, num_envs, seed, **ppo, agent=agent)
