"""`python -m benchmarks.cores [only=[copy,speed]] [cores=[dnc,ntm]] [seeds=3] out=FILE`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cli import parse, run_main
from benchmarks.cores.measure import CoreRun, measure
from benchmarks.cores.references import REFERENCES
from benchmarks.cores.report import HEAD, lines
from benchmarks.cores.tasks import CLAIMS, LIMITS, SPEED, TASKS
from benchmarks.cores.trials import TRIAL_CLAIMS, TRIALS, TRIED
from benchmarks.runs import Row, carry_out, measured, status_of
from engram_rl.memory.cores import CORES, WRAPPERS
from engram_rl.training.errors import UsageError


@dataclass
class CoresBench:
    """Train each memory core on the tasks that it claims, and time it; a row of JSON for each core, task and seed.

    python -m benchmarks.cores seeds=3 out=results/cores.jsonl
    python -m benchmarks.cores only=[recall_first,speed] cores=[delta,ffm]

    only: tasks; all by default, trials of memories and of learning too. `speed` is milliseconds a step, on one thread.
    cores: names of memory cores, on each of the tasks whether they claim it or not; by default those that claim it.
    seeds: a list, or how many; of the weights and the episodes.
    tiny: a handful of updates, for a test of the benchmark itself; the figures then mean nothing.
    out: rows are appended here; runs already in it are not repeated.
    workers: processes side by side; with more than one, times are those of a machine that is shared.
    """

    only: list[str] = field(default_factory=list)
    cores: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: list(range(3)))
    tiny: bool = False
    out: str = "results/cores.jsonl"
    workers: int = 1
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table of the runs asked for."""
    bench = parse(CoresBench, list(arguments))
    for what, given, valid in (
        ("task", bench.only, [*TASKS, SPEED, *TRIALS]),
        ("core", bench.cores, [*CORES, *WRAPPERS, *TRIED, *REFERENCES]),
    ):
        for name in given:
            if name not in valid:
                raise UsageError(f"unknown {what} {name!r}: choose from {', '.join(valid)}.")
    runs = list(_runs(bench))
    failures = carry_out(runs, measure, Path(bench.out), bench.workers, bench.progress)
    asked = {run.key for run in runs}
    rows = [row for row in measured(Path(bench.out)) if row["key"] in asked]
    Console(width=120).print(_table(rows))
    return status_of(failures)


def _runs(bench: CoresBench) -> Iterator[CoreRun]:
    for task in bench.only or [*TASKS, SPEED, *TRIALS]:
        if task in TRIALS:
            yield from _trials(bench, task)
            continue
        claims = CLAIMS[task]
        for core in (name for name in bench.cores or claims if name not in TRIED):
            limit = LIMITS.get((task, core), TASKS[task].limit if task in TASKS else "")
            for seed in bench.seeds[:1] if task == SPEED else bench.seeds:
                yield CoreRun(core, task, seed, claims.get(core, {}), limit, bench.tiny)


def _trials(bench: CoresBench, task: str) -> Iterator[CoreRun]:
    """A trial, which only those that have it in `TRIAL_CLAIMS` can be put to."""
    for memory, limit in TRIAL_CLAIMS[task].items():
        if not bench.cores or memory in bench.cores:
            for seed in bench.seeds:
                yield CoreRun(memory, task, seed, {}, limit, bench.tiny)


def _table(rows: Sequence[Row]) -> Table:
    table = Table()
    for number, name in enumerate(HEAD):
        table.add_column(name, no_wrap=number < 2)  # the task and the core
    for line in lines(rows):
        table.add_row(*line)
    return table


if __name__ == "__main__":
    run_main(main)
