"""Energy-based memory (Bartunov et al. 2019, arXiv 1910.02720): stored items lie where an energy is low."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.checks import real, require_precision, whole
from engram_rl.memory.modes import unrounded

Weights: TypeAlias = dict[str, Tensor]
"""Of B energy nets, by name. `[B, ...]`"""


class EnergyMemory(nn.Module):
    """A net E whose weights are changed until a set of items lies in the valleys of E; reading is rolling downhill.

        E(x; th)  = v . g(W_2 g(W_1 x + b_1) + b_2) + |x - c|^2 / 2,   g = softplus
        W(x; th)  = E(x; th) + a |dE/dx|^2 + b |th - th_0|^2          the writing loss            (3)
        write     th <- th - eta_t d mean_i W(x_i; th) / d th         a few steps from th_0       (4)
        read      x <- x - gamma_k dE/dx                              a few steps from a query    (2)
        loss      mean_i sum_k |x_i^k - x_i|^2                        of damaged items            (5)

    th_0, eta, gamma, a and b are learned by descending the loss over many sets, through both descents; then a set is
    stored in a few steps. Softplus, so that all derivatives that this needs are smooth.

        memory = EnergyMemory(width=32)
        memory.loss(items, damaged).backward()         # for many sets, as any net is trained
        weights = memory.write(items)                  # [B, N, 32]
        memory.read(weights, damaged)

    Args:
        width: C, numbers in an item.
        hidden: Units in each of the two layers of E.
        writes: Steps of writing.
        reads: Steps of reading.

    Raises:
        ValueError: A size below 1.
    """

    def __init__(self, width: int, hidden: int = 128, writes: int = 3, reads: int = 5) -> None:
        super().__init__()
        self.width, hidden = whole("width", width), whole("hidden", hidden)
        self.writes, self.reads = whole("writes", writes), whole("reads", reads)
        self.start = nn.ParameterDict(  # th_0
            {
                "first": torch.randn(hidden, width) / math.sqrt(width),
                "first_bias": torch.zeros(hidden),
                "second": torch.randn(hidden, hidden) / math.sqrt(hidden),
                "second_bias": torch.zeros(hidden),
                "last": torch.randn(hidden) / math.sqrt(hidden),
                "centre": torch.zeros(width),
            }
        )
        self.log_write_rates = nn.Parameter(torch.full((writes, len(self.start)), math.log(0.1)))  # eta
        self.log_read_rates = nn.Parameter(torch.full((reads,), math.log(0.5)))  # gamma
        self.log_flat, self.log_near = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(-7.0))  # a, b

    @unrounded
    def energy(self, weights: Weights, items: Tensor) -> Tensor:
        """E of items. `[B, N, C]` -> `[B, N]`."""
        first = functional.softplus(items @ weights["first"].mT + weights["first_bias"].unsqueeze(1))
        second = functional.softplus(first @ weights["second"].mT + weights["second_bias"].unsqueeze(1))
        away = (items - weights["centre"].unsqueeze(1)).square().sum(-1) / 2
        return (second @ weights["last"].unsqueeze(-1)).squeeze(-1) + away

    @unrounded
    def write(self, items: Tensor) -> Weights:
        """The net in which a set of items is stored.

        Args:
            items: `[B, N, C]`

        Raises:
            ValueError: Another shape, or NaN or infinity.
        """
        self._check(items)
        learning = self._learns(items)
        with torch.inference_mode(False), torch.enable_grad():
            items = _outside(items)
            weights = {name: _differentiable(part.expand(len(items), *part.shape)) for name, part in self.start.items()}
            for rates in self.log_write_rates.exp():
                slopes = torch.autograd.grad(
                    self._writing_loss(weights, items), [*weights.values()], create_graph=learning
                )
                steps = zip(weights.items(), rates, slopes, strict=True)
                weights = {name: part - rate * slope for (name, part), rate, slope in steps}
        return weights if learning else {name: part.detach() for name, part in weights.items()}

    def _writing_loss(self, weights: Weights, items: Tensor) -> Tensor:
        """W, its mean over the items of a set and its sum over the sets."""
        slopes = self._slopes(weights, items, True)
        flat = self.log_flat.exp() * slopes.square().sum(-1)
        moved = sum((part - self.start[name]).square().sum() for name, part in weights.items())
        return (self.energy(weights, items) + flat).mean(1).sum() + self.log_near.exp() * moved

    @unrounded
    def read(self, weights: Weights, items: Tensor) -> Tensor:
        """What damaged items probably were: downhill from there. `[B, N, C]` -> `[B, N, C]`.

        Raises:
            ValueError: Another shape, or NaN or infinity.
        """
        self._check(items, len(weights["first"]))
        return self._path(weights, items)[-1]

    def _path(self, weights: Weights, items: Tensor) -> list[Tensor]:
        """Where a read is after each of its steps."""
        path, learning = [], self._learns(items, *weights.values())
        for rate in self.log_read_rates.exp():
            items = items - rate * self._slopes(weights, items, learning)
            path.append(items)
        return path

    def _learns(self, *given: Tensor) -> bool:
        """Whether anything asks for a gradient, of what is given or of a memory that is not frozen."""
        return torch.is_grad_enabled() and any(one.requires_grad for one in (*given, *self.parameters()))

    def _slopes(self, weights: Weights, items: Tensor, learning: bool) -> Tensor:
        """dE/dx. `[B, N, C]`."""
        with torch.inference_mode(False), torch.enable_grad():
            items = _differentiable(_outside(items))
            (slopes,) = torch.autograd.grad(self.energy(weights, items).sum(), items, create_graph=learning)
        return slopes

    @unrounded
    def loss(self, items: Tensor, damaged: Tensor) -> Tensor:
        """How far reads of damaged items are from the items, at each step; to be descended over many sets.

        Args:
            items: What is stored. `[B, N, C]`
            damaged: What is asked for, in the same order. `[B, N, C]`

        Raises:
            ValueError: Another shape, or NaN or infinity.
        """
        self._check(damaged, len(real("items", items)))
        if damaged.shape != items.shape:
            raise ValueError(
                f"damaged items have shape {list(damaged.shape)}; give one for each item, {list(items.shape)}"
            )
        path = torch.stack(self._path(self.write(items), damaged))
        return (path - items).square().sum(-1).mean()

    @unrounded
    @torch.no_grad()
    def sample(
        self,
        weights: Weights,
        count: int,
        steps: int = 100,
        step_size: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """New items of the kind that was stored, by Langevin's dynamics from noise, then read. `[B, count, C]`."""
        first = weights["first"]
        shape = (len(first), whole("count", count), self.width)
        items = torch.randn(shape, dtype=first.dtype, device=first.device, generator=generator)
        for _ in range(whole("steps", steps)):
            items = langevin_step(items, self._slopes(weights, items, False), step_size, generator)
        return self.read(weights, items)

    def _check(self, items: Tensor, batch: int | None = None) -> None:
        real("items", items)
        if items.dim() != 3 or items.shape[2] != self.width or not items.numel():
            raise ValueError(f"items have shape {list(items.shape)}; EnergyMemory takes [B, N, {self.width}]")
        if batch not in (None, len(items)):
            raise ValueError(f"items are of {len(items)} sets; {batch} were written")
        if not torch.isfinite(items).all():
            raise ValueError("items hold NaN or infinity, which has no energy")
        require_precision("items", items, self.start["first"].dtype)


def _outside(items: Tensor) -> Tensor:
    """Items that may be differentiated by, also if they were made in inference mode."""
    return items.clone() if items.is_inference() else items


def _differentiable(part: Tensor) -> Tensor:
    """What may be differentiated by; of what asks for no gradient, as where a memory is frozen, something apart."""
    return part if part.requires_grad else part.detach().requires_grad_()


def langevin_step(items: Tensor, slopes: Tensor, step_size: float, generator: torch.Generator | None = None) -> Tensor:
    """`x - (s / 2) dE/dx + sqrt(s) N(0, 1)`: many of these draw from `exp(-E)` (Welling and Teh 2011)."""
    noise = torch.randn(items.shape, dtype=items.dtype, device=items.device, generator=generator)
    return items - step_size / 2 * slopes + math.sqrt(step_size) * noise
