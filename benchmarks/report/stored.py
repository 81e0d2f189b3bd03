"""Stored result files: their rows, the commands that measured them, the commits that recorded them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from benchmarks.runs import Row
from benchmarks.translation import agent_today, command_today, row_today
from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.logging.logger import read_rows

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
INDEX = RESULTS / "index.yaml"

HISTORY = "history"
"""The folder of rows that no longer stand: of code that has changed, or of before rows said how they came about."""

MARK = "†"
"""Beside a figure of the history."""

SUBJECT = ("env", "agent", "policy", "core", "name", "task", "capacity", "phase", "budget", "what", "target", "id")
"""Columns that say what a row is of; rows that differ in others only, such as the seed, are of the same."""


@lru_cache
def rows_of(name: str) -> list[Row]:
    """The rows of a file in today's words; of what only the history knows, those of the history, with why as `left`.

    Raises:
        UsageError: There is no such file, there or in the history.
    """
    if name not in names():
        raise UsageError(f"There are no results {name!r} in {RESULTS}. {did_you_mean(name, names())}")
    left = [row for rows in without_successor(name).values() for row in rows]
    return [row_today(row) for row in [*lines_of(name), *left]]


def current_of(name: str) -> list[Row]:
    """The rows of a file that stand, in today's words."""
    return [row_today(row) for row in lines_of(name)]


def history_of(name: str) -> list[Row]:
    """The rows of the history of a file, in today's words."""
    return [row_today(row) for row in lines_of(f"{HISTORY}/{name}")]


def marked(rows: Sequence[Row]) -> list[Row]:
    """The rows, with a mark beside what is of the history."""
    return [
        {name: f"{value} {MARK}" if name in ("agent", "name") else value for name, value in row.items()}
        if "left" in row
        else row
        for row in rows
    ]


def without_successor(name: str) -> dict[str, list[Row]]:
    """Rows of the history, as stored, whose subject has no row today."""
    today = by_subject(lines_of(name))
    return {what: rows for what, rows in by_subject(lines_of(f"{HISTORY}/{name}")).items() if what not in today}


def by_subject(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by what they are of, in the order of their first rows."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        today = row_today(row)
        subject = " ".join(str(today[one]) for one in SUBJECT if today.get(one) not in (None, ""))
        groups.setdefault(subject, []).append(row)
    return groups


def lines_of(name: str) -> list[Row]:
    """The rows of a file as they were written; none where there is no such file."""
    return read_rows(path_of(name))


def path_of(name: str) -> Path:
    """Where a file lies."""
    return RESULTS / f"{name}.jsonl"


def names() -> list[str]:
    """The names of all result files, those with a history only included."""
    return sorted({path.stem for folder in (RESULTS, RESULTS / HISTORY) for path in folder.glob("*.jsonl")})


def field(row: Row, path: str) -> Any:
    """A value of a row; dots lead further in, as in `score.5000`.

    Raises:
        UsageError: The row has no such value.
    """
    value: Any = row
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            known = value if isinstance(value, dict) else {}
            raise UsageError(f"A row has no value {path!r}. {did_you_mean(key, map(str, known))}")
        value = value[key]
    return value


def select(rows: Sequence[Row], filters: dict[str, str]) -> list[Row]:
    """The rows whose values are, as text, one of those given (separated by `;`)."""
    wanted = {key: [today(key, one) for one in given.split(";")] for key, given in filters.items()}
    return [row for row in rows if all(str(field(row, key)) in values for key, values in wanted.items())]


def today(column: str, given: str) -> str:
    """A value that rows are chosen by, in the words that they are read in."""
    return agent_today(given) if column in ("agent", "policy") else given


def commands_of(name: str) -> list[str]:
    """The commands that measured a file: its rows bear them; for those of before they did, the index does."""
    borne = list(dict.fromkeys(row["command"] for row in rows_of(name) if "command" in row))
    return borne if borne and all("command" in row for row in rows_of(name)) else [*_written_down(name), *borne]


def commit_of(name: str) -> str:
    """The commit that recorded a file, with its date; what is not committed yet says so."""
    path = path_of(name)
    if _git("status", "--porcelain", "--", str(path)):
        return "not committed yet"
    return _git("log", "-1", "--format=%h (%cs)", "--", str(path)) or "unknown: no git history here"


def index() -> dict[str, Any]:
    """The index: `commands` of older files by name, `figures` by path."""
    content: dict[str, Any] = yaml.safe_load(INDEX.read_text(encoding="utf-8"))
    return content


def _written_down(name: str) -> list[str]:
    written = index()["commands"].get(name, [])
    return [command_today(one) for one in ([written] if isinstance(written, str) else written)]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
