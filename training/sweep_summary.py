"""What the runs of a sweep came to: settings best first, each over its seeds.

engram sweep-summary                          the newest sweep below runs/
engram sweep-summary sweep=runs/<...>_sweep   another
"""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engram_rl.training.errors import UsageError
from engram_rl.training.logging.tensorboard import flat
from engram_rl.training.runs.folder import RunFolder, runs_below, write_atomically
from engram_rl.training.statistics import limits_of, stratified_bootstrap

SUMMARY = "sweep.json"

SWEEP = re.compile(r"_sweep(?:_(\d+))?$")
"""How a sweep's folder ends; those of one second are counted."""


def _score(run: Path) -> float | None:
    """The score of a run; None for one that has not come to an end, or to no number."""
    score = RunFolder(run).summary().get("score")
    return None if score is None or isnan(score) else float(score)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the settings of a sweep, best first, each over its seeds; keep them as JSON."""
    folder = find(_asked(sys.argv[1:] if arguments is None else arguments))
    groups, unfinished = summarise(folder)
    _show(folder, groups)
    if unfinished:
        print(f"{unfinished} runs have not ended; go on with each: engram train resume=RUN_FOLDER")
    write_atomically(folder / SUMMARY, json.dumps({"settings": groups, "unfinished": unfinished}, indent=2) + "\n")
    print(f"Written to {folder / SUMMARY}")
    return 0


def _asked(arguments: Sequence[str]) -> str:
    """Which sweep the command line names."""
    parser = ArgumentParser("engram sweep-summary", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("sweep", nargs="?", default="sweep=latest", metavar="sweep=FOLDER", help="latest by default")
    key, equals, folder = parser.parse_args(arguments).sweep.partition("=")
    if not equals or key != "sweep":
        raise UsageError(f"{key} is no argument here; give the folder of a sweep as sweep=FOLDER.")
    return folder


def find(given: str) -> Path:
    """The folder of a sweep; `latest` is the newest below `runs/`.

    Raises:
        UsageError: There is none.
    """
    if given != "latest":
        if not Path(given).is_dir():
            raise UsageError(f"{given} does not exist. Give a sweep's folder, such as runs/2026-01-31_12-00-00_sweep.")
        return Path(given)
    found = sorted((path for path in Path("runs").glob("*_sweep*") if SWEEP.search(path.name)), key=_begun)
    if not found:
        raise UsageError("There is no sweep below runs/. Make one first: engram train -m seed=1,2,3")
    return found[-1]


def _begun(folder: Path) -> tuple[str, int]:
    """The second of its name, and which of that second it is."""
    second, _, number = folder.name.partition("_sweep")
    return second, int(number.lstrip("_") or 1)


def summarise(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """The settings that differ between the runs, best first, with the interquartile mean of their scores over seeds.

    Returns:
        For each setting what differs, its seeds, scores, their interquartile mean, their range and from ten runs on the
        95 % interval of the mean; and how many runs have no score yet.

    Raises:
        UsageError: No run has one.
    """
    runs = runs_below(folder)
    done = [run for run in runs if _score(run) is not None]
    if not done:
        raise UsageError(f"{folder} holds no run that has ended: there is no summary.json in it.")
    settings = _settings([RunFolder(run) for run in done])
    scores = [float(found) for found in (_score(run) for run in done) if found is not None]
    differing = _differing(settings)
    groups: dict[str, dict[str, Any]] = {}
    for setting, score in zip(settings, scores, strict=True):
        chosen = {key: setting.get(key) for key in differing}
        group = groups.setdefault(json.dumps(chosen), {"setting": chosen, "seeds": [], "scores": []})
        group["seeds"].append(setting["seed"])
        group["scores"].append(score)
    for group in groups.values():
        interval = stratified_bootstrap(group["scores"])
        group |= {
            "score": float(interval.point),
            "range": [min(group["scores"]), max(group["scores"])],
            "interval": limits_of(interval),
        }
    ordered = sorted(groups.values(), key=lambda group: group["score"], reverse=True)
    return ordered, len(runs) - len(done)


def _settings(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """What each run was given, its seed besides; the whole configuration where that was not kept."""
    given = [run.overrides() for run in runs]
    if any(one is None for one in given):
        return [flat(run.config()) for run in runs]
    return [(one or {}) | {"seed": run.config().seed} for one, run in zip(given, runs, strict=True)]


def _differing(settings: list[dict[str, Any]]) -> list[str]:
    """The keys, besides the seed, whose values are not the same in all settings."""
    keys = dict.fromkeys(key for setting in settings for key in setting if key != "seed")
    return [key for key in keys if len({repr(setting.get(key)) for setting in settings}) > 1]


def _show(folder: Path, groups: list[dict[str, Any]]) -> None:
    table = Table(title=Text(f"{folder}: interquartile mean of the scores over seeds"))
    differing = list(groups[0]["setting"])
    for column in (*differing, "runs", "score", "least to most", "95 % interval"):
        table.add_column(Text(column))
    for group in groups:
        values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in group["setting"].values()]
        numbers = f"{group['score']:.4g}", *(_between(group[limits]) for limits in ("range", "interval"))
        table.add_row(*map(Text, values), str(len(group["scores"])), *numbers)
    Console(width=max(120, Console().width)).print(table)


def _between(limits: list[float] | None) -> str:
    return f"{limits[0]:.4g} to {limits[1]:.4g}" if limits else "-"
