"""A window that slides over steps: every step sees itself and those just before it, all steps of a sequence at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def of_the_band(scores: Tensor, window: int) -> Tensor:
    """Of row t the columns t to t + N - 1. `[..., T, N - 1 + T]` -> `[..., T, N]`.

    Args:
        scores: Of each of T steps with each of the N - 1 steps before them all and themselves, the oldest first.
        window: N, steps that a step sees.
    """
    steps, columns = scores.shape[-2:]
    padded = functional.pad(scores.flatten(-2), (0, steps))
    return padded.unflatten(-1, (steps, columns + 1))[..., :window]


def along_the_band(weights: Tensor) -> Tensor:
    """The inverse, with zeros beside the band. `[..., T, N]` -> `[..., T, N - 1 + T]`."""
    steps, window = weights.shape[-2:]
    padded = functional.pad(weights, (0, steps)).flatten(-2)
    return padded[..., :-steps].unflatten(-1, (steps, window - 1 + steps))


def ages(window: int, device: torch.device) -> Tensor:
    """Steps between a step and those that it sees, the oldest first. `[N]` of int64."""
    return torch.arange(window - 1, -1, -1, device=device)


def unseen(count: Tensor, steps: int, window: int) -> Tensor:
    """Where a step would see what lies before its episode. `[B]` -> `[B, T, N]` of bool.

    Args:
        count: Steps of the episode before the first of the T.
        steps: T.
        window: N.
    """
    now = count.unsqueeze(1) + torch.arange(steps, device=count.device)  # [B, T]
    return ages(window, count.device) > now.unsqueeze(-1)
