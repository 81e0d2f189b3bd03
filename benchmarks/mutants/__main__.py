"""`python -m benchmarks.mutants room=memory sample=200 seed=1 out=docs/results/mutants.jsonl`."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from tqdm import tqdm

from benchmarks.cli import parse, run_main
from benchmarks.mutants.equivalent import reasons
from benchmarks.mutants.measure import KILLED, Room, measure, set_up
from benchmarks.mutants.sites import Mutant, alike, sample
from benchmarks.provenance import recorded
from benchmarks.runs import Row, append_row, measured, read_rows
from engram_rl.training.errors import UsageError, did_you_mean

ROOT = Path(__file__).resolve().parents[2]

PAGES = (
    "tests/docs/test_docs.py::test_the_reference_is_current",
    "tests/docs/test_docs.py::test_the_table_of_errors_is_current",
)

ROOMS = {
    "memory": Room("memory", ("memory",), ("tests/memory", "tests/fuzz", *PAGES)),
    "agents": Room("agents", ("agents",), ("tests/agents", "tests/training/runs", *PAGES)),
    "training": Room("training", ("training",), ("tests/training", *PAGES)),
}
"""What is mutated, and the tests that have to notice: the room's own, and that its pages are current."""


@dataclass
class MutantsBench:
    """Random small changes of a room's code (cosmic-ray makes them): does a test notice?

    python -m benchmarks.mutants room=memory sample=200 seed=1
    python -m benchmarks.mutants room=memory again=docs/results/mutants.jsonl

    room: memory, agents or training; each is tested by its own tests.
    commit: of the code and its tests.
    sample, seed: how many mutants, and which.
    again: a file of rows; instead of a sample, its mutants of this room that survived and whose lines are still there.
    budget: seconds of tests for a mutant; the slowest that do not fit in are left out, so more survive than would.
    out: a row for each mutant; the command goes on where it was stopped.
    """

    room: str = "memory"
    commit: str = "HEAD"
    sample: int = 200
    seed: int = 1
    again: str = ""
    budget: float = math.inf
    out: str = "results/mutants.jsonl"
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Test the mutants that `out` has no row of, then say how many were killed."""
    bench = parse(MutantsBench, list(arguments))
    if bench.room not in ROOMS:
        raise UsageError(f"There is no room {bench.room!r}. {did_you_mean(bench.room, ROOMS)}")
    out = Path(bench.out)
    with set_up(ROOT, ROOMS[bench.room], ROOT / "results" / "mutants", commit=bench.commit) as ready:
        for test in ready.coverage.failed:
            print(f"fails without a mutant, so it is left out: {test}", file=sys.stderr)
        files = ready.room.files(ready.copy)
        if bench.again:
            mutants = _survivors(Path(bench.again), ready.copy, files)
        else:
            mutants = sample(ready.copy, files, bench.sample, bench.seed)
        run: dict[str, object] = {"seed": bench.seed, "sample": len(mutants), "again": bool(bench.again)}
        keys = [_key(ready.commit, run, mutant) for mutant in mutants]
        done = {row["key"] for row in measured(out)}
        for key, mutant in zip(keys, tqdm(mutants, unit="mutant", disable=not bench.progress), strict=True):
            if key not in done:
                append_row(out, recorded({"key": key, **run, **measure(ready, mutant, bench.budget)}))
    rows = [row for row in measured(out) if row["key"] in keys]
    print(said(rows))
    return 0


def said(rows: Sequence[Row]) -> str:
    """How many were killed, and the diff of each that was not and is not known to be equivalent."""
    known = reasons()
    alive = [row for row in rows if row["outcome"] not in KILLED]
    same = [row for row in alive if row["mutant"] in known]
    left = [row for row in alive if row["mutant"] not in known]
    counts = Counter(row["outcome"] for row in rows)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    lines = [f"{row['file']}:{row['line']} ({row['tests']} tests)\n{row['diff']}" for row in left]
    real = len(rows) - len(same)
    share = f"{len(rows) - len(alive)} of {real} killed" + (f" ({(real - len(left)) / real:.1%})" if real else "")
    return "\n\n".join([*lines, f"{told}. {len(same)} are equivalent: {share}."])


def _survivors(path: Path, copy: Path, files: Sequence[str]) -> list[Mutant]:
    """The mutants of rows that survived, where the code still has them."""
    alive = [row for row in read_rows(path) if row["outcome"] not in KILLED and row["file"] in files]
    found = (next(alike(copy, row["file"], row["operator"], row["diff"]), None) for row in alive)
    return [mutant for mutant in found if mutant is not None]


def _key(commit: str, run: dict[str, object], mutant: Mutant) -> str:
    return sha1(repr((commit, run, mutant.key, mutant.operator, mutant.occurrence)).encode()).hexdigest()[:12]


if __name__ == "__main__":
    run_main(main)
