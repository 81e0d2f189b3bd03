"""The table of rows: interquartile means over runs, with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.exploration.measure import LAST, MARKS
from benchmarks.runs import Row
from engram_rl.training.statistics import stratified_bootstrap

CAPTION = (
    f"Found: runs in which a training episode succeeded. First success: environment steps by then; runs without one "
    f"count with all their steps. Area: share of {MARKS} tests along the run that succeeded, one episode each without "
    f"exploring; solved: runs whose last test did, and its mean return; exploring: success of the last {LAST} training "
    "episodes. Interquartile means over runs [95 % bootstrap interval], or of fewer than ten (least to most)."
)
HEAD = ["environment", "steps", "agent", "runs", "found", "first success", "area", "solved", "return", "exploring"]


def table(rows: Sequence[Row]) -> str:
    """A line for each environment, number of steps and agent, as Markdown, and its caption."""
    lines = [[*HEAD, "steps/s"], ["---"] * (len(HEAD) + 1)]
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["env"], row["steps"], row["agent"]), []).append(row)
    for (env, steps, agent), same in groups.items():
        first = [steps if row["first"] is None else row["first"] for row in same]
        found = sum(row["first"] is not None for row in same)
        lines.append(
            [
                env,
                str(steps),
                agent,
                str(len(same)),
                f"{found} of {len(same)}",
                format(stratified_bootstrap(first), ".0f"),
                format(stratified_bootstrap([row["area"] for row in same]), ".2f"),
                f"{sum(row['tested'] for row in same):.0f} of {len(same)}",
                f"{np.mean([row['tested_return'] for row in same]):.2f}",
                format(stratified_bootstrap([row["exploring"] for row in same]), ".2f"),
                f"{np.median([row['steps_per_second'] for row in same]):.0f}",
            ]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n\n" + CAPTION
