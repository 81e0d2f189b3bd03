"""What a lookup finds, and how neighbours become a value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memory.kernels import Kernel, weigh


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


def combine(kernel: Kernel, distances: Tensor, values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """`o = sum_i w_i v_i` with `w_i = k(h, h_i) / sum_j k(h, h_j)`: Pritzel et al. 2017, equations 1 and 2.

    Returns:
        The value `[B, V]` and the weights `[B, k]`.
    """
    weights = weigh(kernel.log_similarity(distances), valid)
    return torch.bmm(weights.unsqueeze(1), values).squeeze(1), weights
