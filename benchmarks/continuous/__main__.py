"""`python -m benchmarks.continuous env=pointmassshift agents=[ours,sb3_sac,sb3_td3] seeds=10 out=FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cli import env_options, parse, run_main
from benchmarks.continuous.measure import measure
from benchmarks.continuous.report import markdown
from benchmarks.control.runs import resolve
from benchmarks.runs import carry_out, rows_of, status_of

OURS = "episodic_continuous env.num_envs=1"

TUNED = {
    "pointmassshift": "discount=0.6 n_step=3 exploration=0 memory.capacity=300 memory.k=40",
    "Pendulum-v1": "n_step=10 memory.capacity=20000 memory.k=30",
    "MountainCarContinuous-v0": "discount=0.99 n_step=100 memory.capacity=20000 memory.k=30",
}
"""Of `ours`, by environment; chosen on seeds from 1000 to 1003, which no row uses."""


@dataclass
class ContinuousBench:
    """Measure what share of the possible return agents reach from the first step on, exploration included.

    python -m benchmarks.continuous
    python -m benchmarks.continuous env=Pendulum-v1 agents=[ours,sb3_sac] seeds=3

    env: a name of conf/env or a registered id; env.<key>=<value> changes a value of its YAML.
    agents: `ours`, which is episodic_continuous in one environment, as the others are, with the values of TUNED for the
        task; `defaults`, the same with its own; others of conf/agent; sb3_sac and sb3_td3 of Stable-Baselines3 (extra
        `compare`) with the values that RL Baselines3 Zoo tuned for the task. Each perhaps with values after the name.
    seeds: a list, or how many; of the agent and of the environment.
    steps: environment steps a run.
    out: rows are appended here; runs already in it are not repeated.
    """

    env: str = "pointmassshift"
    env_options: dict[str, Any] = field(default_factory=dict)
    agents: list[str] = field(default_factory=lambda: ["ours", "sb3_sac", "sb3_td3"])
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    steps: int = 20_000
    out: str = "results/continuous.jsonl"
    workers: int = 1
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table of the runs asked for."""
    bench = parse(ContinuousBench, env_options(arguments))
    agents = [_spelt_out(agent, bench.env) for agent in bench.agents]
    runs = resolve(bench.env, bench.env_options, agents, bench.seeds, bench.steps)
    out = Path(bench.out)
    failures = carry_out(runs, measure, out, bench.workers, bench.progress)
    print(markdown(rows_of(runs, out)))
    return status_of(failures)


def _spelt_out(given: str, env: str) -> str:
    """`ours` and `defaults` as what they stand for; what was given behind the name comes last."""
    name, *overrides = given.split()
    meant = {"ours": [OURS, TUNED.get(env, "")], "defaults": [OURS]}.get(name, [name])
    return " ".join(word for word in (*meant, *overrides) if word)


if __name__ == "__main__":
    run_main(main)
