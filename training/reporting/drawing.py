"""The picture of a comparison: a panel for each environment, a curve with its interval for each group of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from engram_rl.training.errors import UsageError
from engram_rl.training.reporting.series import RETURN, at, series_of
from engram_rl.training.reporting.settings import Group
from engram_rl.training.statistics import performance_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 200
ENDINGS = (".png", ".svg", ".pdf")
STYLES = ("-", "--", ":", "-.")
"""Of lines, in turn once the ten colours have been used."""


def draw_comparison(groups: Sequence[Group], path: Path, metric: str = RETURN) -> Path:
    """Draw the curves of groups of runs.

    One run is a line. Several are the interquartile mean over runs with its 95 % interval, or of fewer than ten their
    range, as far as all of them got, and each run as a thin line.

    Args:
        groups: Each gets a colour.
        path: An image; its folder is made.
        metric: See `engram_rl.training.reporting.series`.

    Raises:
        UsageError: The path does not end as an image.
    """
    from matplotlib.figure import Figure

    if path.suffix not in ENDINGS:
        raise UsageError(f"out={path} is no image; let it end with {', '.join(ENDINGS)}.")
    envs = list(dict.fromkeys(group.env for group in groups))
    figure = Figure(figsize=(7.5, 0.6 + 3.6 * len(envs)), dpi=120, layout="constrained")
    for panel, env in zip(np.atleast_1d(figure.subplots(len(envs), 1)), envs, strict=True):
        for number, group in enumerate(group for group in groups if group.env == env):
            _draw(panel, group, metric, f"C{number % 10}", STYLES[number // 10 % len(STYLES)])
        ylabel = "return, last 20 episodes" if metric == RETURN else metric
        panel.set(xlabel="environment steps", ylabel=ylabel, title=as_it_is(env))
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _draw(axes: Axes, group: Group, metric: str, color: str, style: str) -> None:
    curves = [series for run in group.runs if len((series := series_of(run.path, metric))[0])]
    label = as_it_is(fill(group.label, 44)) + (f" ({len(curves)} seeds)" if len(group.runs) > 1 else "")
    if not curves:
        axes.plot([], [], color=color, linestyle=style, label=f"{label} (nothing recorded)")
        return
    if len(curves) == 1:
        axes.plot(*curves[0], color=color, linestyle=style, label=label, drawstyle="steps-post")
        return
    for steps, values in curves:
        axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.35, drawstyle="steps-post")
    grid = np.linspace(0, min(steps[-1] for steps, _ in curves), POINTS)
    curve = performance_curve(np.stack([at(grid, series) for series in curves]))  # of [R, P]
    axes.plot(grid, curve.point, color=color, linestyle=style, label=label)
    axes.fill_between(grid, curve.low, curve.high, alpha=0.2, color=color, linewidth=0)


def as_it_is(words: str) -> str:
    """Words for matplotlib, which takes dollars for formulas and leaves what begins with _ out of a legend."""
    shown = words.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
