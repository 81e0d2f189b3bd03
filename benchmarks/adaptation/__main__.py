"""`python -m benchmarks.adaptation env=newgoal_searched agents=[retrieval,last_site] seeds=10 out=FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.adaptation.measure import measure
from benchmarks.adaptation.report import acted, draw, grouped, table
from benchmarks.adaptation.runs import ACTING, AdaptationRun, Trial, resolve
from benchmarks.cli import env_options, parse, run_main
from benchmarks.runs import carry_out, file_name, rows_of, status_of
from engram_rl.training.errors import UsageError


@dataclass
class AdaptationBench:
    """Measure adaptation without learning: train where goals shift, freeze all weights, and play new runs.

    python -m benchmarks.adaptation env=newgoal_searched agents=[retrieval,plain,gru_carried,last_site] seeds=10
    python -m benchmarks.adaptation 'agents=[retrieval, retrieval retrieval.neighbours=4, shuffled]' seeds=[0]

    env: newgoal_searched, recurringgoal_searched or contextgoal; env.<key>=<value> changes a value of its YAML.
    agents: retrieval, and with its hyper-parameters retrieval_by_context (contextgoal's cue in its keys), empty,
        shuffled, random_neighbours (retrieval broken on purpose), register (the last rewarded place instead of the
        memory), plain (no retrieval), gru, gru_carried (state carried over episodes, shown the action and reward
        before), carried core=NAME (the same with another of conf/core), gru_register (and the register beside it);
        ppo and agents of conf/agent built on it; each perhaps with values of its own after the name. Or policies that
        mark limits: oracle, last_site (tries the last site, then sweeps), known_sites, context_sites (the last of this
        context), random.
    seeds: a list, or how many; of the agent, the runs it is trained in and those it is tested in.
    steps: training steps, summed over the environments.
    trained_in: a name of conf/env to train in, as it is there, if that is not `env` with its values.
    runs, shifts, block: runs of the environment played after training, shifts in each, episodes from shift to shift.
    acting: drawn or greedy: how the actions shown in table and figure were chosen; rows hold both.
    out: rows are appended here; runs already in it are not repeated. The figure goes beside it.
    """

    env: str = "newgoal_searched"
    env_options: dict[str, Any] = field(default_factory=dict)
    agents: list[str] = field(default_factory=lambda: ["retrieval", "last_site", "oracle"])
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    steps: int = 200_000
    trained_in: str = ""
    runs: int = 24
    shifts: int = 2
    block: int = 40
    acting: str = "drawn"
    out: str = "results/adaptation.jsonl"
    workers: int = 2
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table and draw the figure of the runs asked for."""
    bench = parse(AdaptationBench, env_options(arguments))
    if bench.acting not in ACTING:
        raise UsageError(f"acting={bench.acting}: choose one of {', '.join(ACTING)}.")
    test = Trial(bench.runs, bench.shifts, bench.block)
    runs = resolve(bench.env, bench.env_options, bench.agents, bench.seeds, bench.steps, test, bench.trained_in)
    out = Path(bench.out)
    failures = carry_out(runs, measure, out, bench.workers, bench.progress)
    _show(runs, out, bench)
    return status_of(failures)


def _show(runs: Sequence[AdaptationRun], out: Path, bench: AdaptationBench) -> None:
    rows = acted(rows_of(runs, out), bench.acting)
    if not rows:
        print("No run has ended yet.")
        return
    print(table(grouped(rows)))
    elsewhere = f", trained in {bench.trained_in}" if bench.trained_in else ""
    name = file_name(f"adaptation_{bench.env}{elsewhere}_{bench.acting}")
    title = f"{bench.env}{elsewhere}: cost after a shift, weights frozen, {bench.acting} actions"
    print(f"figure: {draw(grouped(rows), out.parent / f'{name}.png', title)}")


if __name__ == "__main__":
    run_main(main)
