"""From distance to weight.

A kernel gives the logarithm of a similarity, so that far neighbours fade smoothly instead of dividing 0 by 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engram_rl.memory.checks import number, offers, unknown


class Kernel(Protocol):
    """How similar two keys are, given their squared distance."""

    def log_similarity(self, squared_distances: Tensor) -> Tensor:
        """`log k(d)`, of any shape."""


@dataclass(frozen=True)
class InverseDistance:
    """`k(h, h_i) = 1 / (|h - h_i|^2 + delta)`: Neural Episodic Control (Pritzel et al. 2017), equation 5."""

    delta: float = 1e-3

    def __post_init__(self) -> None:
        number("delta", self.delta, above=0)

    def log_similarity(self, squared_distances: Tensor) -> Tensor:
        """`-log(d + delta)`."""
        return -torch.log(squared_distances + self.delta)


@dataclass(frozen=True)
class Gaussian:
    """`k(h, h_i) = exp(-|h - h_i|^2 / (2 bandwidth^2))`: Nadaraya-Watson regression, attention on unit keys."""

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        number("bandwidth", self.bandwidth, above=0)

    def log_similarity(self, squared_distances: Tensor) -> Tensor:
        """`-d / (2 bandwidth^2)`."""
        return squared_distances / (-2 * self.bandwidth**2)


@dataclass(frozen=True)
class Uniform:
    """`k = 1`, the mean of the neighbours: Model-Free Episodic Control (Blundell et al. 2016), equation 2."""

    def log_similarity(self, squared_distances: Tensor) -> Tensor:
        """0 everywhere; the gradient to the keys is 0 too."""
        return squared_distances * 0


def weigh(log_similarities: Tensor, valid: Tensor | None) -> Tensor:
    """Weights that sum to 1 over the valid neighbours (None: all of them), 0 elsewhere and where there is none."""
    if valid is None:
        return torch.softmax(log_similarities, dim=-1)
    lowest = torch.finfo(log_similarities.dtype).min
    return torch.softmax(log_similarities.masked_fill(~valid, lowest), dim=-1) * valid


KERNELS = {"inverse_distance": InverseDistance, "gaussian": Gaussian, "uniform": Uniform}


def make_kernel(kernel: Kernel | str) -> Kernel:
    """A kernel from its name, with its defaults."""
    if not isinstance(kernel, str):
        return offers("kernel", kernel, ("log_similarity",), KERNELS)
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, KERNELS)
    return KERNELS[kernel]()
