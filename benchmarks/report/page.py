"""`docs/measurements.md` and `docs/history.md`: stored result files with their commands, commits and tables."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from benchmarks.cluster.report import markdown as cluster
from benchmarks.continuous.report import markdown as continuous
from benchmarks.control.report import CAPTION as CONTROL
from benchmarks.cores.report import markdown as cores
from benchmarks.report.markers import control, exploration, partial, recurrent, shift
from benchmarks.report.stored import HISTORY, commands_of, commit_of, current_of, history_of, names
from benchmarks.runs import Row
from benchmarks.shift.report import CAPTION as SHIFT

HEAD = """\
# Measurements

Every result file in `docs/results`, the command that measured it, the commits that its rows were measured at, and its
table. `make report` writes this page, the figures that such files give, and every number between markers in the
documentation.

Every row says by which command it was measured, when, in how many seconds, on which processor, with which versions, and
at which commit of the code, and bears a seal that a change by hand breaks. A row of an agent's run also bears a
fingerprint, a digest of its first 1,000 steps; as long as the code gives the same one, the row stands. Rows that do not
stand are in the [history](history.md); `python -m benchmarks.stale` says what has to be run again.

Learning curves. {control}

Shifting targets. {shift}
"""


HISTORY_HEAD = """\
# Rows that no longer stand

Measured with code that has changed since, so that the same command gives other episodes today, or before rows said how
they came about. They are kept in `docs/results/history`, each with the reason as `left`. Where the documentation still
shows such a figure, for want of a newer one, it bears a †.

Learning curves. {control}

Shifting targets. {shift}
"""


def page() -> str:
    """What stands."""
    head = HEAD.format(control=CONTROL, shift=SHIFT)
    return "\n".join([head, *(_section(name, rows) for name in names() if (rows := current_of(name)))])


def history() -> str:
    """What no longer does."""
    head = HISTORY_HEAD.format(control=CONTROL, shift=SHIFT)
    return "\n".join([head, *(_past(name, rows) for name in names() if (rows := history_of(name)))])


def _section(name: str, rows: list[Row]) -> str:
    parts = [f"## {name}", ""]
    parts += [f"    {command}" for command in dict.fromkeys(row["command"] for row in rows)]
    commits = dict.fromkeys(f"{row['commit']} ({row['date'][:10]})" for row in rows)
    parts += ["", f"{len(rows)} rows, measured at {', '.join(commits)}.", ""]
    return "\n".join([*parts, *_tables(rows)])


def _past(name: str, rows: list[Row]) -> str:
    parts = [f"## {name}", ""]
    parts += [f"    {command}" for command in commands_of(name)]
    parts += ["", f"{len(rows)} rows, recorded in {commit_of(f'{HISTORY}/{name}')}."]
    parts += [f"- {count} left on {why}" for why, count in Counter(row["left"] for row in rows).items()]
    unmarked = [{column: value for column, value in row.items() if column != "left"} for row in rows]
    return "\n".join([*parts, "", *_tables(unmarked)])


def _tables(rows: list[Row]) -> list[str]:
    parts = []
    for title, group in _settings(rows):
        parts += [*([f"### {title}", ""] if title else []), *_table(group)]
    return parts


def _table(rows: list[Row]) -> list[str]:
    if "areas" in rows[0]:
        return [continuous(rows), ""]
    if "auc" in rows[0]:
        return [control(rows, []).replace(CONTROL, "").rstrip(), ""]
    if {"mmer", "cpu_seconds"} <= rows[0].keys():
        return [recurrent(rows, []), ""]
    if "mmer" in rows[0]:
        return [partial(rows, []), ""]
    if "exploring" in rows[0]:
        return [exploration(rows, []), ""]
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
    if "areas" in row:
        return str(row["env"])
    if "auc" in row:
        return f"{row['env']}, {row['steps']} steps"
    if "costs" not in row:
        return ""
    arguments = ", ".join(f"{name}={value}" for name, value in row["env_kwargs"].items() if value is not None)
    return f"{row['env']}, {row['episodes']} episodes{', ' if arguments else ''}{arguments}"
