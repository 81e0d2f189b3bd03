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

SHOWN = 8
"""Modalities that `repr` names."""

WIDTH = 160
"""Of a line of `repr`."""

QUANTILES = {"weakest": 0.0, "median": 0.5, "strongest": 1.0}


def screen(memory: Any) -> str:
    """What a dictionary is and holds, on a few lines, at no cost that grows with it."""
    parts = [f"{m.name} {m.size}" + (f" {m.kind}" if m.kind != "l2" else "") for m in memory.space]
    shown = ", ".join(parts[:SHOWN]) + (f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")
    match = "" if memory.match_within is None else f", match_within {memory.match_within:g}"
    lines = (
        f"{type(memory).__name__}: {len(memory)} of {memory.capacity} entries, {memory.evictions} evicted",
        f"  keys: {shown}; values: {memory.value_dim}; {memory.dtype} on {memory.device}",
        f"  k {memory.k}, index {memory.index.report()['kind']}, kernel {memory.kernel}, "
        f"write rule {memory.write_rule}{match}",
        f"  forgetting {type(memory.forgetting).__name__}({_arguments(memory.forgetting)}); "
        f"{memory.usage.lookups} lookups",
    )
    return "\n".join(line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in lines)


def _arguments(policy: Any) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in policy.settings().items())


def modalities(space: KeySpace, present: Tensor) -> dict[str, dict[str, Any]]:
    """Each modality, and how many of the entries have it, of `[n, M]` bool."""
    had = present.sum(0).tolist()
    return {m.name: {"size": m.size, "kind": m.kind, "present": n} for m, n in zip(space, had, strict=True)}


def quantiles(strength: Tensor) -> dict[str, float]:
    """The weakest, the median and the strongest of `[n]`; nothing of none."""
    if not len(strength):
        return {}
    shares = np.quantile(strength.cpu().numpy(), list(QUANTILES.values()))  # torch takes no more than 2**24 of them
    return dict(zip(QUANTILES, shares.tolist(), strict=True))


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
    """The keys at slots `[n]`, each modality by name, as they are: codes as int64.

    Where an entry lacks a modality its vector is NaN and its code 0; `has_NAME` tells which have it, if not all.
    """
    columns: dict[str, np.ndarray] = {}
    for i, m in enumerate(store.space):
        source = store.codes if m.kind == "discrete" else store.vectors
        part = source[slots][:, store.space.columns[m.name]]
        has = store.present[slots, i]
        if m.kind == "discrete":
            columns[m.name] = part.masked_fill(~has.unsqueeze(1), 0).cpu().numpy()
            if not has.all():
                columns[f"has_{m.name}"] = has.cpu().numpy()
        else:
            columns[m.name] = part.masked_fill(~has.unsqueeze(1), torch.nan).cpu().numpy()
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
