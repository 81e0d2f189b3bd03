"""`python -m benchmarks.recurrent out=FILE`: PPO with an LSTM beside sb3-contrib's RecurrentPPO with the same values.

Both have the values below and take turns, seed by seed, in the same environments on one thread. They are called equal
if the 90 % interval of the paired difference lies within `BOUND`, which is two one-sided t-tests at 5 %.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cli import parse, run_main
from benchmarks.cluster.learning import interval_90
from benchmarks.configuration import environment_config
from benchmarks.control.baselines import train_baseline
from benchmarks.control.runs import ControlRun
from benchmarks.partial import LAST, PartialRun, scores, settings_of
from benchmarks.partial import measure as measure_ours
from benchmarks.runs import Row, carry_out, rows_of, status_of
from engram_rl.training.errors import UsageError
from engram_rl.training.seeding import seed_everything, use_threads
from engram_rl.training.statistics import ENOUGH_RUNS

BOUND = 0.1
"""Of the mean difference of the last returns, in shares of what separates the worst from the best; stated first."""

RANGE = {"PositionOnlyCartPoleEasy": 1.0, "RepeatFirstEasy": 2.0, "RepeatPreviousEasy": 2.0}
"""The best return less the worst one."""

THEIRS: dict[str, Any] = {
    "n_envs": 8,
    "normalize": False,
    "n_steps": 128,
    "n_epochs": 4,
    "batch_size": 256,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "learning_rate": 1e-3,
    "clip_range": 0.2,
    "ent_coef": 0.01,
    "net_arch": [],
    "lstm_hidden_size": 64,
    "shared_lstm": True,
    "enable_critic_lstm": False,
    "optimizer_kwargs": {"eps": 1e-5},
}
"""One LSTM of 64 units for actor and critic, with no layer before or after it."""

OURS = (
    "ppo num_steps=128 epochs=4 minibatch_size=256 discount=0.99 gae_lambda=0.95 learning_rate=0.001 clip=0.2 "
    "entropy_coefficient=0.01 recurrent=64 hidden=[] show_previous=false scale_rewards=false"
)
"""The same values; what is not told is alike in both."""


@dataclass
class RecurrentBench:
    """Train both with the same values on the same seeds; a row a run.

    python -m benchmarks.recurrent seeds=10 steps=100000 out=docs/results/recurrent.jsonl

    only: of the environments with a known range of returns.
    seeds: a list, or how many; of the agent and of the environment.
    steps: environment steps a run, summed over the environments.
    """

    only: list[str] = field(default_factory=lambda: ["PositionOnlyCartPoleEasy", "RepeatFirstEasy"])
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    steps: int = 100_000
    out: str = "results/recurrent.jsonl"
    workers: int = 1
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print how they compare."""
    bench = parse(RecurrentBench, list(arguments))
    for env in bench.only:
        if env not in RANGE:
            raise UsageError(f"only={bench.only}: the range of returns is known of {', '.join(RANGE)}, not of {env!r}.")
    runs = [run for seed in bench.seeds for env in bench.only for run in both(env, seed, bench.steps)]
    failures = carry_out(runs, measure, Path(bench.out), bench.workers, bench.progress)
    print(table(rows_of(runs, Path(bench.out))))
    return status_of(failures)


def both(env: str, seed: int, steps: int) -> tuple[PartialRun, ControlRun]:
    """Ours and theirs, in the same world on the same seed."""
    environment = environment_config(f"popgym-{env}-v0", {"num_envs": THEIRS["n_envs"]})
    ours = PartialRun(env, environment, OURS, settings_of(OURS, "lstm"), seed, steps, "lstm")
    return ours, ControlRun(env, environment, "sb3_recurrent_ppo", THEIRS, seed, steps)


def run_of(row: Row) -> PartialRun | ControlRun:
    """The run of a stored row as both are built today."""
    ours, theirs = both(row["env"], row["seed"], row["steps"])
    return theirs if row["agent"] == theirs.agent else ours


def measure(run: PartialRun | ControlRun) -> Row:
    """Train one of them; processor seconds beside the wall's."""
    began = time.process_time()
    row = measure_ours(run) if isinstance(run, PartialRun) else measure_theirs(run)
    return row | {"cpu_seconds": round(time.process_time() - began, 1)}


def measure_theirs(run: ControlRun) -> Row:
    """Train RecurrentPPO once and say what it scored and cost."""
    use_threads(1)
    seed_everything(run.seed)
    began = time.perf_counter()
    record = train_baseline(run)
    seconds = time.perf_counter() - began
    return {
        "env": run.env,
        "agent": run.agent,
        "core": "lstm",
        "seed": run.seed,
        "steps": run.steps,
        **scores(record.returns, record.steps),
        "episodes": len(record.returns),
        "seconds": round(seconds, 1),
        "steps_per_second": round(run.steps / seconds, 1),
        "environment": run.environment,
        "settings": run.settings,
        "key": run.key,
    }


def table(rows: Sequence[Row]) -> str:
    """A line for each environment, as Markdown: both, their paired difference, and whether it is within the bound."""
    head = ["environment", "steps", "runs", "core=lstm", "RecurrentPPO", "difference [90 %]", "bound", "equal"]
    head += ["times as fast"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for env in dict.fromkeys(row["env"] for row in rows):
        mine, theirs = (_by_seed(rows, env, sb3) for sb3 in (False, True))
        seeds = sorted(mine.keys() & theirs.keys())
        if not seeds:
            continue
        one, other = (np.array([side[seed]["last"] for seed in seeds]) for side in (mine, theirs))
        bound = BOUND * RANGE[env]
        faster = np.median([theirs[seed]["cpu_seconds"] / mine[seed]["cpu_seconds"] for seed in seeds])
        figures = [env, mine[seeds[0]]["steps"], len(seeds), *(f"{x.mean():.3f} ({x.std():.3f})" for x in (one, other))]
        figures += [*_compared(one - other, bound), f"{faster:.2f}"]
        lines.append("| " + " | ".join(map(str, figures)) + " |")
    caption = (
        f"Mean return of the last {LAST} episodes, mean (standard deviation) over runs. Equal: whether the interval "
        f"lies within the bound; not told of fewer than {ENOUGH_RUNS} runs. As fast: the median ratio of processor "
        "time of runs on the same seed."
    )
    return "\n".join([*lines, "", caption])


def _compared(difference: np.ndarray, bound: float) -> tuple[str, str, str]:
    """The paired difference, the bound, and whether it stays within."""
    if len(difference) < ENOUGH_RUNS:
        return f"{difference.mean():+.3f}", f"{bound:g}", "-"
    low, high = interval_90(difference)
    within = "yes" if -bound < low and high < bound else "no"
    return f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]", f"{bound:g}", within


def _by_seed(rows: Sequence[Row], env: str, sb3: bool) -> dict[int, Row]:
    """Of those runs in which an episode ended."""
    ended = [row for row in rows if row["env"] == env and row["last"] is not None]
    return {row["seed"]: row for row in ended if row["agent"].startswith("sb3") == sb3}


if __name__ == "__main__":
    run_main(main)
