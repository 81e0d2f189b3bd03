"""How far apart stored keys typically are: sums that follow every key that comes, moves or goes."""

from __future__ import annotations

import torch
from torch import Tensor

from engram_rl.memory.keys.space import KeySpace

CANCELLED = 1e-8
"""Share of the largest sum of squares below which too few of its digits are left: it is summed up anew."""

SAME = 1e-28
"""Share of the mean's square below which a variance is nothing but its rounding."""


class Spread:
    """Mean and variance of the vectors that are stored now, column by column, in double precision.

    Batches are taken in and out by the rule of Chan et al. 1979. An outlier that goes takes the digits of the others
    with it; `lost_digits` says so, and the sums have to be begun anew from what is stored.

    Attributes:
        count: Entries that have the column. `[D]`
        mean: Of these. `[D]`
        squares: Sum of squared differences from the mean. `[D]`
    """

    def __init__(self, space: KeySpace, dtype: torch.dtype, device: torch.device) -> None:
        self.space = space
        self._dtype, self._device = dtype, device
        self._typical: Tensor | None = None
        self.clear()

    def clear(self) -> None:
        """Of no entries."""
        size = self.space.vector_size
        self.count, self.mean, self.squares, self._largest = (
            torch.zeros(size, dtype=torch.float64, device=self._device) for _ in range(4)
        )
        self._typical = None

    def add(self, vectors: Tensor, has: Tensor) -> None:
        """Take in keys `[n, D]` where they are present, `[n, D]` bool; absent numbers are 0."""
        n, mean, squares = _sums(vectors, has)
        total = (self.count + n).clamp(min=1)
        shift = mean - self.mean
        self.squares = self.squares + squares + shift.square() * self.count * n / total
        self.mean = self.mean + shift * n / total
        self.count = self.count + n
        self._largest = torch.maximum(self._largest, self.squares)
        self._typical = None

    def remove(self, vectors: Tensor, has: Tensor) -> None:
        """Leave out keys that were taken in."""
        n, mean, squares = _sums(vectors, has)
        left = self.count - n
        mean_left = torch.where(left > 0, self.mean + (self.mean - mean) * n / left.clamp(min=1), 0)
        both = (mean - mean_left).square() * left * n / self.count.clamp(min=1)
        self.squares = torch.where(left > 0, (self.squares - squares - both).clamp(min=0), 0)
        self.mean, self.count = mean_left, left
        self._typical = None

    def lost_digits(self) -> bool:
        """Whether the sums have to be begun anew."""
        return bool(((self.squares < CANCELLED * self._largest) & (self.count > 0)).any())

    def variance(self) -> Tensor:
        """`[D]`, 0 where all are equal."""
        variance = self.squares / self.count.clamp(min=1)
        return torch.where(variance > SAME * self.mean.square(), variance, 0)

    def typical(self) -> Tensor:
        """The penalties that modalities state; else the mean squared distance of two entries drawn from those stored.

        Where that says nothing yet, since there is one entry or all are equal, what it would be of entries as far from
        the origin on either side; 1 at the origin, and for codes. `[M]`; computed once for what is stored.
        """
        if self._typical is None:
            self._typical = self._computed()
        return self._typical

    def state_dict(self) -> dict[str, Tensor]:
        """The sums."""
        return {"count": self.count.clone(), "mean": self.mean.clone(), "squares": self.squares.clone()}

    def adopt(self, state: dict[str, Tensor]) -> None:
        """Take saved sums in place of these if they are the same but for rounding: then all goes on to the bit."""
        count, mean, squares = (state[name].to(self.count) for name in ("count", "mean", "squares"))
        scale = self.mean.abs() + self.variance().sqrt()
        same = torch.equal(count, self.count) and bool(((mean - self.mean).abs() <= 1e-9 * scale).all())
        if same and torch.allclose(squares, self.squares, rtol=1e-6, atol=0):
            self.mean, self.squares = mean, squares
            self._typical = None

    def _computed(self) -> Tensor:
        variance = self.variance()
        typical = torch.ones(len(self.space), dtype=torch.float64, device=self._device)
        for m, part in enumerate(self.space):
            if part.penalty is not None:
                typical[m] = part.penalty
            elif part.kind != "discrete":
                columns = self.space.columns[part.name]
                for known in (variance[columns].sum(), self.mean[columns].square().sum()):
                    if known > 0:
                        typical[m] = 2 * known
                        break
        return typical.to(self._dtype)


def _sums(vectors: Tensor, has: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number, mean, and sum of squared differences from it.  `[D]` each."""
    batch = vectors.to(torch.float64)
    n = has.sum(0).to(torch.float64)
    mean = batch.sum(0) / n.clamp(min=1)
    return n, mean, ((batch - mean).square() * has).sum(0)
