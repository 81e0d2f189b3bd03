"""Charts of one run, as SVG: its curves, and its memory laid out flat."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engram_rl.training.legacy import metrics_today
from engram_rl.training.logging.logger import read_episodes, read_metrics
from engram_rl.training.logging.projector import KEYS, METADATA
from engram_rl.training.logging.tensorboard import LAYOUT
from engram_rl.training.reporting.series import RETURN, Series, series_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALWAYS = {"losses": ["train/.*loss.*"], "episode length": ["rollout/ep_len_mean"]}
"""Charts beside those of TensorBoard's layout."""
ACROSS = 3


def learning_curve(run: Path) -> str:
    """Every episode of training, their running mean, and the evaluations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    _, dots = episodes = _episodes(run)
    axes.plot(*episodes, ".", markersize=3, alpha=0.25, color="C0", label=f"{len(dots)} episodes")
    axes.plot(*series_of(run, RETURN), color="C0", label="mean of the last 20")
    for number, name in enumerate(_names(run, ["eval/.*mean_reward"])):
        label = name.removeprefix("eval/").removesuffix("_mean_reward")
        axes.plot(*series_of(run, name), "o-", color=f"C{number + 1}", markersize=4, label=f"evaluated {label}")
    axes.set(xlabel="environment steps", ylabel="return")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return _svg(figure)


def curves(run: Path) -> str:
    """What else the run recorded, in the charts of TensorBoard's layout; empty if it recorded nothing."""
    from matplotlib.figure import Figure

    charts = [(title, found) for title, patterns in _charts() if (found := _names(run, patterns))]
    if not charts:
        return ""
    down = -(-len(charts) // ACROSS)
    figure = Figure(figsize=(9, 2.1 * down), layout="constrained")
    panels = np.atleast_1d(figure.subplots(down, ACROSS)).ravel()
    for panel, (title, names) in zip(panels, charts, strict=False):
        _draw(panel, title, {name: series_of(run, name) for name in names})
    for panel in panels[len(charts) :]:
        panel.set_axis_off()
    return _svg(figure)


def memory(run: Path) -> tuple[str, int]:
    """The keys of what a run remembers, along the two directions in which they differ most, and how many are drawn.

    Each is coloured by its value. Empty where the run laid out no memory (`log.memory`).
    """
    from matplotlib.figure import Figure

    if not (run / KEYS).exists() or not (run / METADATA).exists():
        return "", 0
    keys = np.loadtxt(run / KEYS, delimiter="\t", ndmin=2)  # [N, D]
    columns = np.genfromtxt(run / METADATA, delimiter="\t", names=True)
    flat, share = _flattened(keys)
    figure = Figure(figsize=(9, 4), layout="constrained")
    shown = [name for name in ("value", "age", "strength") if name in (columns.dtype.names or ())][:2]
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        dots = panel.scatter(*flat.T, c=np.atleast_1d(columns[name]), s=6, cmap="viridis", linewidths=0)
        figure.colorbar(dots, ax=panel, label=name)
        panel.set(xlabel=f"{share[0]:.0%} of the spread", ylabel=f"{share[1]:.0%}", xticks=[], yticks=[])
    return _svg(figure), len(keys)


def _flattened(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two principal components `[N, 2]`, and what share of the variance each has."""
    centred = np.nan_to_num(keys - keys.mean(axis=0))
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    two = np.zeros((len(keys), 2))
    width = min(2, len(sizes))
    two[:, :width] = left[:, :width] * sizes[:width]
    share = np.append(sizes, 0.0)[:2] ** 2 / max(float((sizes**2).sum()), 1e-12)
    return two, share


def _charts() -> Iterator[tuple[str, list[str]]]:
    yield from ALWAYS.items()
    for charts in LAYOUT.values():
        for title, (_, patterns) in charts.items():
            if title != "return":  # has a chart of its own
                yield title, list(patterns)


def _names(run: Path, patterns: list[str]) -> list[str]:
    """Recorded curves whose names match."""
    names = dict.fromkeys(name for row in read_metrics(run) for name in metrics_today(row))
    return [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]


def _draw(axes: Axes, title: str, lines: dict[str, Series]) -> None:
    for name, series in lines.items():
        alone = "." if len(series[0]) == 1 else ""  # a line of one point would not be seen
        axes.plot(*series, marker=alone, linewidth=1, label=name.partition("/")[2])
    axes.set_title(title, fontsize="small")
    axes.tick_params(labelsize="x-small")
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize="x-small")


def _episodes(run: Path) -> Series:
    rows = read_episodes(run)
    return np.array([row["step"] for row in rows]), np.array([row["return"] for row in rows])


def _svg(figure: Figure) -> str:
    """The figure, the same for the same run: without the date, and with ids that are not drawn."""
    from matplotlib import rc_context

    content = io.StringIO()
    with rc_context({"svg.hashsalt": "engram"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
