"""`python -m benchmarks.long_episodes out=FILE`: whether holding an episode costs each of its steps the same.

Two episodes, the second ten times as long, through `MonteCarloReturns` as MFEC uses it: every step is pushed, and
before each is asked how often which action was taken in that very situation; at the end all returns are worked out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cli import parse, run_main, write_lines
from engram_rl.agents.episodic_control.returns import MonteCarloReturns

MOST = 1.3
"""Times what a step of the shorter episode costs; 1 is linear, 10 quadratic."""

ACTIONS = 4


@dataclass
class LongEpisodes:
    """Processor time of a step of episodes, the longer against the shorter.

    python -m benchmarks.long_episodes out=docs/results/long_episodes.jsonl

    steps: of the longer; the other has a tenth of them.
    environments: side by side, whose episodes are equally long.
    """

    steps: int = 100_000
    environments: int = 4
    out: str = "results/long_episodes.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Time both, print them and write the row."""
    bench = parse(LongEpisodes, list(arguments))
    microseconds_a_step(bench.steps // 10, bench.environments)  # to warm up
    short, long = (microseconds_a_step(steps, bench.environments) for steps in (bench.steps // 10, bench.steps))
    row = {
        "what": "MonteCarloReturns",
        "steps": bench.steps,
        "environments": bench.environments,
        "us_a_step": round(long, 3),
        "us_a_step_of_a_tenth": round(short, 3),
        "times": round(long / short, 3),
        "limit": f"<= {MOST}",
        "holds": long / short <= MOST,
    }
    print(row)
    write_lines(Path(bench.out), [row])
    return 0


def microseconds_a_step(steps: int, environments: int) -> float:
    """Of the processor, for a step of one environment in an episode of so many, its end included."""
    returns, nothing = MonteCarloReturns(0.99, environments), np.zeros(environments)
    draw = np.random.default_rng(0)
    place = draw.normal(size=(environments, 2)).astype(np.float32)
    identity = draw.integers(2**62, size=(steps, environments))
    actions = draw.integers(ACTIONS, size=(steps, environments))
    began = time.process_time()
    for t in range(steps):
        returns.tries(identity[t], ACTIONS)
        done = np.full(environments, t == steps - 1)
        ended = returns.push({"place": place, "identity": identity[t]}, actions[t], nothing, done, nothing)
    taken = time.process_time() - began
    if len(ended.target) != steps * environments:
        raise RuntimeError(f"{len(ended.target)} steps came back of {steps * environments}.")
    return 1e6 * taken / (steps * environments)


if __name__ == "__main__":
    run_main(main)
