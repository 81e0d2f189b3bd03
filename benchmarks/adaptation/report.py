"""The table and the figure of rows: interquartile means over seeds, with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.runs import Row
from engram_rl.training.statistics import performance_curve, stratified_bootstrap

COLUMNS = {
    "first episode": lambda row: row["cost"][0],
    "found in it": lambda row: row["found_first"],
    "after the find": lambda row: row["after_find"],
    "x oracle": lambda row: after_find_ratio(row),
    "recovery": lambda row: row["recovery"],
    "recovered": lambda row: row["recovered"],
    "last 10": lambda row: float(np.mean(row["cost"][-10:])),
}
CAPTION = (
    "All weights frozen; runs not trained on; memory and recurrent state are empty when a run begins and live on "
    "over its shifts. First episode: steps in the first episode after a shift. After the find: steps in the episode "
    "after the one that found the goal anew. Recovery: episodes until three in a row cost at most 1.25 times their "
    "shortest path; blocks that never get there count in full; recovered: share of blocks that do. Interquartile mean "
    "over seeds [95 % bootstrap interval], or of fewer than ten (least to most)."
)
BY_CONTEXT = {
    "returned": lambda row: row["returned"]["steps"],
    "x oracle": lambda row: return_ratio(row),
    "found": lambda row: row["returned"]["found"],
    "stayed": lambda row: row["stayed"]["steps"],
    "searched": lambda row: row["searched"]["steps"],
    "found in it": lambda row: row["searched"]["found"],
    "overall": lambda row: row["overall"]["steps"],
}
CAPTION_BY_CONTEXT = (
    "All weights frozen; runs not trained on, under cues not seen before; memory and recurrent state are empty when a "
    "run begins. Steps of episodes whose site was found in their context since it last moved: returned, the episode "
    "before was in another context (x oracle: mean steps over mean shortest path; found: share that reached the goal); "
    "stayed, it was in this one. Searched: steps of the other episodes (found in it: share that reached the goal). "
    "Overall: steps of all episodes. Interquartile mean over seeds, 95 % bootstrap interval."
)

Groups = dict[str, list[Row]]


def after_find_ratio(row: Row) -> float:
    """What the episode after the find costs beside the shortest path; infinite if nothing was ever found."""
    return row["after_find"] / row["after_find_optimum"] if row["after_find"] is not None else float("inf")


def return_ratio(row: Row) -> float:
    """What returns to another context cost beside the shortest path; infinite if there were none."""
    returned = row["returned"]
    return returned["steps"] / returned["optimum"] if returned["episodes"] else float("inf")


def acted(rows: Sequence[Row], acting: str) -> list[Row]:
    """The rows with the measures of `drawn` or `greedy` actions as their own."""
    return [row | row[acting] for row in rows]


def grouped(rows: Sequence[Row]) -> Groups:
    """Rows by agent and by what it was trained in, in the order of their first rows."""
    groups: Groups = {}
    for row in rows:
        groups.setdefault(_label(row), []).append(row)
    return groups


def table(groups: Groups) -> str:
    """A Markdown table and its caption; of worlds with contexts one of returns to them."""
    contexts = all("returned" in row for rows in groups.values() for row in rows)
    columns, caption = (BY_CONTEXT, CAPTION_BY_CONTEXT) if contexts else (COLUMNS, CAPTION)
    ratio = return_ratio if contexts else after_find_ratio
    header = ["agent", "seeds", *columns, "within 1.25x"]
    lines = [header, ["---"] * len(header)]
    for agent, rows in groups.items():
        estimates = [_estimate([column(row) for row in rows]) for column in columns.values()]
        within = sum(ratio(row) <= 1.25 for row in rows)
        lines.append([agent, str(len(rows)), *estimates, f"{within} of {len(rows)}"])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n\n" + caption


def draw(groups: Groups, path: Path, title: str) -> Path:
    """What each episode after a shift costs, one curve an agent, the shortest path below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for number, (agent, rows) in enumerate(groups.items()):
        curve = performance_curve([row["cost"] for row in rows])
        episodes = np.arange(len(curve.point))
        axes.plot(episodes, curve.point, color=f"C{number}", label=f"{agent} ({len(rows)} seeds)")
        axes.fill_between(episodes, curve.low, curve.high, alpha=0.2, color=f"C{number}")
    optimum = np.mean([row["optimum"] for rows in groups.values() for row in rows], axis=0)
    axes.plot(optimum, color="black", linestyle="--", label="shortest path")
    axes.set(xlabel="episodes since the goal moved, unannounced", ylabel="steps", title=title, yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _label(row: Row) -> str:
    elsewhere = row.get("trained_in")
    return f"{row['agent']}, trained in {elsewhere['id'].removeprefix('engram/')}" if elsewhere else row["agent"]


def _estimate(values: Sequence[float | None]) -> str:
    known = [float("inf") if value is None else value for value in values]
    return f"{stratified_bootstrap(known):.2f}"
