"""One run: train an agent for a stated number of steps and keep every episode's return."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.control.runs import ControlRun
from benchmarks.runs import Row, counted_gradient_steps
from training.construction import build_agent, build_environments
from training.curves import running_mean_at
from training.rollout import finished, step
from training.seeding import seed_everything, use_threads

MARKS = 40  # step counts at which a row states the score


@dataclass
class Record:
    """The training episodes of a run, exploration included, in the order in which they ended.

    Attributes:
        steps: Environment steps of the whole run when the episode ended.
        returns: Undiscounted.
        env_steps: Steps taken in all.
        entries: In the agent's memory at the end.
    """

    steps: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    env_steps: int = 0
    entries: int = 0


def measure(run: ControlRun) -> Row:
    """Train once and say what it scored and cost."""
    use_threads(1)
    seed_everything(run.seed)
    began = time.perf_counter()
    with counted_gradient_steps() as gradient_steps:
        record = train_agent(run)
    seconds = time.perf_counter() - began
    return {
        "env": run.env,
        "agent": run.agent,
        "seed": run.seed,
        **scores(record, run.steps, run.environment["success_above"]),
        "env_steps": record.env_steps,
        "gradient_steps": gradient_steps[0],
        "seconds": round(seconds, 1),
        "entries": record.entries,
        "episodes": len(record.returns),
        "steps": run.steps,
        "environment": run.environment,
        "settings": run.settings,
        "key": run.key,
    }


def train_agent(run: ControlRun) -> Record:
    """Act, step, observe, learn, as `train.py` does, without its files."""
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
    return record


def scores(record: Record, steps: int, success_above: float | None) -> dict[str, Any]:
    """The mean return of the last 20 training episodes by step count, and `auc`, its mean over all steps.

    Before the first episode ends, its return is taken; null if none ever ended. `success` is likewise the share of
    successful episodes, for environments that say what success is.
    """
    grid = np.arange(1, MARKS + 1) * steps // MARKS
    if not record.returns:
        return {"auc": None, "score": dict.fromkeys(map(str, grid.tolist())), "success": None}
    at, returns = np.array(record.steps), np.array(record.returns)
    success = None if success_above is None else _by_step(grid, at, (returns > success_above).astype(np.float64))
    fine = np.linspace(0, steps, 1000)
    return {
        "auc": round(float(running_mean_at(fine, at, returns).mean()), 4),
        "score": _by_step(grid, at, returns),
        "success": success,
    }


def _by_step(grid: np.ndarray, at: np.ndarray, values: np.ndarray) -> dict[str, float]:
    means = running_mean_at(grid, at, values)
    return {str(mark): round(float(mean), 4) for mark, mean in zip(grid.tolist(), means, strict=True)}
