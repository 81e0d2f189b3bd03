"""`python -m benchmarks.cluster [only=[timed,equal,killed,...]] out=FILE`; needs the extra `cluster`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cli import parse, run_main
from benchmarks.cluster.measure import ClusterRun, Way, measure
from benchmarks.cluster.report import HEAD, lines
from benchmarks.runs import Row, carry_out, read_rows, status_of
from engram_rl.training.distributed.cluster import ray
from engram_rl.training.errors import UsageError

KINDS = ("timed", "equal", "killed", "driver", "shards", "learning", "pace", "actors")
AGENTS = ("nec", "mfec", "ppo", "retrieval_ppo", "fast_slow")

TENFOLD = {"least": 0.004, "most": 0.04}
"""Seconds of a step that vary tenfold."""


EIGHT = ("env.num_envs=8", "env.vectorization=sync")
LEARNING = (
    ("ppo", "cartpole", 20_000, 50.0, *EIGHT, "agent.num_steps=64", "cluster.round=64"),
    ("ppo", "cartpole", 20_000, 50.0, *EIGHT, "agent.num_steps=64", "cluster.round=64", "cluster.staleness=0"),
    ("mfec", "cartpole", 8_000, 50.0, *EIGHT, "cluster.round=16"),
    ("nec", "cartpole", 6_000, 50.0, *EIGHT, "cluster.round=16"),
    ("episodic", "minigrid_fixed", 5_000, 0.1, *EIGHT, "cluster.round=16"),
    ("retrieval_ppo_view", "minigrid_fixed", 15_000, 0.1, *EIGHT, "agent.num_steps=64", "cluster.round=64"),
)
"""Agent, world, steps, and by how much the mean return of the second half may differ: a tenth of the largest return."""


@dataclass
class ClusterBench:
    """Time what is spread by Ray, compare it with one process, and kill parts of it.

    python -m benchmarks.cluster out=results/cluster.jsonl
    python -m benchmarks.cluster only=[equal]

    only: kinds of runs; all by default.
    workers: of the largest runs that are timed.
    seconds: that each way is timed for, each turn; ratios are medians over turns.
    turns: how often.
    tiny: a handful of steps, for a test of the benchmark itself; the figures then mean nothing.
    out: rows are appended here; runs already in it are not repeated.
    """

    only: list[str] = field(default_factory=list)
    workers: int = 16
    seconds: float = 6.0
    turns: int = 5
    tiny: bool = False
    out: str = "results/cluster.jsonl"
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table; the exit status is 1 if a run failed or a limit was missed."""
    bench = parse(ClusterBench, list(arguments))
    for name in bench.only:
        if name not in KINDS:
            raise UsageError(f"unknown kind {name!r}: choose from {', '.join(KINDS)}.")
    ray()
    runs = list(runs_of(bench))
    failures = carry_out(runs, measure, Path(bench.out), workers=1, progress=bench.progress)
    asked = {run.key for run in runs}
    rows = [row for row in read_rows(Path(bench.out)) if row["key"] in asked]
    Console(width=120).print(_table(rows))
    missed = not bench.tiny and any(row["holds"] is False for row in rows)
    return status_of(failures) or int(missed)


def runs_of(bench: ClusterBench) -> Iterator[ClusterRun]:
    """All runs of a command."""
    for kind in bench.only or KINDS:
        yield from RUNS[kind](bench)


def _timed(bench: ClusterBench) -> Iterator[ClusterRun]:
    seconds, turns, most = (0.1, 1, 2) if bench.tiny else (bench.seconds, bench.turns, bench.workers)
    one, many = Way(1, 1), Way(most, most)

    def run(name: str, ways: Sequence[Way], world: dict[str, Any], limit: float | None) -> ClusterRun:
        return ClusterRun("timed", name, tuple(ways), world, seconds=seconds, turns=turns, limit=limit)

    yield run("steps of 20 ms", [one, many], {}, 0.75 * most)
    in_turns = [many, Way(most, most, asynchronous=True)]
    yield run("steps of 4 to 40 ms, drawn", in_turns, TENFOLD, 1.5)
    yield run("environments of 4 to 40 ms", in_turns, {**TENFOLD, "drawn": False}, 1.5)
    if not bench.tiny:
        yield run("several environments a worker, 20 ms", [Way(4, 4), Way(4, 16)], {}, None)
        powers = [Way(2**power, 2**power) for power in range(most.bit_length())]
        beside = [Way(0, most, vectorization="sync"), Way(0, most, vectorization="async")]
        yield run("no waiting: what a vector step costs", [*powers, *beside], {"least": 0.0, "most": 0.0}, None)


def _equal(bench: ClusterBench) -> Iterator[ClusterRun]:
    for agent in AGENTS[:1] if bench.tiny else AGENTS:
        yield ClusterRun("equal", f"{agent} against one process", agent=agent, steps=200 if bench.tiny else 1600)


def _killed(bench: ClusterBench) -> Iterator[ClusterRun]:
    ways = (Way(2, 2),) if bench.tiny else (Way(4, 8),)
    steps, kills = (8, 1) if bench.tiny else (600, 30)
    world = {"least": 0.001, "most": 0.001}
    yield ClusterRun("killed", f"{kills} kills of workers", ways, world, steps=steps, kills=kills)


def _driver(bench: ClusterBench) -> Iterator[ClusterRun]:
    if not bench.tiny:
        yield ClusterRun("driver", "2 kills of the driver", agent="nec", steps=800, kills=2)


def _shards(bench: ClusterBench) -> Iterator[ClusterRun]:
    entries, shards, turns = (1000, (2,), 2) if bench.tiny else (1_000_000, (1, 2, 4), 4 * bench.turns)
    yield ClusterRun("shards", f"{entries:,} entries in shards", turns=turns, entries=entries, shards=shards)


def _learning(bench: ClusterBench) -> Iterator[ClusterRun]:
    for agent, world, steps, bound, *overrides in LEARNING[:1] if bench.tiny else LEARNING:
        yield ClusterRun(
            "learning",
            f"{agent} on {world}" + (", actors wait" if "cluster.staleness=0" in overrides else ""),
            agent=agent,
            world={"env": world},
            steps=256 if bench.tiny else steps,
            overrides=tuple(overrides),
            seeds=1 if bench.tiny else 10,
            bound=bound,
        )


def _pace(bench: ClusterBench) -> Iterator[ClusterRun]:
    if not bench.tiny:
        ways = [Way(0, 8, vectorization="sync"), *(Way(2**power, 8, vectorization="actors") for power in range(4))]
        world = {"least": 0.005, "most": 0.005}
        yield ClusterRun("pace", "PPO on actors, steps of 5 ms", tuple(ways), world, steps=8192)


def _actors(bench: ClusterBench) -> Iterator[ClusterRun]:
    steps, kills = (600, 1) if bench.tiny else (6000, 10)
    yield ClusterRun("actors", f"{kills} kills of actors", steps=steps, kills=kills)


RUNS = {
    "timed": _timed,
    "equal": _equal,
    "killed": _killed,
    "driver": _driver,
    "shards": _shards,
    "learning": _learning,
    "pace": _pace,
    "actors": _actors,
}


def _table(rows: Sequence[Row]) -> Table:
    table = Table()
    for name in HEAD:
        table.add_column(name)
    for line in lines(rows):
        table.add_row(*line)
    return table


if __name__ == "__main__":
    run_main(main)
