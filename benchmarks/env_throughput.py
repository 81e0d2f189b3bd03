"""`python -m benchmarks.env_throughput out=FILE`: environment steps a second, vectorised and one at a time.

Every figure is the best of several repeats with random actions, on one core; rewards, infos, autoresets and new layouts
are all part of a step.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from benchmarks.cli import parse, write_lines
from engram_rl import envs


@dataclass
class ThroughputBench:
    """Time every environment of the suite.

    num_envs: environments stepped at once.
    steps: vector steps that a repeat takes.
    repeats: of which the fastest counts.
    single_steps: steps that the single environment takes, for comparison.
    out: the figures as JSON lines.
    """

    num_envs: int = 1024
    steps: int = 300
    repeats: int = 5
    single_steps: int = 3000
    out: str = "results/env_throughput.jsonl"


VARIANTS: dict[str, list[dict[str, Any]]] = {
    "ShiftWall": [{}, {"n": 40}, {"layout_seed": 0}],
    "ScatterShift": [{}, {"schedule": "each"}, {"schedule": "each", "n": 20}],
}
GRIDS = ("ShiftWall", "ScatterShift", "HiddenGoal", "RecurringGoal", "NewGoal", "DriftGoal")


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every environment with its variants."""
    return ((name, options) for name in envs.SUITE for options in VARIANTS.get(name, [{}]))


def vector_rate(name: str, options: dict[str, Any], bench: ThroughputBench) -> tuple[float, float]:
    """Environment steps a second of the vector environment, and the seconds of its longest step."""
    environments = gymnasium.make_vec(
        f"engram/{name}-v0", bench.num_envs, vectorization_mode="vector_entry_point", **options
    )
    environments.reset(seed=0)
    choices = environments.single_action_space.n  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(choices, size=(bench.steps, bench.num_envs))

    def repeat() -> list[float]:
        return [_seconds(lambda action=action: environments.step(action)) for action in actions]  # type: ignore[misc]

    repeats = np.array([repeat() for _ in range(bench.repeats)])  # [repeats, steps]
    best = repeats[repeats.sum(axis=1).argmin()]
    return actions.size / best.sum(), best.max()


def single_rate(name: str, options: dict[str, Any], bench: ThroughputBench) -> float:
    """Environment steps a second of one environment, in a Python loop."""
    environment = gymnasium.make(f"engram/{name}-v0", disable_env_checker=True, **options)
    environment.reset(seed=0)
    choices = environment.action_space.n  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(choices, size=bench.single_steps)

    def repeat() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = environment.step(action)
            if terminated or truncated:
                environment.reset()

    return len(actions) / min(_seconds(repeat) for _ in range(bench.repeats))


def _seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of this process, which has one thread: what other processes take of the core is not counted."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    """Time, print and write every case; 1 if a grid family is below a million steps a second."""
    bench = parse(ThroughputBench)
    rows: list[dict[str, Any]] = []
    print(f"{'':34} {'environment steps a second':>33}  {'longest of all':>14}")
    print(f"{'environment':34} {f'{bench.num_envs} at once':>16} {'one at a time':>16}  {'vector steps':>14}")
    for name, options in cases():
        (together, longest), alone = vector_rate(name, options, bench), single_rate(name, options, bench)
        label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        print(f"{label:34} {together:16,.0f} {alone:16,.0f} {1000 * longest:12.1f} ms", flush=True)
        rows.append(
            {
                "env": f"engram/{name}-v0",
                "options": options,
                "num_envs": bench.num_envs,
                "steps_per_second": round(together),
                "longest_step_ms": round(1000 * longest, 2),
                "single_steps_per_second": round(alone),
                "grid": name in GRIDS,
            }
        )
    write_lines(bench.out, rows)
    slowest = min(row["steps_per_second"] for row in rows if row["grid"])
    print(f"slowest grid family: {slowest:,} steps a second: {bench.out}")
    return int(slowest < 1_000_000)


if __name__ == "__main__":
    sys.exit(main())
