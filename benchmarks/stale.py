"""`python -m benchmarks.stale`: which stored rows have to be run again, why, and by which commands.

For whoever makes a release: the exit status is 1 where there are any. No test asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.again import Doubt, doubt
from benchmarks.cli import parse, run_main
from benchmarks.provenance import origin
from benchmarks.report import stored
from benchmarks.runs import Row


@dataclass
class Stale:
    """Say which rows of docs/results have to be run again, and why.

    python -m benchmarks.stale
    python -m benchmarks.stale only=[control_cartpole] every=true move=true

    A row stands where it says how it came about, is as it was written, and gives today the episodes that it was
    measured on. Where the code that it rests on has not changed, nothing is run; else the first 1,000 steps of a run
    are taken again (fingerprint), of one seed for all runs of the same agent. Rows of benchmarks without episodes, such
    as times, stand while the code that they measure is the same.

    only: names of files; all by default.
    run: whether to take steps at all; without, only origins, seals and limits are looked at.
    every: take the steps of every row, not of one for each agent.
    move: move what does not stand to docs/results/history.
    """

    only: list[str] = field(default_factory=list)
    run: bool = True
    every: bool = False
    move: bool = False


@dataclass
class Found:
    """Rows of a file that are in doubt for one reason.

    Attributes:
        name: Of the file.
        what: An agent, a core or a figure.
        rows: As stored.
        doubt: Of all of them.
    """

    name: str
    what: str
    rows: list[Row]
    doubt: Doubt


def main(arguments: Sequence[str]) -> int:
    """List what is in doubt, and what in the history has no successor."""
    asked = parse(Stale, list(arguments))
    names = asked.only or stored.names()
    failing = 0
    for name in names:
        found = list(in_doubt(name, asked.run, asked.every))
        for one in found:
            print(f"{one.name}: {one.what}: {_count(one.rows)}: {one.doubt.why}")
        if asked.move and any(one.doubt.moves for one in found):
            _move(name, found)
            stored.rows_of.cache_clear()
        left = stored.without_successor(name)
        for what, rows in left.items():
            print(f"{name}: {what}: {_count(rows)} in the history only: {rows[-1]['left']}")
        if found or left:
            print("".join(f"    {command} out=docs/results/{name}.jsonl\n" for command in stored.commands_of(name)))
        stay = [one for one in found if not (asked.move and one.doubt.moves)]
        failing += sum(len(one.rows) for one in stay) + sum(map(len, left.values()))
    print(f"{failing} rows have to be run again" if failing else "Every row stands.")
    return int(failing > 0)


def in_doubt(name: str, run: bool = True, every: bool = False) -> Iterator[Found]:
    """The rows of a file that do not stand, by what they are of.

    Args:
        name: Of the file, without its ending.
        run: Whether to take the first steps of runs.
        every: Of every run, not of one for each agent.
    """
    for what, rows in stored.by_subject(stored.lines_of(name)).items():
        doubts: dict[Doubt, list[Row]] = {}
        stand_for: dict[tuple[str, ...], Doubt | None] = {}
        for row in rows:
            why = doubt(row, run=False)
            alike = (str(row.get("code")), str(row.get("steps")))
            if run and (why is None or not why.moves):
                if every or alike not in stand_for:
                    stand_for[alike] = doubt(row)
                why = stand_for[alike] or why
            if why:
                doubts.setdefault(why, []).append(row)
        yield from (Found(name, what, those, why) for why, those in doubts.items())


def _move(name: str, found: Sequence[Found]) -> None:
    """Take rows out of their file and into that of the same name in the history, with the reason."""
    reasons = {json.dumps(row): one.doubt.why for one in found if one.doubt.moves for row in one.rows}
    path, history = stored.path_of(name), stored.path_of(f"{stored.HISTORY}/{name}")
    kept, moved = [], []
    for row in stored.lines_of(name):
        line = json.dumps(row)
        if line in reasons:
            moved.append(row | {"left": f"{origin()['date'][:10]}, {reasons[line]}"})
        else:
            kept.append(row)
    _write(history, [*stored.lines_of(f"{stored.HISTORY}/{name}"), *moved])
    _write(path, kept)


def _write(path: Path, rows: Sequence[Row]) -> None:
    """A file of these rows, none where there are none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if rows:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def _count(rows: Sequence[Row]) -> str:
    return f"{len(rows)} row{'s' if len(rows) > 1 else ''}"


if __name__ == "__main__":
    run_main(main)
