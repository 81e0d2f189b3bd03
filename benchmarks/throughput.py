"""Steps a second of agents, training included: episodic ones beside a naive reference, PPO beside another library's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from benchmarks import ppo_speed
from benchmarks.cli import env_options, parse, run_main, write_lines
from benchmarks.configuration import environment_config, value_of
from benchmarks.control.runs import resolve_agent
from benchmarks.naive_nec import NaiveNEC
from benchmarks.runs import Row
from engram_rl.agents.agent import Agent
from engram_rl.agents.common.encoders import make_encoder
from engram_rl.memory import IVFIndex
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import step
from engram_rl.training.seeding import seed_everything, use_threads

NAIVE = "naive"
LEARNING = ("batch_size", "learn_every", "n_step")


@dataclass
class Throughput:
    """Environment steps a second, acting and learning included, once the memory of every action holds so many entries.

    python -m benchmarks.throughput agents=[nec,mfec] env=hiddengoal entries=[10000,100000,500000]
    python -m benchmarks.throughput agents=[ppo] env=cartpole env.num_envs=8

    agents: names of conf/agent, each with values of its own after it, as in benchmarks.control. Beside episodic ones
        the naive reference: one environment, one exact matrix product and top-k an action and step, nec's learning
        schedule. Beside on-policy ones, turn by turn, Stable-Baselines3's PPO with the values of the first.
    env: a name of conf/env or a registered id; env.num_envs=<n> environments. The naive reference needs vectors.
    entries: of each action, of episodic agents.
    seconds: that each is timed for, after a warm-up.
    """

    agents: list[str] = field(default_factory=lambda: ["nec"])
    env: str = "hiddengoal"
    env_options: dict[str, Any] = field(default_factory=dict)
    entries: list[int] = field(default_factory=lambda: [10_000, 100_000, 500_000])
    seconds: float = 10.0
    threads: int = 2
    out: str = "results/throughput.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Time everyone at every size, print the table and write the rows."""
    bench = parse(Throughput, env_options(arguments))
    on_policy = [ppo_speed.is_on_policy(resolve_agent(agent, bench.env)) for agent in bench.agents]
    if any(on_policy) and not all(on_policy):
        raise UsageError(f"agents={bench.agents} mixes on-policy agents with others: give them in two commands.")
    use_threads(bench.threads)
    rows = on_policy_rows(bench) if all(on_policy) else episodic_rows(bench)
    write_lines(bench.out, rows)
    return 0


def on_policy_rows(bench: Throughput) -> list[Row]:
    """Time on-policy agents and Stable-Baselines3's PPO, turn by turn."""
    rows = ppo_speed.time_side_by_side(bench.env, bench.env_options, bench.agents, bench.seconds)
    for row in rows:
        print(f"{row['agent']:<60} {row['steps_per_second']:9.0f} steps/s  {row['times_sb3']:6.2f} x")
    return [row | {"threads": bench.threads} for row in rows]


def episodic_rows(bench: Throughput) -> list[Row]:
    """Time episodic agents and the naive reference at every size."""
    for agent in [*bench.agents, "nec"]:
        least = resolve_agent(agent, bench.env)["memory"]["k"]
        if min(bench.entries) < least:
            raise UsageError(
                f"entries={bench.entries}: {agent} looks for {least} neighbours, so give at least as many."
            )
    rows = []
    for entries in bench.entries:
        loop = time_naive(bench, entries)
        found = {NAIVE: (loop, None)} | {agent: time_agent(bench, agent, entries) for agent in bench.agents}
        for agent, (rate, recall) in found.items():
            row = {"agent": agent, "entries": entries, "steps_per_second": round(rate, 2), "recall": recall}
            row |= {"times_naive": round(rate / loop, 2), "env": bench.env, "env_options": bench.env_options}
            rows.append(row | {"threads": bench.threads})
            print(f"{entries:>8,} entries an action  {agent:<40} {rate:9.1f} steps/s  {rate / loop:6.2f} x")
    return rows


def time_agent(bench: Throughput, name: str, entries: int) -> tuple[float, float | None]:
    """Steps a second of one of our agents, and the recall that its approximate indexes report; None for exact ones."""
    seed_everything(0)
    environments = build_environments(OmegaConf.create(environment_config(bench.env, bench.env_options)))
    settings = resolve_agent(name, environments.spec.id if environments.spec else bench.env)
    settings["memory"] |= {"capacity": entries}
    settings |= {key: 0 for key in ("learn_after",) if key in settings}
    agent: Any = build_agent(OmegaConf.create(settings), environments, seed=0)
    fill(agent, entries)
    observation, _ = environments.reset(seed=0)

    def advance() -> int:
        nonlocal observation
        observation = vector_step(agent, environments, observation)
        return environments.num_envs

    speed = rate(advance, bench.seconds)
    recalls = [memory.index.report().get("recall") for memory in agent.memories.per_action]
    known = [recall for recall in recalls if recall is not None]
    return speed, round(float(np.mean(known)), 3) if known else None


def vector_step(agent: Agent, environments: Any, observation: Any) -> Any:
    """Act, step, observe, learn; returns what is acted on next."""
    transition = step(environments, observation, agent.act(observation))
    agent.observe(transition)
    agent.learn()
    return transition.reset_observation


def time_naive(bench: Throughput, entries: int) -> float:
    """Steps a second of the naive reference, with the settings of conf/agent/nec.yaml."""
    seed_everything(0)
    environments = build_environments(
        OmegaConf.create(environment_config(bench.env, bench.env_options | {"num_envs": 1}))
    )
    nec = resolve_agent("nec", bench.env)
    encoder = make_encoder(environments.single_observation_space, nec["key_size"], tuple(nec["hidden"]))
    actions = int(environments.single_action_space.n)  # type: ignore[attr-defined]
    keys, values = zip(*[stored(entries, nec["key_size"], seed) for seed in range(actions)], strict=True)
    schedule = {key: value_of(nec, key) for key in LEARNING}
    agent = NaiveNEC(encoder, list(keys), list(values), k=nec["memory"]["k"], seed=0, **schedule)
    observation, _ = environments.reset(seed=0)

    def advance() -> int:
        nonlocal observation
        transition = step(environments, observation, agent.act(observation))
        agent.observe(observation, transition.action, transition.reward, transition.done)
        observation = transition.reset_observation
        return 1

    return rate(advance, bench.seconds)


def fill(agent: Any, entries: int) -> None:
    """Fill every action's memory, and build its index if that is one to be built: what is timed is the steady state."""
    for action, memory in enumerate(agent.memories.per_action):
        keys, values = stored(entries, memory.space.vector_size, seed=action)
        for rows in torch.arange(entries).split(50_000):
            memory.write(keys[rows], values[rows].unsqueeze(1))
        if isinstance(memory.index, IVFIndex):
            memory.index.build(entries)


def stored(entries: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys along random walks, as experience leaves them, and values. `[N, D]`, `[N]`."""
    generator = torch.Generator().manual_seed(seed)
    walks = torch.randn(entries // 100 + 1, 1, size, generator=generator)
    steps = 0.1 * torch.randn(entries // 100 + 1, 100, size, generator=generator).cumsum(dim=1)
    return (walks + steps).reshape(-1, size)[:entries].clone(), torch.randn(entries, generator=generator)


def rate(advance: Callable[[], int], seconds: float) -> float:
    """Steps a second over `seconds`, after a warm-up."""
    _advance_for(advance, seconds / 5)
    return _advance_for(advance, seconds)


def _advance_for(advance: Callable[[], int], seconds: float) -> float:
    began, steps = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        steps += advance()
    return steps / elapsed


if __name__ == "__main__":
    run_main(main)
