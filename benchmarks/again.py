"""From a stored row back to its run: what has to be run again, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from benchmarks.code import code_of
from benchmarks.fingerprint import fingerprint_of
from benchmarks.provenance import FIELDS, complete, origin
from benchmarks.translation import row_today
from engram_rl.training.errors import UsageError

Row = Mapping[str, Any]

REPEATABLE = {
    "benchmarks.adaptation": ("benchmarks.adaptation.runs", "benchmarks.adaptation.measure"),
    "benchmarks.cores": ("benchmarks.cores.measure", "benchmarks.cores.measure"),
    "benchmarks.continuous": ("benchmarks.control.runs", "benchmarks.continuous.measure"),
    "benchmarks.control": ("benchmarks.control.runs", "benchmarks.control.measure"),
    "benchmarks.costly_room": ("benchmarks.costly_room", "benchmarks.costly_room"),
    "benchmarks.exploration": ("benchmarks.exploration.runs", "benchmarks.exploration.measure"),
    "benchmarks.partial": ("benchmarks.partial", "benchmarks.partial"),
    "benchmarks.recurrent": ("benchmarks.recurrent", "benchmarks.recurrent"),
    "benchmarks.shift": ("benchmarks.shift.specs", "benchmarks.shift.measure"),
}
"""Benchmarks whose runs begin alike: where `run_of` makes a run of a row, and `measure` a row of a run."""

ELSEWHERE = ("cpu", "versions")
"""What a fingerprint depends on beside the code."""


class Doubt(NamedTuple):
    """Why a row is not what the code of today gives.

    Attributes:
        why: In a few words.
        moves: Whether it belongs to the history; else it stands, but no release should be made on it.
    """

    why: str
    moves: bool = True


def doubt(row: Row, run: bool = True) -> Doubt | None:
    """Why a row has to be run again; None where it stands.

    Args:
        row: As it was stored.
        run: Whether to take the first steps of its run where its code has changed; else it is believed.
    """
    return _of_its_origin(row) or (_of_its_episodes(row) if run else None) or _of_its_figure(row)


def _of_its_origin(row: Row) -> Doubt | None:
    if missing := [name for name in FIELDS if name not in row]:
        return Doubt(f"does not say how it came about: no {', '.join(missing[:3])}{' ...' * (len(missing) > 3)}")
    if not complete(row):
        return Doubt("was changed after it was written")
    if row["dirty"] or not row["commit"]:
        return Doubt("was measured with code that is in no commit")
    if not row["command"].startswith("python -m benchmarks."):
        return Doubt("was measured by no command of benchmarks")
    return Doubt("was a test of the benchmark (tiny)") if row.get("tiny") else None


def _of_its_figure(row: Row) -> Doubt | None:
    missed = [name for name in ("ok", "holds") if row.get(name) is False]
    return Doubt(f"misses its limit ({missed[0]}: false)", moves=False) if missed else None


def _of_its_episodes(row: Row) -> Doubt | None:
    """Whether its run is another today: the settings, or the first steps where the code has changed."""
    benchmark = row["command"].split()[2]
    if benchmark in REPEATABLE and "fingerprint" in row:
        try:
            run = repeated(row)
        except UsageError as error:
            return Doubt(f"cannot be run today: {error}")
        if run.key != row_today(dict(row))["key"]:
            return Doubt("has other settings today")
    if code_of(tuple(row["rests_on"])) == row["code"]:
        return None
    if benchmark not in REPEATABLE or "fingerprint" not in row:
        return Doubt("is older than the code that it measures")
    if fingerprint_of(run, _measure_of(benchmark)) == row["fingerprint"]:
        return None
    now = origin()
    if others := [name for name in ELSEWHERE if now[name] != row[name]]:
        return Doubt(f"has other episodes here, where also {' and '.join(others)} are others", moves=False)
    return Doubt("has other episodes today")


def repeated(row: Row) -> Any:
    """The run of a row of agent runs, as its agent and environment are understood today.

    Raises:
        UsageError: There is no such agent, environment or setting today.
    """
    where = REPEATABLE[row["command"].split()[2]][0]
    return import_module(where).run_of(row_today(dict(row)))


def _measure_of(benchmark: str) -> Callable[[Any], Any]:
    measure: Callable[[Any], Any] = import_module(REPEATABLE[benchmark][1]).measure
    return measure
