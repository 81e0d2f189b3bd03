"""Looking into a memory: figures about it, and its entries as arrays or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.checks import whole
from engram_rl.memory.keys.identity import NOBODY

if TYPE_CHECKING:
    import pandas as pd

    from engram_rl.memory.dictionary import DifferentiableNeuralDictionary

QUANTILES = {"weakest": 0.0, "median": 0.5, "strongest": 1.0}


def describe(memory: DifferentiableNeuralDictionary, most_used: int = 5) -> dict[str, Any]:
    """Sizes, strengths, how near lookups hit, the most used entries; a pass over all entries."""
    whole("most_used", most_used, 0)
    slots = memory.slots
    hits = memory.usage.hits[slots]
    top = hits.topk(min(most_used, len(slots)))
    strength = memory.strength(slots)
    return {
        "size": len(memory),
        "capacity": memory.capacity,
        "evictions": memory.evictions,
        "links": len(memory.links),
        "bytes": memory_bytes(memory),
        "bytes_per_entry": memory_bytes(memory) / memory.capacity,
        "modalities": {
            m.name: {"size": m.size, "kind": m.kind, "present": int(memory.store.present[slots, i].sum())}
            for i, m in enumerate(memory.space)
        },
        "strength": {name: float(strength.quantile(q)) for name, q in QUANTILES.items()} if len(slots) else {},
        "lookups": memory.usage.lookups,
        "hit_distance": float(memory.usage.hit_distance),
        "top_weight": float(memory.usage.top_weight),
        "most_used": [
            {"slot": int(slots[i]), "hits": int(n), "value": memory.values[slots[i]].tolist()}
            for n, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ],
        "index": memory.index.report(),
    }


def memory_bytes(memory: DifferentiableNeuralDictionary) -> int:
    """What the memory's own tensors and tables take up, without the index's copy."""
    tensors: list[Tensor] = []
    for part in (memory, memory.store, memory.slot_table, memory.forgetting, memory.usage, memory.links):
        tensors += [value for value in vars(part).values() if isinstance(value, Tensor)]
    return sum({t.data_ptr(): t.nbytes for t in tensors}.values()) + memory.identities.nbytes


def to_arrays(memory: DifferentiableNeuralDictionary) -> dict[str, np.ndarray]:
    """Every entry, by column: each modality by name (NaN where an entry lacks it), and what is kept beside it."""
    slots = memory.slots
    columns: dict[str, np.ndarray] = {}
    for i, m in enumerate(memory.space):
        source = memory.store.codes if m.kind == "discrete" else memory.key_vectors
        part = source[slots][:, memory.space.columns[m.name]]
        lacking = ~memory.store.present[slots, i].unsqueeze(1)
        columns[m.name] = (part.double().masked_fill(lacking, torch.nan) if lacking.any() else part).cpu().numpy()
    identities = memory.identities.identities[slots.cpu().numpy()]
    return columns | {
        "slot": slots.cpu().numpy(),
        "value": memory.values[slots].cpu().numpy(),
        "strength": memory.strength(slots).cpu().numpy(),
        "hits": memory.usage.hits[slots].cpu().numpy(),
        "identity": np.where(identities == NOBODY, 0, identities),
        "has_identity": identities != NOBODY,
    }


def to_pandas(memory: DifferentiableNeuralDictionary) -> pd.DataFrame:
    """The same as a table with one row an entry, indexed by slot; needs pandas."""
    import pandas as pd  # optional: only for this

    columns: dict[str, np.ndarray] = {}
    for name, column in to_arrays(memory).items():
        if column.ndim == 1:
            columns[name] = column
        else:
            columns |= {f"{name}_{i}": part for i, part in enumerate(column.T)}
    return pd.DataFrame(columns).set_index("slot")
