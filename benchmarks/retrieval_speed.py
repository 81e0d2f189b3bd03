"""What retrieval costs: environment steps a second of PPO with it and without, side by side in one process.

Both are taken through the same actions, those of the agent with retrieval: who arrives resets its environments more
often, and writes more.

`python -m benchmarks.retrieval_speed env=minigrid_fixed agent=retrieval_ppo_view entries=50000 out=FILE`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from benchmarks.cli import env_options, parse, write_lines
from benchmarks.configuration import agent_config, environment_config
from engram_rl.agents.retrieval.memory_input import MemoryInput
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.rollout import step
from engram_rl.training.seeding import use_threads


@dataclass
class RetrievalSpeed:
    """Measure PPO with retrieval beside the same PPO without it, learning included, in turns.

    python -m benchmarks.retrieval_speed env=minigrid_fixed agent=retrieval_ppo_view entries=50000
    python -m benchmarks.retrieval_speed env=newgoal_searched agent=retrieval_ppo entries=0

    env, num_envs: a name of conf/env, and how many side by side; env.<key>=<value> changes a value of its YAML.
    agent: of conf/agent, with values of its own after the name; without retrieval it has `control=novelty`.
    entries: in memory before the first step, at random keys.
    steps, rounds: environment steps of a round, and rounds of each, in turns. Each round goes on in the same log of
        actions, and the share is the median over the rounds.
    """

    env: str = "minigrid_fixed"
    env_options: dict[str, Any] = field(default_factory=dict)
    num_envs: int = 8
    agent: str = "retrieval_ppo_view"
    entries: int = 50_000
    steps: int = 8192
    rounds: int = 3
    out: str = "results/retrieval_speed.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Measure, print a line for each, and write them."""
    bench = parse(RetrievalSpeed, env_options(arguments))
    use_threads(1)
    plain = f"{bench.agent} control=novelty"
    log = _Running(bench, bench.agent).played(bench.steps * bench.rounds)
    runs = {agent: _Running(bench, agent) for agent in (bench.agent, plain)}
    for actions in np.split(log, bench.rounds):
        for run in runs.values():
            run.round(actions)
    rows = [
        {
            "env": bench.env,
            "agent": agent,
            "num_envs": bench.num_envs,
            "entries": run.entries,
            "episodes": run.episodes,
            "steps_per_second": round(bench.steps / float(np.median(run.seconds))),
            "of_plain": round(float(np.median(np.divide(runs[plain].seconds, run.seconds))), 3),
        }
        for agent, run in runs.items()
    ]
    write_lines(bench.out, rows)
    for row in rows:
        print(row)
    return 0


class _Running:
    """An agent at play, and how long its rounds took."""

    def __init__(self, bench: RetrievalSpeed, agent: str) -> None:
        self._environments = build_environments(
            OmegaConf.create(environment_config(bench.env, bench.env_options | {"num_envs": bench.num_envs}))
        )
        self._agent = build_agent(OmegaConf.create(agent_config(agent)), self._environments, 0)
        self._recall = _recall_of(self._agent)
        if self._recall and bench.entries:
            _fill(self._recall, bench.entries)
        self._observation, _ = self._environments.reset(seed=0)
        self.seconds: list[float] = []
        self.episodes = 0

    @property
    def entries(self) -> int:
        """In memory now."""
        return len(self._recall.memory) if self._recall else 0

    def played(self, steps: int) -> np.ndarray:
        """The actions that it takes of its own. `[T, E]`."""
        return np.stack([self._step(None) for _ in range(steps // self._environments.num_envs)])

    def round(self, actions: np.ndarray) -> None:
        """Act and learn, while these actions are taken, `[T, E]`; CPU time, so that other processes count little."""
        began = time.process_time()
        for action in actions:
            self._step(action)
        self.seconds.append(time.process_time() - began)

    def _step(self, action: np.ndarray | None) -> np.ndarray:
        """Take one step, by an action `[E]` in place of the agent's own if one is given; which it was."""
        chosen = self._agent.act(self._observation)
        transition = step(self._environments, self._observation, chosen if action is None else action)
        self._agent.observe(transition)
        self._agent.learn()
        self._observation = transition.reset_observation
        self.episodes += int(transition.done.sum())
        return transition.action


def _recall_of(agent: Any) -> MemoryInput | None:
    return next((extra for extra in agent.extras if isinstance(extra, MemoryInput)), None)


def _fill(recall: MemoryInput, entries: int) -> None:
    """Random entries under names of their own, all in the first world."""
    memory, generator = recall.memory, torch.Generator().manual_seed(0)
    for first in range(0, entries, 1000):
        rows = min(1000, entries - first)
        keys = {
            part.name: torch.zeros(rows, part.size, dtype=torch.int64)
            if part.kind == "discrete"
            else torch.randn(rows, part.size, generator=generator)
            for part in memory.space
        }
        names = torch.from_numpy(np.arange(first, first + rows) + 10**9)
        memory.write(keys, torch.zeros(rows, memory.value_dim), identity=names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
