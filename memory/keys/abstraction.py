"""From an observation to a key: abstractions that are fixed, so that no entry ever goes stale, and a learned one.

project = RandomProjection(observation_size, 64)
memory.write(project(observations), values)

pool = RecursivePooling((8, 8))                                     # one modality per scale
memory = DifferentiableNeuralDictionary(pool.space, value_dim=1, capacity=10_000)
memory.write(pool(grids), values)
memory.lookup({"scale_2": pool(grids)["scale_2"]})                  # whatever looks the same from afar
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import UNSIGNED, real, require_held, require_ram, unknown
from engram_rl.memory.keys.identity import identify
from engram_rl.memory.keys.space import KeySpace, Modality
from engram_rl.memory.modes import in_own_mode

BLOCK = 2

LARGEST_WHOLE = 2.0**53
"""A float64 holds every integer up to here."""


class RandomProjection(nn.Module):
    """A fixed Gaussian matrix, the key of Model-Free Episodic Control (Blundell et al. 2016, arXiv 1606.04460).

    Entries are `N(0, 1 / size)`, so that squared distances between observations are kept on average, with a standard
    deviation of `sqrt(2 / size)` of themselves (Johnson and Lindenstrauss 1984).

    Args:
        observation_size: Numbers in an observation.
        size: Numbers in a key, D.
        seed: Of the matrix, which is also saved with the module.
    """

    matrix: Tensor

    def __init__(self, observation_size: int, size: int, seed: int = 0) -> None:
        super().__init__()
        if observation_size < 1 or size < 1:
            raise ValueError(f"sizes must be at least 1, got {observation_size} and {size}")
        what = f"a projection of {observation_size} numbers to keys of {size}"
        require_ram(what, 4 * observation_size * size, "lower the size of the key or of the observation")
        drawn = torch.randn(observation_size, size, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("matrix", drawn / math.sqrt(size))  # [observation_size, D]

    @in_own_mode
    def forward(self, observations: Tensor) -> Tensor:
        """`[B, ...]` with `observation_size` numbers each -> keys `[B, D]`.

        Raises:
            ValueError: Other sizes, or whole numbers that the matrix's precision would round: beyond 2**24 in float32,
                so that observations which differ would have one key.
        """
        observations = real("observations", observations)
        flat = observations.reshape(len(observations), math.prod(observations.shape[1:]))
        if flat.shape[1] != len(self.matrix):
            raise ValueError(f"observations have {flat.shape[1]} numbers each, the projection takes {len(self.matrix)}")
        _refuse_rounded(flat, self.matrix.dtype)
        return flat.to(self.matrix) @ self.matrix


def _refuse_rounded(numbers: Tensor, dtype: torch.dtype) -> None:
    """Raise if a type has no place for some of these whole numbers; numbers with fractions are rounded anyway."""
    if numbers.dtype.is_floating_point or numbers.dtype == torch.bool or not numbers.numel():
        return
    most = round(2 / torch.finfo(dtype).eps)  # up to which every whole number has a place of its own
    if torch.iinfo(numbers.dtype).max <= most:
        return
    low, high = numbers.min().item(), numbers.max().item()
    if max(-low, high) > most:
        worst = low if -low > high else high
        wider = " or call .double() on the projection," if dtype != torch.float64 else ""
        raise ValueError(
            f"observations hold {worst}, but whole numbers beyond {most} have no place of their own in {dtype}: take "
            f"off what they have in common,{wider} or divide them"
        )


class RecursivePooling:
    """One coarse-graining applied again and again: a key with one modality for each scale, from all cells to one.

    Each step turns every 2x2 block into one cell; at odd edges blocks are cut short. What is lost at a scale is lost at
    all coarser ones, so a query that gives only coarse scales finds what looks the same from afar, and
    `references=[("scale_0",), ("scale_1",), ...]` answers from the finest scale that matches. With rule "majority" a
    scale is a discrete modality, the hash of its cells, matched exactly; with "mean" or "max" it is a vector of cells
    whose squared distance is averaged over them, so that all scales weigh the same.

    Args:
        shape: Of a grid: `(H, W)`, or `(H, W, C)` for cells of several numbers, which are compared as a whole.
        rule: "majority" (of equals the first in reading order; for symbols), "mean" or "max" (per number; for images).
        scales: How many, the finest included; by default until one cell is left.
    """

    def __init__(self, shape: tuple[int, ...], rule: str = "majority", scales: int | None = None) -> None:
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ValueError(f"a grid has shape (H, W) or (H, W, C), got {shape}")
        if rule not in _RULES:
            raise unknown("pooling rule", rule, _RULES)
        most = math.ceil(math.log2(max(shape[:2]))) + 1
        if scales is not None and not 1 <= scales <= most:
            raise ValueError(f"scales is {scales}; a grid of {shape[0]} x {shape[1]} has 1 to {most}")
        self.shape, self.rule = tuple(shape), rule
        self.scales = most if scales is None else scales
        self.space = KeySpace([self._modality(scale) for scale in range(self.scales)])

    def __call__(self, grids: Tensor) -> dict[str, Tensor]:
        """Grids `[B, H, W]` or `[B, H, W, C]` -> keys by scale: codes `[B, 1]`, or cells `[B, H' W' C]`."""
        return {name: self._part(cells) for name, cells in zip(self.space.names, self.pyramid(grids), strict=True)}

    def pyramid(self, grids: Tensor) -> list[Tensor]:
        """The grids at each scale, the finest first.  `[B, H', W', C]` each."""
        if real("grids", grids).shape[1:] != self.shape:
            raise ValueError(f"grids have shape {list(grids.shape)}, expected {['batch', *self.shape]}")
        cells = grids.reshape(*grids.shape[:3], math.prod(self.shape[2:]))
        if self.rule != "majority":
            cells = _numbers(cells)
        elif cells.dtype in UNSIGNED:
            cells = cells.to(torch.int64)
        levels = [cells]
        for _ in range(self.scales - 1):
            levels.append(_RULES[self.rule](*_blocks(levels[-1])))
        return levels

    def _modality(self, scale: int) -> Modality:
        name = f"scale_{scale}"
        if self.rule == "majority":
            return Modality(name, 1, "discrete")
        height, width = (-(-side // BLOCK**scale) for side in self.shape[:2])
        size = height * width * (self.shape[2] if len(self.shape) == 3 else 1)
        return Modality(name, size, weight=1 / size)

    def _part(self, cells: Tensor) -> Tensor:
        flat = cells.flatten(1)
        if self.rule != "majority":
            return flat
        return identify(_words(flat).cpu().numpy()).unsqueeze(1).to(cells.device)


class SlowCopy(nn.Module):
    """A copy of an encoder that follows it slowly, so that keys drift slowly: `slow <- slow + rate * (fast - slow)`.

    The exponential moving average of Momentum Contrast (He et al. 2020, arXiv 1911.05722, equation 2). Keys from it
    have no gradient; buffers, such as running means, are copied as they are.

    Args:
        encoder: The encoder that is trained, observations to `[B, D]`.
        rate: Share of the way that one `update` goes, in (0, 1].
    """

    def __init__(self, encoder: nn.Module, rate: float = 0.01) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise ValueError(f"rate is {rate}; it must be above 0 and at most 1")
        self.rate = rate
        self.slow = copy.deepcopy(encoder).requires_grad_(False)
        self.slow.eval()
        self._fast = [encoder]  # in a list, so that it is not saved and trained a second time as part of this module

    @torch.no_grad()
    def forward(self, observations: Tensor) -> Tensor:
        """Keys of observations, `[B, ...]` -> `[B, D]`."""
        keys: Tensor = self.slow(observations)
        return keys

    @torch.no_grad()
    def update(self) -> None:
        """Follow the trained encoder one step."""
        for slow, fast in zip(self.slow.parameters(), self._fast[0].parameters(), strict=True):
            slow.lerp_(fast.to(slow), self.rate)
        for buffer, trained in zip(self.slow.buffers(), self._fast[0].buffers(), strict=True):
            buffer.copy_(trained)

    def train(self, mode: bool = True) -> SlowCopy:
        """The copy never trains: the same observation always has the same key until `update`."""
        super().train(mode)
        self.slow.eval()
        return self


def _numbers(cells: Tensor) -> Tensor:
    """Cells as numbers that can be averaged.

    Raises:
        ValueError: One is a whole number that would be rounded, so that different cells would look the same.
    """
    if not cells.is_floating_point():
        require_held("grids", cells, torch.get_default_dtype(), "scale them, or take them for symbols: rule='majority'")
    return cells.to(torch.get_default_dtype())


def _words(symbols: Tensor) -> Tensor:
    """One word for each symbol, the same whatever type it comes in; of no whole number its bits.  `[...]` int64."""
    if not symbols.is_floating_point():
        return symbols.to(torch.int64)
    exact = symbols.to(torch.float64)
    whole = (exact == exact.round()) & (exact.abs() <= LARGEST_WHOLE)
    return torch.where(whole, exact.masked_fill(~whole, 0).to(torch.int64), exact.view(torch.int64))


def _blocks(cells: Tensor) -> tuple[Tensor, Tensor]:
    """The 2x2 blocks of `[B, H, W, C]`, `[B, H', W', 4, C]`, and which of their cells exist, `[H', W', 4]`."""
    batch, height, width, numbers = cells.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    padded = cells.new_zeros(batch, rows * BLOCK, columns * BLOCK, numbers)
    padded[:, :height, :width] = cells
    exists = torch.zeros(rows * BLOCK, columns * BLOCK, dtype=torch.bool, device=cells.device)
    exists[:height, :width] = True
    blocks = padded.reshape(batch, rows, BLOCK, columns, BLOCK, numbers).transpose(2, 3)
    there = exists.reshape(rows, BLOCK, columns, BLOCK).transpose(1, 2)
    return blocks.reshape(batch, rows, columns, BLOCK**2, numbers), there.reshape(rows, columns, BLOCK**2)


def _majority(blocks: Tensor, exists: Tensor) -> Tensor:
    same = (blocks.unsqueeze(4) == blocks.unsqueeze(3)).all(-1)  # [B, H', W', 4, 4]
    votes = torch.where(exists, (same & exists.unsqueeze(-2)).sum(-1), -1)  # [B, H', W', 4]
    winner = votes.argmax(-1, keepdim=True)  # the first of equals
    return blocks.gather(3, winner.unsqueeze(-1).expand(*winner.shape, blocks.shape[-1])).squeeze(3)


def _mean(blocks: Tensor, exists: Tensor) -> Tensor:
    return (blocks * exists.unsqueeze(-1)).sum(3) / exists.sum(-1, keepdim=True)


def _max(blocks: Tensor, exists: Tensor) -> Tensor:
    return blocks.masked_fill(~exists.unsqueeze(-1), -math.inf).amax(3)


_RULES = {"majority": _majority, "mean": _mean, "max": _max}
