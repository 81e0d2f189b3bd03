"""Learning curves with intervals, drawn from the episodes that runs recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.logger import EPISODES, read_rows
from training.statistics import performance_curve

POINTS = 200
WINDOW = 20


def draw_learning_curve(folders: Sequence[Path], picture: Path, label: str = "") -> Path:
    """Draw return against environment steps to `picture` (PNG).

    One run: each episode as a dot and the mean of the last 20. Several: the interquartile mean of that over runs,
    with its 95 % interval.
    """
    from matplotlib.figure import Figure

    runs = [_episodes(folder) for folder in folders]
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    if len(runs) == 1:
        axes.plot(*runs[0], ".", markersize=3, alpha=0.3, color="C0", label="episode")
    if all(len(steps) for steps, _ in runs):
        grid = np.linspace(0, max(steps[-1] for steps, _ in runs), POINTS)
        smooth = np.stack([_running_mean_at(grid, *run) for run in runs])  # [R, P]
        curve = performance_curve(smooth) if len(runs) > 1 else None
        axes.plot(
            grid, smooth[0] if curve is None else curve.point, color="C0", label=label or f"mean of last {WINDOW}"
        )
        if curve is not None:
            axes.fill_between(grid, curve.low, curve.high, alpha=0.2, color="C0", label="95 % interval")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("episode return")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(picture)
    return picture


def running_mean(returns: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Mean of the last `window` values up to each one (fewer at the start). `[N] -> [N]`."""
    sums = np.concatenate([[0.0], np.cumsum(returns)])
    ends = np.arange(1, len(returns) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _episodes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = read_rows(folder / EPISODES)
    return np.array([row["step"] for row in rows]), np.array([row["return"] for row in rows])


def _running_mean_at(grid: np.ndarray, steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """The running mean as it stood at each step of `grid`; the first one before any episode ended. `[P]`."""
    at = np.clip(np.searchsorted(steps, grid, side="right") - 1, 0, None)
    return running_mean(returns)[at]
