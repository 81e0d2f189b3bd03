"""The picture of `benchmarks.performance`: where the time of a step goes, and how it grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.performance import GROWTH, PARTS, USUAL
from benchmarks.runs import Row


def draw(rows: Sequence[Row], path: Path) -> None:
    """Where the time goes, agent by agent, beside how it grows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    bars, lines = figure.subplots(1, 2, width_ratios=(1.3, 1))
    agents, left = [row for row in rows if "varied" not in row], np.zeros(0)
    for part in PARTS:
        widths = np.array([row[f"{part}_ms"] for row in agents])
        left = left if len(left) else np.zeros(len(agents))
        bars.barh(range(len(agents)), widths, left=left, label=part)
        left = left + widths
    bars.set_yticks(range(len(agents)), [row["agent"] for row in agents])
    bars.invert_yaxis()
    bars.set_xlabel(f"ms of one processor, a step of one of {USUAL['environments']} environments")
    bars.legend(frameon=False, fontsize=8)
    for name in GROWTH:
        varied = [row for row in rows if row.get("varied") == name]
        lines.plot(
            [row[name] / USUAL[name] for row in varied],
            [row["total_ms"] for row in varied],
            marker="o",
            label=f"{name}, of {USUAL[name]:,}",
        )
    lines.set_xscale("log")
    lines.set_yscale("log")
    lines.set_xlabel("times as many")
    lines.set_ylabel("NEC: ms a step")
    lines.legend(frameon=False, fontsize=8)
    for axis in (lines.xaxis, lines.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}" if axis is lines.yaxis else "")
    for axes in (bars, lines):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
