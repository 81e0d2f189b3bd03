"""`python -m benchmarks.costly_room out=FILE`: is the shortest way found where steps cost and the goal pays nothing?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.cli import parse, run_main
from benchmarks.configuration import agent_config
from benchmarks.fingerprint import step
from benchmarks.identity import digest
from benchmarks.runs import Row, carry_out, measured, status_of
from benchmarks.worlds.room import ID, SHORTEST
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.rollout import finished
from engram_rl.training.seeding import seed_everything, use_threads

ENVIRONMENTS, LAST = 4, 30
ENOUGH = 1.3
"""Times the shortest path."""


@dataclass
class CostlyRoomBench:
    """Do agents find the shortest way where every step costs, the goal pays nothing and episodes are cut?

    python -m benchmarks.costly_room out=results/costly_room.jsonl

    agents: names of conf/agent, with values of their own behind the name.
    seeds: a list, or how many.
    steps: of all environments together; there are four.
    out: rows are appended here; runs already in it are not repeated.
    """

    agents: list[str] = field(default_factory=lambda: ["mfec", "episodic", "retrieval_ppo_view", "fast_slow", "nec"])
    seeds: list[int] = field(default_factory=lambda: list(range(9)))
    steps: int = 8000
    out: str = "results/costly_room.jsonl"
    workers: int = 1
    progress: bool = True


@dataclass(frozen=True)
class RoomRun:
    """Everything that defines a run."""

    agent: str
    settings: dict[str, Any]
    seed: int
    steps: int

    @property
    def key(self) -> str:
        """A digest of all that defines the run."""
        return digest({"settings": self.settings, "seed": self.seed, "steps": self.steps, "room": "costly"})

    def __str__(self) -> str:
        return f"{self.agent} seed {self.seed}"


def run_of(row: Row) -> RoomRun:
    """The run of a stored row as its agent is understood today."""
    return RoomRun(row["agent"], agent_config(row["agent"]), row["seed"], row["steps"])


def measure(run: RoomRun) -> Row:
    """The lengths of the last training episodes, exploration included."""
    use_threads(1)
    seed_everything(run.seed)
    environments = build_environments(
        OmegaConf.create(
            {
                "id": ID,
                "num_envs": ENVIRONMENTS,
                "vectorization": "sync",
                "kwargs": {},
                "wrappers": [],
            }
        )
    )
    agent = build_agent(OmegaConf.create(run.settings), environments, run.seed)
    observation, _ = environments.reset(seed=run.seed)
    began, lengths = time.perf_counter(), np.empty(0)
    for _ in range(run.steps // ENVIRONMENTS):
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        agent.learn()
        lengths = np.append(lengths, finished(transition.info).lengths)
        observation = transition.reset_observation
    environments.close()
    last = float(lengths[-LAST:].mean())
    return {
        **asdict(run),
        "length": round(last, 2),
        "held": last <= ENOUGH * SHORTEST,
        "first": round(float(lengths[:LAST].mean()), 2),
        "episodes": len(lengths),
        "seconds": round(time.perf_counter() - began, 1),
        "key": run.key,
    }


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print a line for each agent."""
    bench = parse(CostlyRoomBench, list(arguments))
    runs = [RoomRun(agent, agent_config(agent), seed, bench.steps) for agent in bench.agents for seed in bench.seeds]
    failures = carry_out(runs, measure, Path(bench.out), bench.workers, bench.progress)
    print(table([row for row in measured(Path(bench.out)) if row["key"] in {run.key for run in runs}]))
    return status_of(failures)


def section(rows: Sequence[Row]) -> str:
    """A part of docs/worlds.md."""
    return f"""## Every step costs

A room of 6 by 6, from one corner to the other: -1 a step, 0 at the goal, cut after 50 steps; four environments, 8,000
steps, nine seeds. The mean length of the last {LAST} training episodes, exploration included; the shortest way has
{SHORTEST} steps.

    python -m benchmarks.costly_room out=docs/results/costly_room.jsonl

{table(rows)}
"""


def table(rows: Sequence[Row]) -> str:
    """A Markdown table: in how many seeds the last episodes were short enough, and their lengths."""
    lines = [f"| agent | within {ENOUGH} times {SHORTEST} | last {LAST} episodes, by seed |", "|---|---|---|"]
    for agent in dict.fromkeys(row["agent"] for row in rows):
        own = sorted((row for row in rows if row["agent"] == agent), key=lambda row: row["seed"])
        lengths = ", ".join(f"{row['length']:.1f}" for row in own)
        lines.append(f"| {agent} | {sum(row['held'] for row in own)} of {len(own)} | {lengths} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
