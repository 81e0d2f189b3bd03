"""Neural Episodic Control as one would first write it: the yardstick of `benchmarks.throughput` and `.nec_speed`.

At every step, and in every minibatch, one search for each action: among all its keys by a matrix product and top-k,
among all by `faiss.knn`, or by a plain inverted file that is built anew now and then. What is learned, from what and
how often is as in `engram_rl.agents.nec`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import faiss
import numpy as np
import torch
from torch import Tensor, nn

DELTA = 1e-3
DISCOUNT = 0.99
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
ENOUGH = 0.95
"""Recall for which an inverted file's probes are chosen."""


class Search(Protocol):
    """Of one action's keys `[N, D]`, which change where they lie."""

    def near(self, queries: Tensor, k: int) -> Tensor:
        """The slots of the k nearest. `[B, D] -> [B, k]`."""

    def changed(self, slots: Tensor) -> None:
        """These keys are others now. `[n]`."""


class Product:
    """One matrix product with all keys and one top-k. `[N, D]`."""

    def __init__(self, keys: Tensor) -> None:
        self.keys, self.norms = keys, keys.square().sum(dim=1)

    def near(self, queries: Tensor, k: int) -> Tensor:
        """The slots of the k nearest. `[B, D] -> [B, k]`."""
        return (self.norms - 2 * queries @ self.keys.T).topk(k, dim=1, largest=False).indices

    def changed(self, slots: Tensor) -> None:
        """Their squares anew. `[n]`."""
        self.norms[slots] = self.keys[slots].square().sum(dim=1)


class Knn:
    """`faiss.knn` over all keys. `[N, D]`."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys.numpy()

    def near(self, queries: Tensor, k: int) -> Tensor:
        """The slots of the k nearest. `[B, D] -> [B, k]`."""
        return torch.from_numpy(faiss.knn(queries.numpy(), self.keys, k)[1])

    def changed(self, slots: Tensor) -> None:
        """The keys are searched where they lie."""


class RebuiltIVF:
    """faiss's `IndexIVFFlat` of sqrt(N) lists; it knows nothing of what changes until it is built anew. `[N, D]`."""

    index: Any

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys.numpy()
        self.probes = PROBES[0]
        self.rebuild()

    def near(self, queries: Tensor, k: int) -> Tensor:
        """The slots of the k nearest when it was built, 0 where its lists hold fewer. `[B, D] -> [B, k]`."""
        return torch.from_numpy(self.index.search(queries.numpy(), k)[1]).clamp(min=0)

    def changed(self, slots: Tensor) -> None:
        """Waits until all is built anew."""

    def rebuild(self) -> None:
        """Fit the centres and file all keys."""
        size = self.keys.shape[1]
        self.index = faiss.index_factory(size, f"IVF{round(len(self.keys) ** 0.5)},Flat")
        self.index.train(self.keys)
        self.index.add(self.keys)
        self.index.nprobe = self.probes

    def tune(self, queries: Tensor, k: int) -> None:
        """Look at as few lists as find `ENOUGH` of the neighbours of these. `[B, D]`."""
        for self.index.nprobe in PROBES:
            if recall_of(self.near(queries, k), queries, torch.from_numpy(self.keys)) >= ENOUGH:
                break
        self.probes = self.index.nprobe


def recall_of(slots: Tensor, queries: Tensor, keys: Tensor) -> float:
    """The share of the true nearest that were found; equally near ones count alike. `[B, k]`, `[B, D]`, `[N, D]`."""
    found = (keys[slots] - queries.unsqueeze(1)).norm(dim=2)  # [B, k]
    squared, _ = faiss.knn(queries.numpy(), keys.numpy(), slots.shape[1])
    farthest = torch.from_numpy(squared[:, -1:]).sqrt()  # [B, 1]
    return float((found <= farthest * 1.001 + 1e-5).double().mean())


class NaiveNEC:
    """Tensors of keys and values for each action, searched one after the other.

    Args:
        encoder: Observations to keys.
        keys: One tensor an action. `[N, D]`
        values: `[N]` each.
        k: Neighbours.
        batch_size: Rows of a minibatch.
        learn_every: Steps between two minibatches.
        n_step: Steps of the n-step return.
        seed: Of exploration and replay.
        environments: E.
        search: Makes what searches the keys of an action.
    """

    def __init__(
        self,
        encoder: nn.Module,
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        *,
        k: int,
        batch_size: int,
        learn_every: int,
        n_step: int,
        seed: int,
        environments: int = 1,
        search: Callable[[Tensor], Search] = Product,
    ):
        self.encoder, self.keys, self.values = encoder, keys, values
        self.searches = [search(one) for one in keys]
        self.optimiser = torch.optim.RMSprop(encoder.parameters(), lr=1e-4, alpha=0.9, eps=0.01)
        self.k, self.batch_size, self.learn_every, self.n_step = k, batch_size, learn_every, n_step
        self.random = np.random.default_rng(seed)
        self.replay: list[tuple[np.ndarray, int, float]] = []
        self.pending: list[list[tuple[np.ndarray, int, float]]] = [[] for _ in range(environments)]
        self.oldest = [0] * len(keys)
        self.due = 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Epsilon-greedy, with the value of every action looked up. `[E, ...] -> [E]`."""
        with torch.no_grad():
            key = self.encoder(torch.from_numpy(observation))  # [E, D]
            q = torch.stack([self._value(key, action)[0] for action in range(len(self.keys))], dim=1)  # [E, A]
        drawn = self.random.integers(q.shape[1], size=len(q))
        return np.where(self.random.random(len(q)) < 0.05, drawn, q.argmax(dim=1).numpy())

    def observe(self, observation: np.ndarray, action: np.ndarray, reward: np.ndarray, done: np.ndarray) -> None:
        """Write what is complete, and learn when it is time. `[E, ...]`, `[E]`s."""
        for env, pending in enumerate(self.pending):
            pending.append((observation[env].copy(), int(action[env]), float(reward[env])))
            if done[env] or len(pending) > self.n_step:
                self._write(pending, len(pending) if done[env] else 1)
        self.due += len(self.pending)
        while self.due >= self.learn_every:
            self.due -= self.learn_every
            if self.replay:
                self._learn()

    def _value(self, key: Tensor, action: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Value `[B]`, neighbours `[B, k]`, and their keys and values, which collect gradients."""
        slots = self.searches[action].near(key.detach(), self.k)  # [B, k]
        keys = self.keys[action][slots].requires_grad_(torch.is_grad_enabled())  # [B, k, D]
        values = self.values[action][slots].requires_grad_(torch.is_grad_enabled())  # [B, k]
        weights = 1 / ((key.unsqueeze(1) - keys).square().sum(dim=2) + DELTA)
        return (weights * values).sum(dim=1) / weights.sum(dim=1), slots, keys, values

    def _write(self, pending: list[tuple[np.ndarray, int, float]], count: int) -> None:
        targets, following = [], 0.0
        for _, _, reward in reversed(pending):
            following = reward + DISCOUNT * following
            targets.append(following)
        complete, targets = pending[:count], targets[::-1]
        with torch.no_grad():
            keys = self.encoder(torch.from_numpy(np.stack([observation for observation, _, _ in complete])))
        for key, (observation, action, _), target in zip(keys, complete, targets, strict=False):
            slot = self.oldest[action]
            self.keys[action][slot], self.values[action][slot] = key, target
            self.searches[action].changed(torch.tensor([slot]))
            self.oldest[action] = (slot + 1) % len(self.keys[action])
            self.replay.append((observation, action, target))
        del pending[:count]

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
            self.searches[action].changed(at.unique())


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad
