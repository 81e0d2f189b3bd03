"""`docs/measurements.md`: every stored result file with its command, its commit, and its table where it has one."""

from __future__ import annotations

from itertools import groupby

from benchmarks.cluster.report import markdown as cluster
from benchmarks.control.report import CAPTION as CONTROL
from benchmarks.cores.report import markdown as cores
from benchmarks.report.markers import control, partial, shift
from benchmarks.report.stored import commands_of, commit_of, names, rows_of
from benchmarks.runs import Row
from benchmarks.shift.report import CAPTION as SHIFT

HEAD = """\
# Measurements

Every result file in `docs/results`, the command that measured it, the commit that recorded it, and its table. `make
report` writes this page, the figures that such files give, and every number between markers in the documentation.

Learning curves. {control}

Shifting targets. {shift}
"""


def page() -> str:
    """The whole page."""
    head = HEAD.format(control=CONTROL, shift=SHIFT)
    return "\n".join([head, *(_section(name) for name in names())])


def _section(name: str) -> str:
    rows = rows_of(name)
    parts = [f"## {name}", ""]
    parts += [f"    {command}" for command in commands_of(name)]
    parts += ["", f"{len(rows)} rows, recorded in {commit_of(name)}.", ""]
    for title, group in _settings(rows):
        parts += [*([f"### {title}", ""] if title else []), *_table(group)]
    return "\n".join(parts)


def _table(rows: list[Row]) -> list[str]:
    if "auc" in rows[0]:
        return [control(rows, []).replace(CONTROL, "").rstrip(), ""]
    if "mmer" in rows[0]:
        return [partial(rows, []), ""]
    if {"costs", "optimum"} <= rows[0].keys():
        return [shift(rows, []).replace(f"{SHIFT}\n\n", "").replace(SHIFT, "").rstrip(), ""]
    if "ways" in rows[0]:
        return [cluster(rows), ""]
    if "core" in rows[0]:
        return [cores(rows), ""]
    return []


def _settings(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """The rows by what was played: environment, its arguments and how long."""
    parts = [(key, list(group)) for key, group in groupby(sorted(rows, key=_setting), _setting)]
    return parts if len(parts) > 1 else [("", rows)]


def _setting(row: Row) -> str:
    if "auc" in row:
        return f"{row['env']}, {row['steps']} steps"
    if "costs" not in row:
        return ""
    arguments = ", ".join(f"{name}={value}" for name, value in row["env_kwargs"].items() if value is not None)
    return f"{row['env']}, {row['episodes']} episodes{', ' if arguments else ''}{arguments}"
