"""Fitting lists to the keys there are, a piece at a time, so that nobody waits for the whole of it."""

from __future__ import annotations

from collections.abc import Callable, Generator

import faiss
import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.indexes.exact import products_early
from engram_rl.memory.indexes.lists import BITS, BY_ITSELF, FITTED_TO, LEVELS, PackedLists, View

FIRST = 8192
"""Rows from which middle and spread are taken."""

ROUNDS, ROUNDS_AGAIN = 5, 2
"""Steps of k-means: from nothing, and from centres that were fitted before."""

TOLD = 0.95
"""Share of their variance that keys show along the main axes, by which they are put into lists."""

FEWEST = 8
"""Main axes, at least, where there are so many."""

PARTS = 8
"""Numbers of keys whose codes are learnt in one go."""

FAINT = 1e-4
"""Share of the spread of all keys by which codes tell them apart even where those they are learnt from are equal."""

Rows = Callable[[np.ndarray], Tensor]
"""The weighted keys of these slots.  `[n]` -> `[n, D]`"""


def fitted(
    rows: Rows, sample: np.ndarray, lists: int, capacity: int, piece: int, before: PackedLists | None = None
) -> Generator[None, None, PackedLists]:
    """Empty lists that suit the keys of a sample of slots.

    Args:
        rows: Gives keys.
        sample: Slots, drawn at random. `[n]`
        lists: How many.
        capacity: Slots, N.
        piece: Rows to look at before each yield.
        before: The lists so far, from whose centres the new ones start.
    """
    learnt_from = rows(
        sample[:FITTED_TO]
    )  # taken once, as entries change until the codes of their residuals are learnt
    first = rows(sample[:FIRST]).to(torch.float64)
    middle = first.mean(0)
    spread = float((first - middle).square().sum(1).mean().sqrt()) or 1.0
    main = main_axes((first - middle) / spread).to(torch.float32)  # [D, P]
    middle = middle.to(torch.float32)
    points = torch.empty(len(sample), main.shape[1], dtype=torch.float32)
    for start in range(0, len(sample), 4 * piece):
        some = slice(start, start + 4 * piece)
        points[some] = (rows(sample[some]) - middle) @ (main / spread)
        yield
    if before is None or len(before.centres) != lists:
        centres, turns = np.resize(points.numpy(), (lists, points.shape[1])), ROUNDS
    else:
        known = before.view.unseen(torch.from_numpy(before.centres))
        centres, turns = ((known - middle) @ (main / spread)).numpy(), ROUNDS_AGAIN
    for turn in range(turns):
        centres = yield from _fitted_better(centres, points.numpy(), piece, turn)
    seen = (learnt_from - middle) / spread
    there = torch.from_numpy(centres[nearest_centre((seen @ main).numpy(), centres)])
    yield
    residuals = seen - there @ main.T
    noise = torch.Generator().manual_seed(0)
    residuals += FAINT * torch.randn(residuals.shape, generator=noise, dtype=torch.float32)
    axes = coding_axes(residuals)
    turned = (residuals @ axes).numpy()
    levels = yield from _levels(turned)
    return PackedLists(View(middle, spread, main, axes), centres, turned, levels, capacity)


def _levels(residuals: np.ndarray) -> Generator[None, None, np.ndarray]:
    """What codes stand for, part by part, by k-means.  `[n, D']` -> `[parts, LEVELS, D' / parts]`."""
    size = residuals.shape[1]
    width = 1 if size <= BY_ITSELF else 2
    learnt_from = np.resize(residuals, (max(len(residuals), LEVELS), size))
    levels = []
    for start in range(0, size, width):
        part = faiss.ProductQuantizer(width, 1, BITS)
        part.cp.min_points_per_centroid = 1
        part.train(np.ascontiguousarray(learnt_from[:, start : start + width]))
        levels.append(faiss.vector_to_array(part.centroids).reshape(LEVELS, width))
        if start % PARTS == 0:
            yield
    return np.stack(levels)


def _fitted_better(centres: np.ndarray, keys: np.ndarray, piece: int, turn: int) -> Generator[None, None, np.ndarray]:
    """A step of k-means; centres that nobody is near to go to keys drawn at random.  `[L, D]`."""
    sums = torch.zeros(centres.shape, dtype=torch.float32)
    counts = torch.zeros(len(centres), dtype=torch.float32)
    for start in range(0, len(keys), piece):
        some = keys[start : start + piece]
        nearest = torch.from_numpy(nearest_centre(some, centres))
        sums.index_add_(0, nearest, torch.from_numpy(some))
        counts += torch.bincount(nearest, minlength=len(counts))
        yield
    better = (sums / counts.clamp(min=1).unsqueeze(1)).numpy()
    empty = (counts == 0).numpy()
    better[empty] = np.random.default_rng(turn).choice(keys, int(empty.sum()))
    return better


def nearest_centre(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Which of the centres is nearest to each row.  `[n, D]`, `[L, D]` -> `[n]`."""
    with products_early():
        return faiss.knn(rows, centres, 1)[1][:, 0]


def main_axes(keys: Tensor) -> Tensor:
    """The axes along which keys vary most, so many that they tell nearly all.  `[n, D]`, centred -> `[D, P]`."""
    variances, axes = torch.linalg.eigh(keys.T @ keys / len(keys))  # the narrowest first
    untold = variances.clamp(min=0).cumsum(0)
    few = int((untold <= (1 - TOLD) * untold[-1]).sum())
    return axes[:, min(few, max(0, len(axes) - FEWEST)) :]


def coding_axes(residuals: Tensor) -> Tensor:
    """Axes along which residuals vary independently, the widest beside the narrowest (Ge et al. 2013).

    Numbers that share a code should vary as much together as those of any other.

    Args:
        residuals: `[n, D]`

    Returns:
        Orthonormal rows; one column of zeros more where an odd number of them is paired. `[D, D']`
    """
    exact = residuals.to(torch.float64)
    axes = torch.linalg.eigh(exact.T @ exact)[1]  # columns, the narrowest first
    if axes.shape[1] > BY_ITSELF:
        axes = torch.nn.functional.pad(axes, (axes.shape[1] % 2, 0))
        half = axes.shape[1] // 2
        axes = torch.stack([axes[:, :half], axes[:, half:].flip(1)], 2).reshape(len(axes), -1)
    return axes.to(torch.float32)
