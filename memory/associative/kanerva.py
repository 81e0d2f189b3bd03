"""The Kanerva machine: a memory that is a belief, written by inference (Wu et al. 2018, arXiv 1804.01756, 1811.09556).

The memory M has K rows of C numbers. It is not known but believed, `M ~ N(R, U)`: R is the mean, U the covariance of
the rows, the same for every column. An item is thought to be a weighted sum of rows and some noise,
`z = M^T w + N(0, s^2)`; so storing it is to infer M, and finding it is to infer w.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import number, real, require_precision, whole
from engram_rl.memory.modes import unrounded

SMALLEST = 1e-6
"""A row's variance does not fall below this, so that rounding cannot make it negative."""


class Belief(NamedTuple):
    """What is believed of B memories of K rows of C numbers.

    Attributes:
        mean: R. `[B, K, C]`
        covariance: U, of the rows. `[B, K, K]`
    """

    mean: Tensor
    covariance: Tensor


def address(mean: Tensor, z: Tensor, ridge: float | Tensor, known: Tensor | None = None) -> Tensor:
    """What w probably is of which an item was made, given the mean memory: `w = (R R^T + lambda I)^-1 R z`.

    Args:
        mean: R. `[B, K, C]`
        z: Items. `[B, N, C]`
        ridge: lambda, the variance of the noise over that of w.
        known: Which numbers of an item are known; the others do not count. `[B, N, C]` of bool, None for all

    Returns:
        `[B, N, K]`
    """
    if known is None:
        return _ridge_solution(mean, z.mT, ridge).mT
    seen = mean.unsqueeze(1) * known.unsqueeze(2)  # [B, N, K, C]
    return _ridge_solution(seen, z.unsqueeze(-1), ridge).squeeze(-1)


def _ridge_solution(rows: Tensor, z: Tensor, ridge: float | Tensor) -> Tensor:
    """`(R R^T + lambda I)^-1 R z = R (R^T R + lambda I)^-1 z`, the smaller system. `[.., K, C]`, `[.., C, N]`."""
    few = min(rows.shape[-2:])
    ridges = ridge * torch.eye(few, dtype=rows.dtype, device=rows.device)
    if few == rows.shape[-1]:
        return rows @ torch.linalg.solve(rows.mT @ rows + ridges, z)
    return torch.linalg.solve(rows @ rows.mT + ridges, rows @ z)


def write(belief: Belief, w: Tensor, z: Tensor, noise: float | Tensor) -> Belief:
    """The belief after an item was seen at an address (equations 9 to 12 of the first paper).

        R' = R + U w (z - R^T w)^T / s,   U' = U - (U w) (U w)^T / s,   s = w^T U w + s^2

    Args:
        belief: Before.
        w: `[B, K]`
        z: `[B, C]`
        noise: s^2, the variance of the noise. A number, or `[B]`
    """
    moved = (belief.covariance @ w.unsqueeze(-1)).squeeze(-1)  # U w, [B, K]
    spread = (w * moved).sum(-1) + noise
    gain = moved / spread.unsqueeze(-1)
    missed = z - read(belief, w.unsqueeze(1)).squeeze(1)
    mean = belief.mean + gain.unsqueeze(-1) * missed.unsqueeze(-2)
    return Belief(mean, _kept_positive(belief.covariance - gain.unsqueeze(-1) * moved.unsqueeze(-2)))


def write_all(belief: Belief, w: Tensor, z: Tensor, noise: float | Tensor) -> Belief:
    """The belief after N items at N addresses at once; the same as one after the other.

        R' = R + G (Z - W R),   U' = U - G W U,   G = U W^T (W U W^T + s^2 I)^-1

    Args:
        belief: Before.
        w: W. `[B, N, K]`
        z: Z. `[B, N, C]`
        noise: s^2.
    """
    moved = w @ belief.covariance  # W U, [B, N, K]
    spread = moved @ w.mT + noise * torch.eye(w.shape[1], dtype=w.dtype, device=w.device)
    gain = torch.linalg.solve(spread, moved).mT  # [B, K, N]
    mean = belief.mean + gain @ (z - read(belief, w))
    return Belief(mean, _kept_positive(belief.covariance - gain @ moved))


def read(belief: Belief, w: Tensor) -> Tensor:
    """What is expected at addresses, `R^T w`. `[B, N, K]` -> `[B, N, C]`."""
    return w @ belief.mean


def surprise(belief: Belief, w: Tensor, z: Tensor, noise: float | Tensor) -> Tensor:
    """`-log p(z | w)` in nats, of an item that was not written yet: low for what fits the memory. `[B]`.

    Args:
        belief: Before it is written.
        w: `[B, K]`
        z: `[B, C]`
        noise: s^2.
    """
    spread = ((belief.covariance @ w.unsqueeze(-1)).squeeze(-1) * w).sum(-1) + noise
    missed = (z - read(belief, w.unsqueeze(1)).squeeze(1)).square().sum(-1)
    return 0.5 * (missed / spread + z.shape[-1] * torch.log(2 * math.pi * spread))


def _kept_positive(covariance: Tensor) -> Tensor:
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    return covariance + torch.diag_embed(diagonal.clamp_min(SMALLEST) - diagonal)


def _normal(like: Tensor, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers for each memory. `[B, *shape]`."""
    return torch.randn((len(like), *shape), dtype=like.dtype, device=like.device, generator=generator)


class KanervaMemory(nn.Module):
    """Stores a set of items as a belief, and gives back what a damaged item was, or new ones of the same kind.

        memory = KanervaMemory(width=64, slots=32)
        belief = memory.write(memory.empty(1), items)               # [1, N, 64]
        memory.read(belief, damaged)                                # denoised
        memory.read(belief, partial, known=mask)                    # completed
        memory.sample(belief, 5)

    Dynamic, unless addresses are given: an item is written where the memory, as it is, would look for it. An address
    of items that are stored nowhere yet needs rows that differ, so the prior mean is drawn at random. Both parts of the
    prior may be learned: descend `memory.loss(items)`.

    Deviations: noise and the spread of addresses are given, not learned; an address is the mean of its posterior, from
    which the paper draws. Items are their own codes here: with an encoder, write and read `encoder(x)`.

    Args:
        width: C, numbers in an item.
        slots: K, rows; about as many items can be told apart.
        noise: s, standard deviation of what an item has beyond its rows.
        address_std: Standard deviation of w before an item is seen.
        spread: Standard deviation of the prior mean's numbers, as they are drawn.

    Raises:
        ValueError: A size below 1, or a number that is not above 0.
    """

    def __init__(
        self, width: int, slots: int = 32, noise: float = 0.1, address_std: float = 1.0, spread: float = 0.1
    ) -> None:
        super().__init__()
        self.width, self.slots = whole("width", width), whole("slots", slots)
        self.noise = number("noise", noise, above=0.0) ** 2
        self.address_variance = number("address_std", address_std, above=0.0) ** 2
        self.mean = nn.Parameter(number("spread", spread, above=0.0) * torch.randn(slots, width))
        self.log_variance = nn.Parameter(torch.zeros(slots))  # of the rows

    def empty(self, batch_size: int) -> Belief:
        """The prior of so many memories."""
        whole("batch_size", batch_size)
        covariance = torch.diag(self.log_variance.exp())
        return Belief(*(part.repeat(batch_size, 1, 1) for part in (self.mean, covariance)))

    @unrounded
    def address(self, belief: Belief, items: Tensor, known: Tensor | None = None) -> Tensor:
        """Where the memory would look for items. `[B, N, C]` -> `[B, N, K]`."""
        return address(belief.mean, items, self.noise / self.address_variance, known)

    @unrounded
    def write(self, belief: Belief, items: Tensor, addresses: Tensor | None = None) -> Belief:
        """The belief after a set of items.

        Args:
            belief: Before.
            items: `[B, N, C]`
            addresses: Where; by default an item goes where the memory as it then is would look for it, one after the
                other. `[B, N, K]`

        Raises:
            ValueError: A shape is not what it must be, or a number is NaN or infinite.
        """
        self._check("items", items, self.width, belief)
        if addresses is not None:
            self._check("addresses", addresses, self.slots, belief, items.shape[1])
            return write_all(belief, addresses, items, self.noise)
        for item in items.unbind(1):
            belief = write(belief, self.address(belief, item.unsqueeze(1)).squeeze(1), item, self.noise)
        return belief

    @unrounded
    def read(
        self,
        belief: Belief,
        items: Tensor,
        known: Tensor | None = None,
        steps: int = 1,
        clean: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """What damaged or incomplete items probably were: `w` of the item, then the item of `w`, some times over.

        Once is enough where all is linear: a second projection is the first. What is known of items beyond that, `tanh`
        of bits or a decoder and encoder, is applied between two steps, and then more of them denoise further.

        Args:
            belief: What was stored.
            items: `[B, N, C]`
            known: Which of their numbers are known; only these count, at the first step. `[B, N, C]` of bool
            steps: How often.
            clean: From an item as the memory would have it to one as there can be. `[B, N, C]` -> `[B, N, C]`

        Returns:
            `[B, N, C]`

        Raises:
            ValueError: A shape is not what it must be, or a number is NaN or infinite.
        """
        self._check("items", items, self.width, belief)
        if known is not None and (known.shape != items.shape or known.dtype != torch.bool):
            raise ValueError(f"known is {known.dtype} {list(known.shape)}; it must be bool {list(items.shape)}")
        clean = nn.Identity() if clean is None else clean
        items = clean(read(belief, self.address(belief, items, known)))
        for _ in range(whole("steps", steps) - 1):
            items = clean(read(belief, self.address(belief, items)))
        return items

    @unrounded
    @torch.no_grad()
    def sample(
        self,
        belief: Belief,
        count: int,
        steps: int = 1,
        clean: Callable[[Tensor], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """New items: an address of its prior, the memory of its belief, then read as `read` does. `[B, count, C]`.

        Args:
            belief: What was stored.
            count: How many.
            steps: As `read` has it.
            clean: As `read` has it.
            generator: Of the draws.
        """
        mean, covariance = belief
        root = torch.linalg.cholesky(covariance)
        memory = mean + root @ _normal(mean, mean.shape[1:], generator)
        w = self.address_variance**0.5 * _normal(mean, (whole("count", count), self.slots), generator)
        return self.read(belief, w @ memory, steps=steps, clean=clean)

    @unrounded
    def loss(self, items: Tensor) -> Tensor:
        """Nats an item that a set costs, told one after the other: `-log p(z_t | w_t, z_<t) + |w_t|^2 / 2 s_w^2`, mean.

        Args:
            items: `[B, N, C]`

        Raises:
            ValueError: A shape is not what it must be, or a number is NaN or infinite.
        """
        belief = self.empty(max(1, len(real("items", items))))
        self._check("items", items, self.width, belief)
        total = items.new_zeros(())
        for item in items.unbind(1):
            w = self.address(belief, item.unsqueeze(1)).squeeze(1)
            told = surprise(belief, w, item, self.noise) + w.square().sum(-1) / (2 * self.address_variance)
            total = total + told.mean()
            belief = write(belief, w, item, self.noise)
        return total / items.shape[1]

    def _check(self, name: str, given: Tensor, columns: int, belief: Belief, items: int | None = None) -> None:
        batch = len(belief.mean)
        real(name, given)
        if given.dim() != 3 or given.shape[0] != batch or given.shape[2] != columns or not given.shape[1]:
            raise ValueError(f"{name} have shape {list(given.shape)}; this belief takes [{batch}, N, {columns}]")
        if items is not None and given.shape[1] != items:
            raise ValueError(f"{name} are {given.shape[1]} for {items} items; give one for each")
        if not torch.isfinite(given).all():
            raise ValueError(f"{name} hold NaN or infinity, which the memory would keep for ever")
        require_precision(name, given, belief.mean.dtype)
