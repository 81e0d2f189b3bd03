"""Looking into a memory: figures about its parts, and its keys as arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.keys.space import KeySpace
from engram_rl.memory.keys.store import KeyStore

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = {"weakest": 0.0, "median": 0.5, "strongest": 1.0}


def modalities(space: KeySpace, present: Tensor) -> dict[str, dict[str, Any]]:
    """Each modality, and how many of the entries have it, of `[n, M]` bool."""
    had = present.sum(0).tolist()
    return {m.name: {"size": m.size, "kind": m.kind, "present": n} for m, n in zip(space, had, strict=True)}


def quantiles(strength: Tensor) -> dict[str, float]:
    """The weakest, the median and the strongest of `[n]`; nothing of none."""
    return {name: float(strength.quantile(q)) for name, q in QUANTILES.items()} if len(strength) else {}


def most_used(slots: Tensor, hits: Tensor, values: Tensor, most: int) -> list[dict[str, Any]]:
    """The entries with the most hits, of `[n]`, `[n]` and `[n, V]`."""
    top = hits.topk(min(most, len(hits)))
    return [
        {"slot": int(slots[i]), "hits": int(n), "value": values[i].tolist()}
        for n, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    ]


def bytes_of(parts: Iterable[object]) -> int:
    """What the tensors and arrays of these objects take up, each counted once."""
    held = [value for part in parts for value in vars(part).values()]
    tensors = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in held if isinstance(x, Tensor)}
    return sum(tensors.values()) + sum(x.nbytes for x in held if isinstance(x, np.ndarray))


def key_columns(store: KeyStore, slots: Tensor) -> dict[str, np.ndarray]:
    """The keys at slots `[n]`, each modality by name: NaN where an entry lacks it."""
    columns: dict[str, np.ndarray] = {}
    for i, m in enumerate(store.space):
        source = store.codes if m.kind == "discrete" else store.vectors
        part = source[slots][:, store.space.columns[m.name]]
        lacking = ~store.present[slots, i].unsqueeze(1)
        columns[m.name] = (part.double().masked_fill(lacking, torch.nan) if lacking.any() else part).cpu().numpy()
    return columns


def table(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Columns as a table with one row an entry, indexed by slot; needs pandas."""
    import pandas as pd  # optional: only for this

    flat: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        if column.ndim == 1:
            flat[name] = column
        else:
            flat |= {f"{name}_{i}": part for i, part in enumerate(column.T)}
    return pd.DataFrame(flat).set_index("slot")
