"""One dictionary of (state, action): asked for a state alone it tells what was done, asked for both what it gave."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_rl.memory import DifferentiableNeuralDictionary, Found, KeySpace, Modality

ACTION = "action"
"""The modality beside those of the state."""


def with_action(state: KeySpace, size: int, weight: float) -> KeySpace:
    """The key space of a state's, and of actions of `size` numbers; `weight` is a factor of their squared distance.

    Raises:
        ValueError: A modality of the state has the action's name.
    """
    if ACTION in state.names:
        raise ValueError(f"env.modalities has a part {ACTION!r}, which is what the agent calls its own; rename it.")
    return KeySpace([*state.modalities, Modality(ACTION, size, weight=weight)])


class StateActionMemory:
    """What actions were done in which states, and what came of them.

    The action is the last part of each key. A query that lacks it, an incomplete key, finds the states that are
    similar, whatever was done there; one that has it finds similar states in which something similar was done.

    Args:
        memory: Of keys that `with_action` gives, and values `[1]`.
        actions: Numbers of an action, A.
    """

    def __init__(self, memory: DifferentiableNeuralDictionary, actions: int):
        self.memory = memory
        self._actions = actions

    def __len__(self) -> int:
        return len(self.memory)

    @property
    def neighbours(self) -> int:
        """How many entries a lookup finds where it is not told and the memory is full."""
        return min(self.memory.k, self.memory.capacity)

    @torch.no_grad()
    def similar(self, states: Tensor, k: int, touch: bool) -> Found:
        """The k entries whose states are nearest to each of `[B, D]`, whatever was done there."""
        none = states.new_zeros(len(states), self._actions)
        unknown = torch.zeros(len(states), dtype=torch.bool, device=states.device)
        return self.memory.lookup(torch.cat([states, none], dim=1), k, touch, present={ACTION: unknown})

    def remembered(self, found: Found) -> tuple[Tensor, Tensor]:
        """In which states what was found was done, `[B, k, D]`, and what was done, `[B, k, A]`.

        Where fewer than k were found the rest is nothing: `valid` of what was found tells.
        """
        keys = self.memory.key_vectors[found.slots.clamp(min=0)]
        return keys[..., : -self._actions], keys[..., -self._actions :]

    @torch.no_grad()
    def values(self, states: Tensor, actions: Tensor) -> Tensor:
        """Kernel regression over the nearest entries (Pritzel et al. 2017, equation 2), all in one lookup.

        Args:
            states: `[B, D]`
            actions: C of each. `[B, C, A]`

        Returns:
            The value of each action, 0 where nothing is known. `[B, C]`
        """
        B, C, _ = actions.shape
        repeated = states.unsqueeze(1).expand(B, C, states.shape[1])  # [B, C, D]
        keys = torch.cat([repeated, actions], dim=2).reshape(B * C, -1)
        return self.memory.lookup(keys, touch=False).value.reshape(B, C)

    def write(self, states: Tensor, actions: Tensor, values: Tensor) -> Tensor:
        """Remember `[B]` values of `[B, A]` actions in `[B, D]` states; their slots. `[B]`."""
        return self.memory.write(torch.cat([states, actions], dim=1), values.unsqueeze(1))

    def report(self, found: Found) -> dict[str, float]:
        """How full the memory is, and how near what proposed actions was, for TensorBoard."""
        metrics = {"memory/size": float(len(self)), "memory/evictions": float(self.memory.evictions)}
        if self.memory.recall is not None:
            metrics["memory/recall"] = self.memory.recall
        if found.valid[:, 0].any():
            metrics["memory/hit_distance"] = float(found.distances[:, 0].mean())
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return self.memory.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.memory.load_state_dict(state)
