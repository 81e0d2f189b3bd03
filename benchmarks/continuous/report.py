"""The table of rows: shares of the possible return by budget, over runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.runs import Row
from engram_rl.training.statistics import stratified_bootstrap

CAPTION = (
    "Share of the possible return: the mean over the first steps of (return - random) / (oracle - random), each step "
    "having the return of its episode, exploration included. Interquartile mean over runs [95 % bootstrap interval], "
    "or of fewer than ten (least to most). Seconds: median."
)


def markdown(rows: Sequence[Row]) -> str:
    """A line for each agent, and the caption; runs in which no episode ended are left out."""
    rows = [row for row in rows if row["areas"]]
    if not rows:
        return "No run has a score yet."
    budgets = sorted({budget for row in rows for budget in row["areas"]}, key=int)
    lines = [["agent", "runs", *(f"first {int(budget):,} steps" for budget in budgets), "seconds"]]
    lines.append(["---"] * len(lines[0]))
    for agent in dict.fromkeys(row["agent"] for row in rows):
        own = [row for row in rows if row["agent"] == agent]
        shares = [estimate([row["areas"][budget] for row in own if budget in row["areas"]]) for budget in budgets]
        lines.append([agent, str(len(own)), *shares, f"{np.median([row['seconds'] for row in own]):.0f}"])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + f"\n\n{CAPTION}"


def estimate(shares: Sequence[float]) -> str:
    """The interquartile mean with its interval, of few runs their range, of none a dash."""
    return format(stratified_bootstrap(shares), ".3f") if shares else "-"
