"""One run: train an agent for a stated number of steps and keep every episode's return."""

from __future__ import annotations

import time

import numpy as np
from omegaconf import OmegaConf

from benchmarks.control.baselines import train_baseline
from benchmarks.control.record import Record, scores, task_success
from benchmarks.control.runs import ControlRun
from benchmarks.fingerprint import step
from benchmarks.runs import Row, counted_gradient_steps
from engram_rl.agents.agent import Agent
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.evaluation import evaluate
from engram_rl.training.rollout import finished
from engram_rl.training.seeding import EVALUATION_SEED, seed_everything, use_threads


def measure(run: ControlRun) -> Row:
    """Train once and say what it scored and cost."""
    return measured(run)[0]


def measured(run: ControlRun) -> tuple[Row, Record]:
    """The row of a run, and its episodes."""
    use_threads(1)
    seed_everything(run.seed)
    began = time.perf_counter()
    with counted_gradient_steps() as gradient_steps:
        record = train_baseline(run) if run.baseline else train_agent(run)
    seconds = time.perf_counter() - began
    row = {
        "env": run.env,
        "agent": run.agent,
        "seed": run.seed,
        **scores(record, run.steps, run.environment["success_above"]),
        "by_task": task_success(record, run.period, run.environment["success_above"]) if run.period else None,
        "env_steps": record.env_steps,
        "gradient_steps": gradient_steps[0],
        "seconds": round(seconds, 3),
        "entries": record.entries,
        "episodes": len(record.returns),
        **({} if record.test is None else {"test": record.test, "tested": round(float(np.mean(record.test)), 4)}),
        "steps": run.steps,
        "environment": run.environment,
        "settings": run.settings,
        "key": run.key,
    }
    return row, record


def train_agent(run: ControlRun) -> Record:
    """Act, step, observe, learn, as `engram train` does, without its files."""
    environments = build_environments(OmegaConf.create(run.environment))
    agent = build_agent(OmegaConf.create(run.settings), environments, run.seed)
    observation, _ = environments.reset(seed=run.seed)
    record = Record()
    while record.env_steps < run.steps:
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        record.entries = int(agent.learn().get("memory/size", record.entries))
        record.env_steps += environments.num_envs
        ended = finished(transition.info)
        record.steps += [record.env_steps] * len(ended.returns)
        record.returns += ended.returns.tolist()
        observation = transition.reset_observation
    environments.close()
    if run.test_episodes:
        record.test = test(run, agent)
    return record


def test(run: ControlRun, agent: Agent) -> list[float]:
    """Returns of episodes without exploration, one after another in an environment of their own."""
    environments = build_environments(OmegaConf.create(run.environment | {"num_envs": 1}))
    played = evaluate(agent, environments, run.test_episodes, EVALUATION_SEED + run.seed)
    environments.close()
    return played.returns.tolist()
