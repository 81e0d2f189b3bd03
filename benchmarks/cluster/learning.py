"""Actors and a learner beside one process: whether as much is learned, what staleness there is, and actors that die."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.runs import Row
from engram_rl.training.api import Run, train
from engram_rl.training.callbacks import Moment

WAITS = "benchmarks.cluster.worlds:Waits-v0"
"""What is timed."""

ACTORS = 2

QUIET: dict[str, Any] = {
    "progress": False,
    "evaluation": {"every": 0, "episodes": 1},
    "log": {"video": False, "memory": False, "retrieved": 0},
    "checkpoint": {"every": 0},
}


def learning(agent: str, world: str, overrides: tuple[str, ...], steps: int, seeds: int, bound: float) -> Row:
    """Train in one process and with actors on the same seeds, whose worlds are the same.

    What is compared is the mean return of the episodes that ended in the second half of training. The two are called
    equal if the 90 % interval of the paired difference lies within the bound, which is two one-sided t-tests at 5 %.

    Args:
        agent: As in `conf/agent`.
        world: As in `conf/env`.
        overrides: Of both.
        steps: Of each run.
        seeds: How many.
        bound: Of the difference, in units of the return, stated before the runs.
    """
    ways: dict[str, tuple[str, ...]] = {"one": (), "actors": (f"cluster.actors={ACTORS}",)}
    returns: dict[str, list[float]] = {name: [] for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    behind = []
    for seed in range(seeds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(None):
                of_run = {**QUIET, "log.every": steps // 20, "steps": steps, "seed": seed}
                run = train(agent, world, *overrides, *way, folder=Path(scratch) / "run", **of_run)
                returns[name].append(_second_half(run, steps))
                seconds[name].append(float(run.summary["seconds"]))
                behind += [row["cluster/steps_behind"] for row in run.metrics() if "cluster/steps_behind" in row]
    difference = np.array(returns["actors"]) - np.array(returns["one"])
    low, high = interval_90(difference)
    return {
        "returns": {name: [round(one, 3) for one in each] for name, each in returns.items()},
        "run_seconds": {name: [round(one, 1) for one in each] for name, each in seconds.items()},
        "steps_behind": [int(np.median(behind)), int(np.max(behind))],
        "difference": round(float(difference.mean()), 3),
        "interval_90": [round(low, 3), round(high, 3)],
        "holds": bool(-bound < low and high < bound),
    }


def _second_half(run: Run, steps: int) -> float:
    ended = [one["return"] for one in run.episodes() if one["step"] > steps / 2]
    return float(np.mean(ended)) if ended else float("nan")


def interval_90(difference: np.ndarray) -> tuple[float, float]:
    """The 90 % interval of the mean, by Student's t; of differences that are all alike, their value."""
    spread = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    half = float(stats.t.ppf(0.95, len(difference) - 1) * spread) if spread else 0.0
    return float(difference.mean()) - half, float(difference.mean()) + half


def pace(actors: Sequence[int], num_envs: int, world: dict[str, Any], steps: int) -> Row:
    """Steps a second of PPO in environments that wait.

    Args:
        actors: How many, in each way; 0 for one process.
        num_envs: Environments of each way, which one process or an actor steps one after another.
        world: Arguments of the environment.
        steps: Of each run.
    """
    words = ("env.vectorization=sync", f"env.num_envs={num_envs}", "agent.num_steps=32", "cluster.round=32")
    given = [f"+env.kwargs.{name}={value}" for name, value in world.items()]
    rates = []
    for number in actors:
        way = [f"cluster.actors={number}"] if number else []
        with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(None):
            of_run = {**QUIET, "steps": steps, "env.id": WAITS}
            run = train("ppo", "gym", *words, *given, *way, folder=Path(scratch) / "run", **of_run)
            rates.append(steps / float(run.summary["seconds"]))
    return {
        "steps_per_second": [round(rate, 1) for rate in rates],
        "vector_step_ms": [round(1000 * num_envs / rate, 2) for rate in rates],
        "ratios": [round(rate / rates[0], 2) for rate in rates],
        "holds": None,
    }


def actors_killed(steps: int, kills: int) -> Row:
    """Kill actors at random moments of a run of NEC: what was lost, and whether it was trained to its end."""
    chance = np.random.default_rng(0)
    moments = sorted(chance.choice(np.arange(steps // 20, steps), size=kills, replace=False).tolist())
    dead: list[int] = []

    def kill(moment: Moment) -> None:
        while moments and moment.step >= moments[0]:
            moments.pop(0)
            living = [one for one in _actors() if one not in dead]
            if living:
                dead.append(int(chance.choice(living)))
                os.kill(dead[-1], signal.SIGKILL)

    words = ("env.num_envs=8", "env.vectorization=sync", f"cluster.actors={ACTORS}", "cluster.round=16")
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(None):
        of_run = {**QUIET, "log.every": 8, "steps": steps}
        run = train("nec", "cartpole", *words, folder=Path(scratch) / "run", callbacks=[kill], **of_run)
        lost = int(max(row.get("cluster/lost_episodes", 0) for row in run.metrics()))
        whole = all(one["return"] == one["length"] for one in run.episodes())
        done = run.summary["steps"] >= steps
    most = len(dead) * 8 // ACTORS
    return {
        "killed": len(dead),
        "lost_episodes": lost,
        "most_allowed": most,
        "whole": whole and done,
        "holds": len(dead) == kills and lost <= most and whole and done,
    }


def _actors() -> list[int]:
    """The processes of this machine's actors."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"ActorWorker" in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found
