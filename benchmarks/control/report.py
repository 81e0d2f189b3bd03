"""The table and the curves of rows: interquartile means over runs, with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.runs import Row
from engram_rl.training.logging.curves import WINDOW
from engram_rl.training.statistics import performance_curve, stratified_bootstrap

CAPTION = (
    f"Score: mean return of the last {WINDOW} training episodes (exploring) at a step count; AUC: its mean over all "
    "steps. Interquartile mean over runs [95 % bootstrap interval], or of fewer than ten (least to most). Costs: "
    "medians. For good: from there on never below; runs that never are count with all their steps."
)
TESTED = " Without exploring: mean return of the episodes played after training."
ENOUGH = 0.8  # share of successes that the table says the steps to
SHOWN_AT = (0.25, 0.5, 1.0)  # shares of the steps whose score the table shows
TASKS = {"first_end": "end of task 1", "later_begin": "begin of later tasks", "later_end": "end of later tasks"}

Groups = dict[str, list[Row]]


def grouped(rows: Sequence[Row]) -> Groups:
    """Rows by agent, in the order of their first rows; runs in which no episode ended have no score: left out."""
    groups: Groups = {}
    for row in rows:
        if row["auc"] is not None:
            groups.setdefault(row["agent"], []).append(row)
    return groups


def table(groups: Groups) -> str:
    """A Markdown table, best AUC first, and its caption."""
    marks = _marks(groups)
    header = ["agent", "runs", *(f"AUC to {mark}" for mark in marks[:-1]), "AUC", *(f"at {mark}" for mark in marks)]
    successes = all(row["success"] for rows in groups.values() for row in rows)
    header += [f"success at {marks[-1]}"] if successes else []
    tested = all("tested" in row for rows in groups.values() for row in rows)
    header += ["without exploring"] if tested else []
    tasks = [] if any(row["by_task"] is None for rows in groups.values() for row in rows) else list(TASKS)
    lasting = successes and not tasks
    header += [f"{ENOUGH:.0%} for good after"] if lasting else []
    header += [TASKS[task] for task in tasks]
    header += ["gradient steps", "seconds", "entries"]
    lines = [header, ["---"] * len(header)]
    for agent, rows in sorted(groups.items(), key=lambda group: -float(np.mean([row["auc"] for row in group[1]]))):
        cells = [agent, str(len(rows)), *(_estimate([_area(row, mark) for row in rows]) for mark in marks[:-1])]
        cells += [_estimate([row["auc"] for row in rows])]
        cells += [_estimate([row["score"][mark] for row in rows]) for mark in marks]
        cells += [_estimate([row["success"][marks[-1]] for row in rows])] if successes else []
        cells += [_estimate([row["tested"] for row in rows])] if tested else []
        cells += [_estimate([steps_to_success(row) for row in rows])] if lasting else []
        cells += [_estimate([row["by_task"][task] for row in rows]) for task in tasks]
        cells += [f"{np.median([row[cost] for row in rows]):.0f}" for cost in ("gradient_steps", "seconds", "entries")]
        lines.append(cells)
    caption = CAPTION + (TESTED if tested else "")
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n\n" + caption


def steps_to_success(row: Row) -> int:
    """The first step count from which on success is never again below `ENOUGH`; all steps if there is none."""
    marks, poor = list(row["success"]), [share < ENOUGH for share in row["success"].values()]
    first = len(poor) - poor[::-1].index(True) if True in poor else 0
    return int(marks[min(first, len(marks) - 1)])


def draw_curves(groups: Groups, path: Path, title: str, field: str = "score") -> Path:
    """Draw one curve an agent, with its interval, to `path` (PNG)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for number, (agent, rows) in enumerate(groups.items()):
        steps = [int(mark) for mark in rows[0][field]]
        curve = performance_curve([list(row[field].values()) for row in rows])
        axes.plot(steps, curve.point, color=f"C{number}", label=f"{agent} ({len(rows)} runs)")
        axes.fill_between(steps, curve.low, curve.high, alpha=0.2, color=f"C{number}")
    what = "return" if field == "score" else field
    axes.set(xlabel="environment steps", ylabel=f"{what}, last {WINDOW} training episodes", title=title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _marks(groups: Groups) -> list[str]:
    every = list(next(iter(groups.values()))[0]["score"])
    return [every[round(share * len(every)) - 1] for share in SHOWN_AT]


def _area(row: Row, until: str) -> float:
    """The mean score up to a step count, from what the row states; before the first, the first."""
    stated = list(row["score"])
    scores = [row["score"][mark] for mark in stated[: stated.index(until) + 1]]
    return float(np.trapezoid([scores[0], *scores])) / len(scores)


def _estimate(values: Sequence[float]) -> str:
    interval = stratified_bootstrap(values)
    digits = 2 if max(map(abs, values)) < 10 else 0
    return format(interval, f".{digits}f")
