"""`python -m benchmarks.exploration env=MiniGrid-FourRooms-v0 steps=50000 [agents=[go_explore]] out=FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cli import parse, run_main
from benchmarks.exploration.measure import measure
from benchmarks.exploration.report import table
from benchmarks.exploration.runs import resolve
from benchmarks.runs import carry_out, rows_of, status_of

GO_EXPLORE = "go_explore way_back=plan repeat=0.5 explore_steps=10"
"""Values of some ten variants that were tried once each on layout 100 or 101, which no row uses."""


@dataclass
class ExplorationBench:
    """Let agents look for a reward that is hard to find, at equal steps in the same layouts; a row of JSON a run.

    python -m benchmarks.exploration env=MiniGrid-FourRooms-v0 steps=50000
    python -m benchmarks.exploration env=MiniGrid-MultiRoom-N4-S5-v1 steps=300000 'agents=[go_explore,counts_ppo]'

    env: an id of MiniGrid; all are shown the partial view and where their own steps have led.
    agents: names of conf/agent, counts_ppo or rnd_ppo (PPO that is paid for new cells, or for what a network cannot
        predict yet); each may have values of its own after it.
    seeds: a list, or how many; of the agent and of the layout, which stays the same throughout a run.
    steps: environment steps a run, summed over the environments; steps of returning count.
    num_envs: environments side by side.
    out: rows are appended here; runs already in it are not repeated.
    """

    env: str = "MiniGrid-FourRooms-v0"
    agents: list[str] = field(default_factory=lambda: [GO_EXPLORE, "counts_ppo", "rnd_ppo"])
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    steps: int = 50_000
    num_envs: int = 8
    out: str = "results/exploration.jsonl"
    workers: int = 1
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table of the runs asked for."""
    bench = parse(ExplorationBench, list(arguments))
    runs = list(resolve(bench.env, bench.agents, bench.seeds, bench.steps, bench.num_envs))
    failures = carry_out(runs, measure, Path(bench.out), bench.workers, bench.progress)
    rows = rows_of(runs, Path(bench.out))
    print(table(rows) if rows else "No run has ended yet.")
    return status_of(failures)


if __name__ == "__main__":
    run_main(main)
