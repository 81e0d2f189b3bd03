"""Everything a dictionary is, as tensors and plain values, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.keys.identity import NOBODY, IdentityTable
from engram_rl.memory.persistence.validation import check_state

if TYPE_CHECKING:
    from engram_rl.memory.dictionary import DifferentiableNeuralDictionary


def state_of(memory: DifferentiableNeuralDictionary, *, copy: bool = True) -> dict[str, Any]:
    """Everything; of the per-slot tensors only the slots that have been used.

    Args:
        memory: Whose.
        copy: Whether what is large is copied, so that later changes do not reach it.
    """
    used = memory.used
    large = {name: buffer[:used] for name, buffer in _buffers(memory).items()}
    return {name: view.clone() if copy else view for name, view in large.items()} | {
        "identities": torch.from_numpy(memory.identities.identities[:used].copy()),
        "slots": memory.slot_table.state_dict(),
        "spread": memory.store.spread.state_dict(),
        "links": memory.links.state_dict(used),
        "forgetting": memory.forgetting.state_dict(used),
        "usage": memory.usage.state_dict(used),
    }


def restore(memory: DifferentiableNeuralDictionary, state: dict[str, Any]) -> None:
    """Put the memory where `state_of` was taken.

    Raises:
        ValueError: The state is incomplete, damaged or of a dictionary of another shape. Nothing has been changed then.
        TypeError: It is no state at all.
    """
    check_state(memory, state)
    used = len(state["rows"])
    for name, buffer in _buffers(memory).items():
        buffer[:used] = state[name].to(buffer)
        buffer[used:] = 0
    memory.identities = IdentityTable(memory.capacity)
    identities = state["identities"].cpu().numpy()
    filed = np.flatnonzero(identities != NOBODY)
    memory.identities.set(filed, identities[filed])
    memory.index.attach(memory.store)
    memory.slot_table.load_state_dict(state["slots"])
    memory.store.spread.load_state_dict(state["spread"])
    memory.links.load_state_dict(state["links"])
    memory.usage.load_state_dict(state["usage"])
    memory.forgetting.attach(memory.capacity, memory.device)
    memory.forgetting.load_state_dict(state["forgetting"])


def _buffers(memory: DifferentiableNeuralDictionary) -> dict[str, Tensor]:
    """The per-slot tensors that have no owner of their own, by the name under which they are saved."""
    store = memory.store
    return {"rows": store.rows, "codes": store.codes, "present": store.present, "values": memory.values}
