"""What a lookup finds, and how neighbours become a value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memory.kernels import Kernel, weigh
from memory.keys import Keys
from memory.store import KeyStore


@dataclass(frozen=True)
class Found:
    """The neighbours of each query, nearest first, and the value they give together.

    Where a query has fewer than k neighbours the rest is `valid = False` with slot -1 and weight, distance and
    values 0; one without any has the value 0.

    Attributes:
        value: Sum of the neighbours' values by weight. `[B, V]`
        slots: Where the neighbours are stored. `[B, k]` int64
        weights: Sum to 1 over the neighbours. `[B, k]`
        distances: Weighted squared distances over the modalities that were asked for. `[B, k]`
        valid: Whether there is a neighbour. `[B, k]` bool
        values: The neighbours' values; a leaf that collects a gradient if gradients are on. `[B, k, V]`
        keys: Likewise the vectors of their keys; None if gradients are off. `[B, k, D]`
        generation: Which entry a slot held when it was read; `same_entries` of the dictionary compares it. `[B, k]`
    """

    value: Tensor
    slots: Tensor
    weights: Tensor
    distances: Tensor
    valid: Tensor
    values: Tensor
    keys: Tensor | None
    generation: Tensor


def nearest(store: KeyStore, query: Keys, proposals: Tensor, k: int, usable: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Re-rank proposed slots by distances taken from the keys themselves.

    Returns:
        Slots, -1 where there is none; squared distances, 0 there; and whether there is one. Each `[B, k]`.
    """
    entries = store.gather(proposals.clamp(min=0))
    distances = store.distances(query, entries)  # [B, k']
    usable = usable & (distances >= 0)
    distances = distances.masked_fill(~usable, torch.inf)
    order = distances.topk(min(k, distances.shape[1]), dim=1, largest=False)
    slots, distances = proposals.gather(1, order.indices), order.values
    valid = distances.isfinite()
    short = (0, k - slots.shape[1])
    return (
        torch.nn.functional.pad(slots.masked_fill(~valid, -1), short, value=-1),
        torch.nn.functional.pad(distances.masked_fill(~valid, 0), short),
        torch.nn.functional.pad(valid, short),
    )


def combine(kernel: Kernel, distances: Tensor, values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """`o = sum_i w_i v_i` with `w_i = k(h, h_i) / sum_j k(h, h_j)`: Pritzel et al. 2017, equations 1 and 2.

    Returns:
        The value `[B, V]` and the weights `[B, k]`.
    """
    weights = weigh(kernel.log_similarity(distances), valid)
    return torch.bmm(weights.unsqueeze(1), values).squeeze(1), weights
