"""Neural Episodic Control as one would first write it: the yardstick of `benchmarks.throughput`.

One environment; for each action one matrix product with all its keys and one top-k, at every step and in every
minibatch. What is learned, from what and how often is as in `engram_rl.agents.nec`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

DELTA = 1e-3


class NaiveNEC:
    """Tensors of keys and values for each action, searched whole.

    Args:
        encoder: Observations to keys.
        keys: One tensor an action. `[N, D]`
        values: `[N]` each.
        k: Neighbours.
        batch_size: Rows of a minibatch.
        learn_every: Steps between two minibatches.
        n_step: Steps of the n-step return.
        seed: Of exploration and replay.
    """

    def __init__(
        self,
        encoder: nn.Module,
        keys: list[Tensor],
        values: list[Tensor],
        *,
        k: int,
        batch_size: int,
        learn_every: int,
        n_step: int,
        seed: int,
    ):
        self.encoder, self.keys, self.values = encoder, keys, values
        self.norms = [one.square().sum(dim=1) for one in keys]  # [N] each
        self.optimiser = torch.optim.RMSprop(encoder.parameters(), lr=1e-4, alpha=0.9, eps=0.01)
        self.k, self.batch_size, self.learn_every, self.n_step = k, batch_size, learn_every, n_step
        self.random = np.random.default_rng(seed)
        self.replay: list[tuple[np.ndarray, int, float]] = []
        self.pending: list[tuple[np.ndarray, int, float]] = []
        self.oldest = [0] * len(keys)
        self.steps = 0

    def act(self, observation: np.ndarray) -> int:
        """Epsilon-greedy, with the value of every action looked up. `observation [D]`."""
        with torch.no_grad():
            key = self.encoder(torch.from_numpy(observation[None]))  # [1, D]
            q = torch.cat([self._value(key, action)[0] for action in range(len(self.keys))])
        return int(self.random.integers(len(q))) if self.random.random() < 0.05 else int(q.argmax())

    def observe(self, observation: np.ndarray, action: int, reward: float, done: bool) -> None:
        """Write what is complete, and learn when it is time."""
        self.steps += 1
        self.pending.append((observation, action, reward))
        if done or len(self.pending) > self.n_step:
            self._write(len(self.pending) if done else 1)
        if self.steps % self.learn_every == 0 and self.replay:
            self._learn()

    def _value(self, key: Tensor, action: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Value `[B]`, neighbours `[B, k]`, and their keys and values, which collect gradients."""
        scores = self.norms[action] - 2 * key.detach() @ self.keys[action].T  # [B, N]
        slots = scores.topk(self.k, dim=1, largest=False).indices  # [B, k]
        keys = self.keys[action][slots].requires_grad_(torch.is_grad_enabled())  # [B, k, D]
        values = self.values[action][slots].requires_grad_(torch.is_grad_enabled())  # [B, k]
        weights = 1 / ((key.unsqueeze(1) - keys).square().sum(dim=2) + DELTA)
        return (weights * values).sum(dim=1) / weights.sum(dim=1), slots, keys, values

    def _write(self, count: int) -> None:
        rewards = [reward for _, _, reward in self.pending]
        for start in range(count):
            observation, action, _ = self.pending[start]
            target = float(sum(0.99**j * r for j, r in enumerate(rewards[start:])))
            with torch.no_grad():
                key = self.encoder(torch.from_numpy(observation[None]))[0]
            slot = self.oldest[action]
            self.keys[action][slot], self.values[action][slot] = key, target
            self.norms[action][slot] = key.square().sum()
            self.oldest[action] = (slot + 1) % len(self.keys[action])
            self.replay.append((observation, action, target))
        del self.pending[:count]

    def _learn(self) -> None:
        rows = [self.replay[i] for i in self.random.integers(len(self.replay), size=self.batch_size)]
        loss, moved = torch.zeros(()), []
        self.optimiser.zero_grad()
        for action in {action for _, action, _ in rows}:
            mine = [(observation, target) for observation, taken, target in rows if taken == action]
            key = self.encoder(torch.from_numpy(np.stack([observation for observation, _ in mine])))
            value, slots, keys, values = self._value(key, action)
            loss = loss + (value - torch.tensor([target for _, target in mine])).square().sum() / self.batch_size
            moved.append((action, slots, keys, values))
        loss.backward()
        self.optimiser.step()
        for action, slots, keys, values in moved:
            at = slots.flatten()
            self.keys[action].index_add_(0, at, _gradient(keys).flatten(0, 1), alpha=-1e-4)
            self.values[action].index_add_(0, at, _gradient(values).flatten(), alpha=-1e-4)
            touched = at.unique()
            self.norms[action][touched] = self.keys[action][touched].square().sum(dim=1)


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad
