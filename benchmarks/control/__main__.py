"""`python -m benchmarks.control env=cartpole agents=[nec] seeds=5 steps=20000 out=FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cli import env_options, parse, run_main
from benchmarks.control.measure import measure
from benchmarks.control.report import draw_curves, grouped, table
from benchmarks.control.runs import ControlRun, resolve
from benchmarks.runs import carry_out, file_name, rows_of, status_of


@dataclass
class ControlBench:
    """Measure how fast agents learn: same environment, same seeds, a stated budget, one JSON object a run.

    python -m benchmarks.control env=cartpole agents=[nec] seeds=5 steps=20000
    python -m benchmarks.control env=cartpole agents=[nec,nec memory.k=11 +row_learning_rate=null,sb3_dqn,sb3_ppo]

    env: a name of conf/env or a registered id; env.<key>=<value> changes a value of its YAML.
    agents: names of conf/agent, or sb3_dqn and sb3_ppo of Stable-Baselines3 (extra `compare`) with the values that
        RL Baselines3 Zoo tuned for the task, or zoo_ppo, our PPO with the same values; each may have other values
        after it, also of the environment (`nec memory.k=11 env.num_envs=1`), and may occur several times. Others of
        Stable-Baselines3's, such as sb3_recurrent_ppo, have its defaults; counts=0.1 behind one adds a bonus of
        .1 / sqrt(n) for an observation that was seen n times.
    seeds: a list, or how many; of the agent and of the environment.
    steps: environment steps a run, summed over the environments.
    test_episodes: played after training without exploration; where nothing is left to chance, one says it all.
    out: rows are appended here; runs already in it are not repeated. Curves go beside it.
    """

    env: str = "cartpole"
    env_options: dict[str, Any] = field(default_factory=dict)
    agents: list[str] = field(default_factory=lambda: ["nec"])
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    steps: int = 20_000
    test_episodes: int = 0
    out: str = "results/control.jsonl"
    workers: int = 2
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table and draw the curves of the runs asked for."""
    bench = parse(ControlBench, env_options(arguments))
    runs = resolve(bench.env, bench.env_options, bench.agents, bench.seeds, bench.steps, bench.test_episodes)
    out = Path(bench.out)
    failures = carry_out(runs, measure, out, bench.workers, bench.progress)
    _show(runs, out, bench)
    return status_of(failures)


def _show(runs: Sequence[ControlRun], out: Path, bench: ControlBench) -> None:
    rows = rows_of(runs, out)
    groups = grouped(rows)
    if not groups:
        print("No run has a score yet.")
        return
    print(table(groups))
    name = file_name(f"control_{bench.env}_{bench.steps}")
    fields = ["score", "success"] if all(row["success"] for row in rows) else ["score"]
    for shown in fields:
        title = f"{bench.env}: interquartile mean and 95 % interval"
        suffix = "" if shown == "score" else f"_{shown}"
        print(f"figure: {draw_curves(groups, out.parent / f'{name}{suffix}.png', title, shown)}")


if __name__ == "__main__":
    run_main(main)
