"""Learning curves with intervals, drawn from the episodes that runs recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engram_rl.training.logging.logger import read_episodes
from engram_rl.training.statistics import performance_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 200
WINDOW = 20


def draw_learning_curve(runs: Sequence[Path], path: Path) -> Path:
    """Draw return against environment steps to `path` (PNG).

    One run: each episode as a dot and the mean of the last 20. Several: the interquartile mean of that over runs,
    with its 95 % interval, or of fewer than ten their range.
    """
    return draw_learning_curves({f"mean of the last {WINDOW} episodes": runs}, path)


def draw_learning_curves(groups: dict[str, Sequence[Path]], path: Path, title: str = "") -> Path:
    """Draw one curve for each group of runs, by label."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for number, (label, folders) in enumerate(groups.items()):
        _draw(axes, [_episodes(folder) for folder in folders], label, f"C{number}")
    axes.set(xlabel="environment steps", ylabel="episode return", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path)
    return path


def running_mean(returns: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Mean of the last `window` values up to each one (fewer at the start). `[N] -> [N]`."""
    sums = np.concatenate([[0.0], np.cumsum(returns)])
    ends = np.arange(1, len(returns) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def running_mean_at(grid: np.ndarray, steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """The running mean as it stood at each step of `grid`; before any episode ended, the first one's. `[P]`."""
    at = np.clip(np.searchsorted(steps, grid, side="right") - 1, 0, None)
    return running_mean(returns)[at]


def _draw(axes: Axes, runs: list[tuple[np.ndarray, np.ndarray]], label: str, color: str) -> None:
    if len(runs) == 1:
        axes.plot(*runs[0], ".", markersize=3, alpha=0.3, color=color)
    if not all(len(steps) for steps, _ in runs):
        axes.plot([], [], color=color, label=f"{label} (no episode ended)")
        return
    grid = np.linspace(0, max(steps[-1] for steps, _ in runs), POINTS)
    smooth = np.stack([running_mean_at(grid, *run) for run in runs])  # [R, P]
    if len(runs) == 1:
        axes.plot(grid, smooth[0], color=color, label=label)
        return
    curve = performance_curve(smooth)
    axes.plot(grid, curve.point, color=color, label=label)
    axes.fill_between(grid, curve.low, curve.high, alpha=0.2, color=color)


def _episodes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = read_episodes(folder)
    return np.array([row["step"] for row in rows]), np.array([row["return"] for row in rows])
