"""Runs side by side: one picture with intervals, one table, grouped by what differs between them.

  engram compare runs/a runs/b                 two runs, or more
  engram compare latest runs/<...>_sweep       the newest run beside those of a sweep
  engram compare 'runs/*_cartpole_*'           all that match
  engram compare runs tag=baseline             those below runs/ that were trained with tags=[baseline]

  out=comparison.png       where the picture goes; the table goes beside it, as .json
  metric=return            what is drawn: the mean return of the last 20 episodes, or a curve such as
                           eval/online_mean_reward or memory/size
  tag=                     only runs with this tag

Runs that differ in nothing but the seed are one line: the interquartile mean over them and its 95 % interval, or
of fewer than ten the least and the most. A run that has not ended is drawn as far as it got.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.logging.closing import shown
from engram_rl.training.reporting.drawing import draw_comparison
from engram_rl.training.reporting.finding import find_runs
from engram_rl.training.reporting.series import RETURN, area, require_metric, series_of
from engram_rl.training.reporting.settings import Described, Group, describe, grouped
from engram_rl.training.reporting.words import HELP, read
from engram_rl.training.runs.folder import write_atomically
from engram_rl.training.statistics import Interval, limits_of, stratified_bootstrap

OPTIONS = {"out": "comparison.png", "metric": RETURN, "tag": ""}
NARROWEST = 80
"""Columns of a terminal that the table fits."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the runs of the command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or set(words) & set(HELP):
        print(__doc__)
        return 0
    places, options = read(words, OPTIONS)
    groups = compare(find_runs(places or ["runs"]), tag=options["tag"], metric=options["metric"])
    picture = draw_comparison(groups, Path(options["out"]), options["metric"])
    rows = [row_of(group) for group in groups]
    show(groups, rows)
    table = picture.with_suffix(".json")
    write_atomically(table, json.dumps({"metric": options["metric"], "groups": rows}, indent=2) + "\n")
    print(f"Picture: {picture}\nTable: {table}")
    return 0


def compare(runs: Sequence[Path], *, tag: str = "", metric: str = RETURN) -> list[Group]:
    """Runs by their settings; within an environment the best score comes first.

    Args:
        runs: Their folders.
        tag: Only runs that bear it; empty for all.
        metric: The curve that is going to be drawn.

    Raises:
        UsageError: No run bears the tag, or none has such a curve.
    """
    described = [describe(run) for run in runs]
    if tag:
        described = _tagged(described, tag)
    require_metric(metric, [run.path for run in described])
    return sorted(grouped(described), key=lambda group: (group.env, -_best(group)))


def row_of(group: Group) -> dict[str, Any]:
    """What a group came to.

    Returns:
        Its `label`, `setting`, `env`, `runs`, `seeds` and `steps`; `score` (of the last evaluation) and `area` (the
        mean of the learning curve), interquartile means over its runs, each with its `range`, and from ten runs on with
        its `interval`; or None where no run has one.
    """
    curves = [series for run in group.runs if len((series := series_of(run.path))[0])]
    areas = [area(series, series[0][-1]) for series in curves]
    return {
        "label": group.label,
        "setting": group.setting,
        "env": group.env,
        "runs": [str(run.path) for run in group.runs],
        "seeds": [run.seed for run in group.runs],
        "steps": max((int(run.summary.get("steps", 0)) for run in group.runs), default=0),
        "unfinished": sum(run.score is None for run in group.runs),
        **_estimate("score", group.scores()),
        **_estimate("area", areas),
    }


def show(groups: Sequence[Group], rows: Sequence[dict[str, Any]]) -> None:
    """Print the table, one line a group, no wider than a terminal of 80 columns."""
    envs = list(dict.fromkeys(group.env for group in groups))
    count = sum(len(group.runs) for group in groups)
    table = Table(title=f"{count} runs on {', '.join(envs)}", box=box.SIMPLE_HEAD)
    table.add_column("what differs", overflow="fold")
    for column in ("seeds", "steps", "score", "mean of the curve"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, (group, row) in enumerate(zip(groups, rows, strict=True)):
        if len(envs) > 1 and (not number or groups[number - 1].env != group.env):
            table.add_section()
            table.add_row(Text(group.env.removeprefix("engram/"), style="bold"))
        seeds = f"{len(group.runs)}" + (f" ({row['unfinished']} open)" if row["unfinished"] else "")
        numbers = [_with_interval(row, name) for name in ("score", "area")]
        table.add_row(Text(group.label), seeds, str(row["steps"] or "?"), *numbers)
    console = Console()
    console = console if console.width >= NARROWEST else Console(width=NARROWEST)
    console.print(table)
    print(
        "Interquartile means over seeds [95 % bootstrap interval] or, of fewer than ten seeds, (least to most). "
        "The score is that of each run's last evaluation."
    )


def _tagged(runs: Sequence[Described], tag: str) -> list[Described]:
    found = [run for run in runs if tag in run.tags]
    if not found:
        known = {one for run in runs for one in run.tags}
        hint = did_you_mean(tag, known) if known else "None has a tag: train with tags=[...]."
        raise UsageError(f"None of these {len(runs)} runs has the tag {tag!r}. {hint}")
    return found


def _estimate(name: str, values: Sequence[float]) -> dict[str, Any]:
    finite = [value for value in values if not np.isnan(value)]
    if not finite:
        return {name: None, f"{name}_range": None, f"{name}_interval": None}
    interval: Interval = stratified_bootstrap(finite)
    outermost = [float(min(finite)), float(max(finite))]
    return {name: float(interval.point), f"{name}_range": outermost, f"{name}_interval": limits_of(interval)}


def _with_interval(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "-"
    if row[f"{name}_interval"]:
        return "{} [{}, {}]".format(*map(shown, (row[name], *row[f"{name}_interval"])))
    least, most = row[f"{name}_range"]
    return shown(row[name]) + (f" ({shown(least)} to {shown(most)})" if most > least else "")


def _best(group: Group) -> float:
    found = _estimate("score", group.scores())["score"]
    return -np.inf if found is None else float(found)
