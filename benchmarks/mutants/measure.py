"""One mutant: put in the place of the file, tested, and written down; and all that is needed before the first."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from benchmarks.mutants.checkout import changed, commit_of, copy_commit
from benchmarks.mutants.covered import Coverage, coverage_of
from benchmarks.mutants.running import SLOW_TO_IMPORT, Tests
from benchmarks.mutants.sites import Mutant
from benchmarks.runs import Row

KILLED = ("killed", "timed out", "crashed")
"""Outcomes that say that the tests noticed."""


@dataclass(frozen=True)
class Room:
    """What is mutated, and what has to notice.

    Attributes:
        name: As it stands in the rows.
        folders: Of code, relative to the root.
        tests: Folders or files of tests, relative to the root.
    """

    name: str
    folders: tuple[str, ...]
    tests: tuple[str, ...]

    def files(self, copy: Path) -> list[str]:
        """Its files of code, relative to the root."""
        return sorted(str(path.relative_to(copy)) for one in self.folders for path in (copy / one).rglob("*.py"))


@dataclass
class Bench:
    """A commit, copied and with its tests running.

    Attributes:
        commit: What was copied.
        copy: Its files.
        tests: The process that runs its tests.
        coverage: What they do without a mutant.
    """

    room: Room
    commit: str
    copy: Path
    tests: Tests
    coverage: Coverage


@contextmanager
def set_up(
    repository: Path, room: Room, kept: Path, preload: Sequence[str] = SLOW_TO_IMPORT, commit: str = "HEAD"
) -> Iterator[Bench]:
    """Copy what is committed, and find out which tests run which line.

    Args:
        repository: A checkout.
        room: What will be mutated.
        kept: A folder for the coverage, by commit.
        preload: Modules that the tests need and that are slow to import.
        commit: Of the code and of its tests; what is not committed is not seen.
    """
    commit = commit_of(repository, commit)
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        copy = copy_commit(repository, commit, Path(folder) / "tree")
        with Tests(copy, Path(folder) / "scratch", preload) as tests:
            tests.compile(room.tests)
            asked = hashlib.sha1(repr(room).encode()).hexdigest()[:6]
            name = f"coverage-{room.name}-{commit[:10]}-{asked}.json"
            coverage = coverage_of(tests, copy, room.folders, room.tests, kept / name)
            yield Bench(room, commit, copy, tests, coverage)


def measure(bench: Bench, mutant: Mutant, budget: float = math.inf) -> Row:
    """Whether a test notices a mutant.

    Args:
        bench: Where.
        mutant: What is changed.
        budget: Seconds of tests, as they take without a mutant; the slowest that do not fit in are left out.

    Returns:
        A row: where and what the mutant is, the `outcome`, the `test` that killed it and the `message` of that,
        how many `tests` run its line, how many of them were `left_out`, and the seconds it took.
    """
    began = time.perf_counter()
    covering = bench.coverage.of_line(bench.copy, mutant.file, mutant.line)
    tests = _within(covering, budget)
    answer = {"outcome": "passed", "killed_by": "", "message": "" if covering else "no test runs this line"}
    if tests:
        with changed(bench.copy, mutant.file, mutant.after):
            answer = bench.tests.until_one_fails(tests)
    outcomes = {"passed": "survived", "failed": "killed", "timed_out": "timed out", "crashed": "crashed"}
    return {
        "mutant": mutant.key,
        "room": bench.room.name,
        "commit": bench.commit[:12],
        "dirty": False,  # what is not committed is not seen
        "rests_on": [mutant.file],
        "file": mutant.file,
        "line": mutant.line,
        "operator": mutant.operator,
        "diff": mutant.diff,
        "outcome": outcomes[answer["outcome"]],
        "test": answer["killed_by"],
        "message": answer["message"],
        "tests": len(covering),
        "left_out": len(covering) - len(tests),
        "seconds": round(time.perf_counter() - began, 1),
    }


def _within(seconds: dict[str, float], budget: float) -> dict[str, float]:
    """The fastest tests that take no longer than that in all."""
    order = sorted(seconds, key=lambda test: (seconds[test], test))
    spent = accumulate(seconds[test] for test in order)
    return {test: seconds[test] for test, until in zip(order, spent, strict=True) if until <= budget}
