"""The figures of the documentation, drawn from stored rows as `docs/results/index.yaml` says."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.adaptation.report import acted
from benchmarks.adaptation.report import draw as draw_adaptation
from benchmarks.adaptation.report import grouped as grouped_by_agent
from benchmarks.control.report import draw_curves, grouped
from benchmarks.report.performance import draw as draw_performance
from benchmarks.report.stored import ROOT, index, rows_of, select
from benchmarks.runs import Row
from benchmarks.shift.figures import draw
from benchmarks.shift.results import entrants
from benchmarks.soak import draw as draw_soak
from benchmarks.translation import agent_today
from engram_rl.training.errors import UsageError, did_you_mean

Names = dict[str, str]
"""Of agents in a figure, by what they are called on the command line."""


def redraw(measure: bool) -> list[Path]:
    """Draw every figure of the index; those that no stored rows give are measured anew if asked for."""
    drawn = []
    for path, how in index()["figures"].items():
        if "command" in how and not measure:
            continue
        _draw(ROOT / path, dict(how))
        drawn.append(ROOT / path)
    return drawn


def _draw(path: Path, how: dict[str, Any]) -> None:
    if command := how.get("command"):
        subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=ROOT, check=True)
        return
    kind = how.pop("kind")
    if kind not in DRAWN:
        raise UsageError(f"{path} is of kind {kind!r}. {did_you_mean(kind, DRAWN)}")
    DRAWN[kind](path, **how)


def _control(path: Path, rows: str, title: str = "", names: Names | None = None, field: str = "score") -> None:
    draw_curves(_named(grouped(rows_of(rows)), names), path, title, field)


def _shift(path: Path, rows: str, name: str, shows: str = "cost", only: dict[str, str] | None = None) -> None:
    """`shows` is cost or recovery: the benchmark draws both, one is wanted here."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(entrants(select(rows_of(rows), only or {})), Path(folder), name)
        wanted = [one for one in drawn if one.stem.endswith(shows)]
        if not wanted:
            raise UsageError(f"{path}: these rows give no figure {shows!r}.")
        path.write_bytes(wanted[0].read_bytes())


def _soak(path: Path, rows: str) -> None:
    draw_soak(rows_of(rows), str(path))


def _performance(path: Path, rows: str) -> None:
    draw_performance(rows_of(rows), path)


def _adaptation(path: Path, rows: str, title: str = "", names: Names | None = None, acting: str = "drawn") -> None:
    draw_adaptation(_named(grouped_by_agent(acted(rows_of(rows), acting)), names), path, title)


def _named(groups: dict[str, list[Row]], names: Names | None) -> dict[str, list[Row]]:
    """The groups that have a name in the figure, by that name; all of them by their own where none is given."""
    return {name: groups[agent_today(agent)] for agent, name in names.items()} if names else groups


DRAWN: dict[str, Callable[..., None]] = {
    "adaptation": _adaptation,
    "control": _control,
    "performance": _performance,
    "shift": _shift,
    "soak": _soak,
}
