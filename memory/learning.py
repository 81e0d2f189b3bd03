"""Gradient steps on the entries that lookups have read, at a cost that does not depend on how many are stored.

found = memory.lookup(query)             # gradients on: found.keys and found.values are leaves
loss(found.value).backward()
optimiser.step(found)                    # or step(found_a, found_b, ...) after several lookups
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from memory.dictionary import DifferentiableNeuralDictionary
    from memory.reading import Found


class RowSGD:
    """`x <- x - lr g` on the rows that were read; a slot read several times has its gradients added up.

    Args:
        memory: Whose entries move.
        lr: Step size of the keys.
        value_lr: Step size of the values; `lr` by default.
    """

    def __init__(
        self, memory: DifferentiableNeuralDictionary, lr: float = 1e-3, *, value_lr: float | None = None
    ) -> None:
        for name, rate in (("lr", lr), ("value_lr", value_lr or 0.0)):
            if not rate >= 0:
                raise ValueError(f"{name} is {rate}; it must not be negative")
        self.memory = memory
        self.lr = lr
        self.value_lr = lr if value_lr is None else value_lr

    @torch.no_grad()
    def step(self, *found: Found) -> None:
        """Move keys and values of what was found. An entry that was replaced since it was read is left alone.

        Raises:
            RuntimeError: A lookup ran without gradients, or no backward pass has reached it.
        """
        keys = [_gradient(f.keys, "keys") for f in found]
        values = [_gradient(f.values, "values") for f in found]
        read = torch.cat([f.slots[f.valid] for f in found])
        same = torch.cat([self.memory.same_entries(f)[f.valid] for f in found])
        slots, place = torch.unique(read[same], return_inverse=True)  # [U]
        if not len(slots):
            return
        key = _summed([g[f.valid] for g, f in zip(keys, found, strict=True)], same, place, len(slots))
        value = _summed([g[f.valid] for g, f in zip(values, found, strict=True)], same, place, len(slots))
        self.memory.move(
            slots,
            keys=self.memory.key_vectors[slots] - self.lr * self._direction("keys", slots, key),
            values=self.memory.values[slots] - self.value_lr * self._direction("values", slots, value),
        )

    def state_dict(self) -> dict[str, Any]:
        """What the optimiser remembers of each slot: nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""

    def _direction(self, name: str, slots: Tensor, gradient: Tensor) -> Tensor:
        return gradient


class RowRMSprop(RowSGD):
    """RMSProp (Tieleman and Hinton 2012), `v <- alpha v + (1 - alpha) g^2; x <- x - lr g / (sqrt(v) + eps)`, per row.

    The running square of a slot moves only when the slot is read, stays through inserts elsewhere, and starts anew
    when another entry takes the slot.

    Args:
        memory: Whose entries move.
        lr: Step size of the keys.
        value_lr: Step size of the values; `lr` by default.
        alpha: Decay of the running square.
        eps: Added to its root.
    """

    def __init__(
        self,
        memory: DifferentiableNeuralDictionary,
        lr: float = 1e-5,
        *,
        value_lr: float | None = None,
        alpha: float = 0.9,
        eps: float = 0.01,
    ) -> None:
        super().__init__(memory, lr, value_lr=value_lr)
        self.alpha, self.eps = alpha, eps
        self._squares = {
            "keys": torch.zeros_like(memory.key_vectors, memory_format=torch.contiguous_format),
            "values": torch.zeros_like(memory.values),
        }
        self._generation = {name: memory.generation.clone() for name in self._squares}

    def state_dict(self) -> dict[str, Any]:
        """The running squares of the used slots and whose they are."""
        used = self.memory.used
        squares = {name: square[:used].clone() for name, square in self._squares.items()}
        return squares | {f"{name}_generation": g[:used].clone() for name, g in self._generation.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; load the memory first."""
        for name in self._squares:
            used = len(state[name])
            self._squares[name].zero_()
            self._squares[name][:used] = state[name].to(self._squares[name].device)
            self._generation[name][:used] = state[f"{name}_generation"].to(self._generation[name].device)

    def _direction(self, name: str, slots: Tensor, gradient: Tensor) -> Tensor:
        now = self.memory.generation[slots]
        mine = (self._generation[name][slots] == now).unsqueeze(1)
        square = torch.where(mine, self._squares[name][slots], 0)
        square = self.alpha * square + (1 - self.alpha) * gradient.square()
        self._squares[name][slots] = square
        self._generation[name][slots] = now
        return gradient / (square.sqrt() + self.eps)


def _gradient(leaf: Tensor | None, name: str) -> Tensor:
    if leaf is None or not leaf.requires_grad:
        raise RuntimeError(f"this lookup ran without gradients, so its {name} cannot be trained; leave torch.no_grad()")
    if leaf.grad is None:
        raise RuntimeError(f"no gradient has reached the {name} of this lookup; call backward() on its value first")
    return leaf.grad


def _summed(gradients: list[Tensor], same: Tensor, place: Tensor, rows: int) -> Tensor:
    gradient = torch.cat(gradients)[same]
    return gradient.new_zeros(rows, gradient.shape[1]).index_add_(0, place, gradient)
