"""`python -m benchmarks.tuning env=hiddengoal agents=[q_lambda,r_max]`: settings chosen by one stated search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cli import env_options, parse, run_main
from benchmarks.identity import digest
from benchmarks.runs import Row, carry_out, measured, status_of
from benchmarks.shift.environment import default_episodes, resolve_environment
from benchmarks.shift.measure import measure as play
from benchmarks.shift.specs import RunSpec, run_specs
from engram_rl.training.errors import UsageError, did_you_mean

DYNA: dict[str, list[Any]] = {
    "learning_rate": [0.3, 1.0],
    "bonus": [0.0, 1e-4, 1e-3, 1e-2],
    "discount": [0.9, 0.95],
    "epsilon": [0.0, 0.05],
    "updates": [5],
}
DQN: dict[str, list[Any]] = {
    "learning_rate": [1e-4, 3e-4, 1e-3, 3e-3],
    "gamma": [0.9, 0.95, 0.99],
    "train_freq": [1, 4],
    "target_update_interval": [100, 500, 2000],
    "exploration_fraction": [0.02, 0.1, 0.3],
    "exploration_final_eps": [0.01, 0.05],
}
SPACES: dict[str, dict[str, list[Any]]] = {
    "sb3_dqn": DQN,
    "sb3_her_dqn": DQN,
    "q_lambda": {
        "learning_rate": [0.1, 0.3, 1.0],
        "trace": [0.0, 0.8, 0.95],
        "bonus": [0.0, 1e-3, 1e-2, 0.1],
        "discount": [0.9, 0.95],
        "epsilon": [0.0, 0.05, 0.1],
        "initial": [0.0, 0.5],
        "all_goals": ["true", "false"],
    },
    "dyna_q_plus": DYNA,
    "prioritised_sweeping": DYNA,
    "r_max": {
        "cells": ["true", "false"],
        "forgets": ["true", "false"],
        "optimism": [0.01, 0.1, 1.0],
        "tries": [1, 3],
    },
    "fast_slow": {
        "visit_weight": [0.3, 1.0, 3.0],
        "danger": ["true", "false"],
        "memory.capacity": [1000, 10000],
    },
}
"""By agent: what each setting may be. Trials are drawn without repetition, the first is the agent as it is."""


@dataclass
class Tuning:
    """Choose an agent's settings where targets shift: the fewest steps in all over runs that no claim uses.

    python -m benchmarks.tuning env=shiftwall agents=[q_lambda,r_max] layout_seeds=[1000,1001,1002] seeds=[200]
    python -m benchmarks.tuning env=hiddengoal agents=[q_lambda,r_max,fast_slow] seeds=[200,201,202]

    env, seeds, layout_seeds, episodes: as for `benchmarks.shift`; each trial plays all of seeds and layouts.
    agents: names of SPACES.
    trials: settings tried for each agent, drawn from its space.
    out: one row a trial; those already in it are not repeated.
    """

    env: str = "hiddengoal"
    env_options: dict[str, Any] = field(default_factory=dict)
    agents: list[str] = field(default_factory=lambda: list(SPACES))
    seeds: list[int] = field(default_factory=lambda: [200, 201, 202])
    layout_seeds: list[int] = field(default_factory=list)
    trials: int = 12
    episodes: int | None = None
    out: str = "results/tuning.jsonl"
    workers: int = 1
    progress: bool = True


@dataclass(frozen=True)
class Trial:
    """Some settings of an agent on all tuning runs.

    Attributes:
        name: The agent's, without settings.
        specs: One run a seed and layout.
    """

    name: str
    specs: tuple[RunSpec, ...]

    @property
    def key(self) -> str:
        """A digest of the runs."""
        return digest({"tuning": [spec.key for spec in self.specs]})

    def __str__(self) -> str:
        return f"{self.specs[0].agent} ({self.specs[0].env})"


def measure(trial: Trial) -> Row:
    """Play all runs of a trial."""
    rows = [play(spec) for spec in trial.specs]
    first = trial.specs[0]
    return {
        "env": first.env,
        "what": trial.name,
        "agent": first.agent,
        "seeds": [spec.seed for spec in trial.specs],
        "layout_seeds": [spec.layout_seed for spec in trial.specs],
        "episodes": first.episodes,
        "mean_steps": round(float(np.mean([row["steps"] for row in rows])), 1),
        "steps_of_each": [row["steps"] for row in rows],
        "key": trial.key,
    }


def drawn(name: str, trials: int) -> list[str]:
    """An agent as it is, then with settings of its space, none twice; the same whoever asks.

    Raises:
        UsageError: The agent has no space here.
    """
    if name not in SPACES:
        raise UsageError(f"There is no space of settings for {name!r}. {did_you_mean(name, SPACES)}")
    every = [" ".join(f"{key}={value}" for key, value in zip(SPACES[name], one, strict=True)) for one in _all_of(name)]
    order = np.random.default_rng(0).permutation(len(every))[: trials - 1]
    return [name, *(f"{name} {every[at]}" for at in order)]


def main(arguments: Sequence[str]) -> int:
    """Try what is missing, then print all trials, the best first."""
    bench = parse(Tuning, env_options(arguments))
    environment = resolve_environment(bench.env, bench.env_options)
    episodes = bench.episodes or default_episodes(environment)
    layouts: list[int | None] = [*bench.layout_seeds] or [None]
    trials = [
        Trial(name, tuple(run_specs(bench.env, environment, [given], bench.seeds, layouts, "own", episodes)))
        for name in bench.agents
        for given in drawn(name, bench.trials)
    ]
    failures = carry_out(trials, measure, Path(bench.out), bench.workers, bench.progress)
    asked = {trial.key for trial in trials}
    print(table([row for row in measured(Path(bench.out)) if row["key"] in asked]))
    return status_of(failures)


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of trials, the agents in turn, the fewest steps first."""
    lines = ["| environment | settings | mean steps |", "| --- | --- | --- |"]
    ranked = sorted(rows, key=lambda row: (row["env"], row["what"], row["mean_steps"]))
    return "\n".join([*lines, *(f"| {row['env']} | {row['agent']} | {row['mean_steps']:.0f} |" for row in ranked)])


def _all_of(name: str) -> list[tuple[Any, ...]]:
    return list(product(*SPACES[name].values()))


if __name__ == "__main__":
    run_main(main)
