"""One number of a run over its environment steps: the returns of its episodes, or any curve that it recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.legacy import metrics_today
from engram_rl.training.logging.curves import WINDOW, running_mean
from engram_rl.training.logging.logger import read_episodes, read_metrics

RETURN = "return"
"""The mean return of the last 20 episodes of training."""

Series = tuple[np.ndarray, np.ndarray]
"""Environment steps and values, `[N]` each."""


def series_of(run: Path, metric: str = RETURN) -> Series:
    """The curve of a run; empty where it did not record such a one."""
    if metric == RETURN:
        rows = read_episodes(run)
        returns = np.array([row["return"] for row in rows], dtype=np.float64)
        return np.array([row["step"] for row in rows]), running_mean(returns, WINDOW)
    rows = [row for row in map(metrics_today, read_metrics(run)) if metric in row]
    return np.array([row["step"] for row in rows]), np.array([row[metric] for row in rows], dtype=np.float64)


def require_metric(metric: str, runs: Sequence[Path]) -> None:
    """Raise unless one of the runs recorded such a curve."""
    known = {RETURN, *(name for run in runs for row in read_metrics(run) for name in metrics_today(row))}
    known -= {"step", "closing"}
    if metric not in known:
        raise UsageError(f"None of these runs recorded {metric!r}. {did_you_mean(metric, known)}")


def at(grid: np.ndarray, series: Series) -> np.ndarray:
    """The values as they stood at each step of `grid`; before the first, the first one. `[P]`."""
    steps, values = series
    return values[np.clip(np.searchsorted(steps, grid, side="right") - 1, 0, None)]


def area(series: Series, end: float) -> float:
    """The mean of the curve over the steps from 0 to `end`."""
    return float(at(np.linspace(0, end, 400), series).mean())
