"""`python -m benchmarks.worlds out=FILE [only=[tuple,masked]] [agents=[nec,ppo]]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cli import parse, run_main
from benchmarks.runs import carry_out, measured, status_of
from benchmarks.worlds.kinds import KINDS, PLAYERS
from benchmarks.worlds.measure import FAULT, WorldRun, measure
from benchmarks.worlds.report import summary
from engram_rl.training.errors import UsageError, did_you_mean


@dataclass
class WorldsBench:
    """Every kind of world x every agent: it is learned, or refused by a message, or the agent is not for it.

    python -m benchmarks.worlds out=docs/results/worlds.jsonl
    python -m benchmarks.worlds only=[tuple,masked] agents=[nec,ppo]

    only: kinds of world; all by default.
    agents: all by default.
    seed: of agents and worlds.
    steps: for all, in place of each agent's own; with a handful nothing is learned.
    seconds: after which a run is ended and counts as hung.
    out: rows are appended here; runs already in it are not repeated.
    workers: processes side by side.
    """

    only: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    seed: int = 1
    steps: int = 0
    seconds: float = 300.0
    out: str = "results/worlds.jsonl"
    workers: int = 1
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then say what came of it; the exit status is 1 if there is a fault."""
    bench = parse(WorldsBench, list(arguments))
    for what, given, valid in (("kind of world", bench.only, KINDS), ("agent", bench.agents, PLAYERS)):
        for name in given:
            if name not in valid:
                raise UsageError(f"There is no {what} {name!r}. {did_you_mean(name, valid)}")
    runs = [
        WorldRun(kind, agent, bench.seed, bench.steps or PLAYERS[agent].steps, bench.seconds)
        for agent in bench.agents or PLAYERS
        for kind in bench.only or KINDS
    ]
    failures = carry_out(runs, measure, Path(bench.out), bench.workers, bench.progress)
    asked = {run.key for run in runs}
    rows = [row for row in measured(Path(bench.out)) if row["key"] in asked]
    print(summary(rows))
    return status_of(failures) or int(any(row["outcome"] == FAULT for row in rows))


if __name__ == "__main__":
    run_main(main)
