"""Two agents on the same runs: what one takes more than the other, and in how many runs it takes less."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.report.stored import field
from benchmarks.runs import Row
from engram_rl.training.errors import UsageError

FEWEST = 10
"""Pairs below which no interval is given."""


def pairs(rows: Sequence[Row], path: str, one: str, other: str) -> np.ndarray:
    """A field of two agents on runs with the same seed, layout and sites. `[N, 2]`.

    Raises:
        UsageError: Fewer than `FEWEST` runs are of both.
    """
    values: dict[str, dict[tuple[int, int | None, int | None], float]] = {one: {}, other: {}}
    for row in rows:
        if row["agent"] in values:
            sites = row.get("environment", {}).get("kwargs", {}).get("sites_seed")
            values[row["agent"]][row["seed"], row.get("layout_seed"), sites] = field(row, path)
    shared = [run for run in values[one] if run in values[other]]
    if len(shared) < FEWEST:
        raise UsageError(
            f"{one} and {other} have {len(shared)} runs in common; an interval is given of {FEWEST} and more."
        )
    return np.array([[values[one][run], values[other][run]] for run in shared], dtype=np.float64)


def difference(found: np.ndarray) -> tuple[float, float, float]:
    """How much more the first is, on average, with its 95 % interval by Student's t. `[N, 2]`."""
    from scipy import stats

    more = found[:, 0] - found[:, 1]
    half = stats.t.ppf(0.975, len(more) - 1) * more.std(ddof=1) / np.sqrt(len(more))
    return float(more.mean()), float(more.mean() - half), float(more.mean() + half)


def share(count: int, of: int) -> tuple[float, float]:
    """The exact 95 % interval of a probability (Clopper and Pearson 1934)."""
    from scipy import stats

    low = stats.beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = stats.beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    return float(low), float(high)
