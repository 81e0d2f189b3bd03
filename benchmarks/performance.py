"""`python -m benchmarks.performance [only=[parts,growth]] out=FILE`: where a step's time goes, and how it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from omegaconf import OmegaConf
from tqdm import tqdm

from benchmarks.cli import parse, run_main, write_lines
from benchmarks.configuration import environment_config
from benchmarks.control.runs import resolve_agent
from benchmarks.runs import Row
from benchmarks.throughput import fill
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.rollout import step
from engram_rl.training.seeding import seed_everything, use_threads

NUMBERS = "benchmarks.performance:Numbers-v0"
SHOWN = 8
PARTS = ("act", "environment", "observe", "learn")
AGENTS = (
    "nec",
    "mfec",
    "episodic",
    "fast_slow",
    "ppo",
    "ppo_gru",
    "retrieval_ppo",
    "retrieval_ppo_view",
    "self_imitation_ppo",
)
USUAL = {"entries": 10_000, "environments": 4, "neighbours": 50, "actions": 4}
GROWTH: dict[str, tuple[int, ...]] = {
    "entries": (1_000, 10_000, 100_000),
    "environments": (1, 4, 16),
    "neighbours": (1, 11, 50, 200),
    "actions": (2, 4, 18),
}
"""What is varied, one at a time, the others being as usual."""


@dataclass
class Performance:
    """Processor time of a step: its parts for each agent, and NEC's by entries, environments, neighbours and actions.

    python -m benchmarks.performance out=docs/results/performance.jsonl

    only: parts, growth; both by default.
    agents: of parts; all by default.
    steps: environment steps that are timed, after as many that are not.
    """

    only: list[str] = field(default_factory=lambda: ["parts", "growth"])
    agents: list[str] = field(default_factory=lambda: list(AGENTS))
    steps: int = 2048
    out: str = "results/performance.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Time everything, print it and write the rows."""
    bench = parse(Performance, list(arguments))
    for name in bench.only:
        if name not in MEASURED:
            raise UsageError(f"There is nothing {name!r} to time. {did_you_mean(name, MEASURED)}")
    use_threads(1)
    rows = [row for name in bench.only for row in MEASURED[name](bench)]
    for row in rows:
        told = "  ".join(f"{part} {row[f'{part}_ms']:.3f}" for part in PARTS)
        print(f"{row['what']:<28} {row['total_ms']:8.3f} ms a step   {told}")
    write_lines(Path(bench.out), rows)
    return 0


def parts(bench: Performance) -> Iterator[Row]:
    """Each agent at its defaults, in a world of eight numbers and four actions."""
    for agent in tqdm(bench.agents, desc="agents", leave=False):
        yield {"what": agent, "agent": agent} | _timed(agent, USUAL["actions"], USUAL["environments"], bench.steps)


def growth(bench: Performance) -> Iterator[Row]:
    """NEC with its memories full, one thing varied at a time."""
    for name, values in GROWTH.items():
        for value in tqdm(values, desc=name, leave=False):
            of = USUAL | {name: value}
            agent = f"nec memory.capacity={of['entries']} memory.k={of['neighbours']} learn_after=0 n_step=10"
            taken = _timed(agent, of["actions"], of["environments"], bench.steps, of["entries"])
            yield {"what": f"{name} {value:,}", "varied": name, **of} | taken


def _timed(agent: str, actions: int, environments: int, steps: int, entries: int | None = None) -> dict[str, float]:
    """Milliseconds of processor time an environment step, in all and by part."""
    seed_everything(0)
    world = environment_config(NUMBERS, {"num_envs": environments}) | {"kwargs": {"actions": actions}}
    worlds = build_environments(OmegaConf.create(world))
    built: Any = build_agent(OmegaConf.create(resolve_agent(agent, NUMBERS)), worlds, seed=0)
    if entries is not None:
        fill(built, entries)
    clock, observation = _Clock(), worlds.reset(seed=0)[0]
    for turn in range(2 * steps // environments):
        if turn == steps // environments:
            clock = _Clock()
        with clock.timed("act"):
            action = built.act(observation)
        with clock.timed("environment"):
            transition = step(worlds, observation, action)
        with clock.timed("observe"):
            built.observe(transition)
        with clock.timed("learn"):
            built.learn()
        observation = transition.reset_observation
    worlds.close()
    taken = {f"{part}_ms": round(1e3 * clock.seconds[part] / steps, 5) for part in PARTS}
    return {**taken, "total_ms": round(sum(taken.values()), 5), "steps": steps, "environments": environments}


class _Clock:
    """Adds up processor time by part."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """What is done within counts to that part."""
        began = time.process_time()
        yield
        self.seconds[part] += time.process_time() - began


class Numbers(gym.Env[Any, Any]):
    """Eight numbers that wander at next to no cost; one action is paid, and after 50 steps it is over."""

    def __init__(self, actions: int = 4) -> None:
        self.observation_space = spaces.Box(-10, 10, (SHOWN,), np.float32)
        self.action_space = spaces.Discrete(actions)
        self._at, self._steps = np.zeros(SHOWN, np.float32), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin anywhere."""
        super().reset(seed=seed)
        self._at, self._steps = self.np_random.normal(size=SHOWN).astype(np.float32), 0
        return self._at, {}

    def step(self, action: Any) -> Any:
        """Wander on."""
        self._at = np.clip(self._at + 0.1 * self.np_random.normal(size=SHOWN), -10, 10).astype(np.float32)
        self._steps += 1
        return self._at, float(action == 0), self._steps == 50, False, {}


gym.register("Numbers-v0", f"{__name__}:Numbers")

MEASURED: dict[str, Callable[[Performance], Iterator[Row]]] = {"parts": parts, "growth": growth}


if __name__ == "__main__":
    run_main(main)
