"""One run: when it first succeeded, and how the policy without exploring fared on the way and at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from omegaconf import OmegaConf

from benchmarks.exploration.bonus_ppo import SETTINGS, make_bonus_ppo
from benchmarks.exploration.runs import ExplorationRun
from benchmarks.fingerprint import step
from benchmarks.runs import Row, counted_gradient_steps
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.evaluation import evaluate
from engram_rl.training.rollout import finished
from engram_rl.training.seeding import seed_everything, use_threads

MARKS = 20
"""Tests of a run, at equal distances."""

LAST = 50
"""Training episodes at the end whose success is told as well."""


def measure(run: ExplorationRun) -> Row:
    """Train once and say what it found and cost."""
    use_threads(1)
    seed_everything(run.seed)
    environments = build_environments(OmegaConf.create(run.environment))
    testing = build_environments(OmegaConf.create(run.environment | {"num_envs": 1}))
    agent = make_agent(run, environments)
    marks = (np.arange(1, MARKS + 1) * run.steps // MARKS).tolist()
    observation, _ = environments.reset(seed=run.seed)
    returns: list[float] = []
    ended_at: list[int] = []
    tests: list[float] = []
    told: dict[str, float] = {}
    began, now, tested = time.perf_counter(), 0, 0.0
    with counted_gradient_steps() as gradient_steps:
        while now < run.steps:
            transition = step(environments, observation, agent.act(observation))
            agent.observe(transition)
            told |= agent.learn()
            now += environments.num_envs
            ended = finished(transition.info).returns.tolist()
            returns += ended
            ended_at += [now] * len(ended)
            observation = transition.reset_observation
            if now >= marks[len(tests)]:
                pause = time.perf_counter()
                tests.append(float(evaluate(agent, testing, 1, run.seed).returns[0]))
                tested += time.perf_counter() - pause
    seconds = time.perf_counter() - began - tested
    environments.close()
    testing.close()
    return {
        "env": run.env,
        "agent": run.agent,
        "seed": run.seed,
        "steps": run.steps,
        **scores(returns, ended_at, tests),
        "tests": [round(one, 4) for one in tests],
        "archive": {name: value for name, value in told.items() if name.startswith("go_explore/")},
        "episodes": len(returns),
        "gradient_steps": gradient_steps[0],
        "seconds": round(seconds, 1),
        "steps_per_second": round(run.steps / seconds, 1),
        "environment": run.environment,
        "settings": run.settings,
        "key": run.key,
    }


def scores(returns: Sequence[float], ended_at: Sequence[int], tests: Sequence[float]) -> dict[str, Any]:
    """What is said of a run.

    Args:
        returns: Of the training episodes, in the order in which they ended; above 0 is a success.
        ended_at: Environment steps of the whole run by then.
        tests: Returns of one episode at each mark, without exploring: nothing is left to chance, so one says it all.

    Returns:
        `first`: steps at the end of the first successful training episode, None if there was none. `area`: the share of
        tests that succeeded. `tested`, `tested_return`: whether the last one did, and what it returned. `exploring`:
        the share of the last training episodes that succeeded.
    """
    found = [at for at, gained in zip(ended_at, returns, strict=True) if gained > 0]
    return {
        "first": found[0] if found else None,
        "area": round(float(np.mean(np.array(tests) > 0)), 4),
        "tested": float(tests[-1] > 0),
        "tested_return": round(tests[-1], 4),
        "exploring": round(float(np.mean(np.array(returns[-LAST:]) > 0)), 4),
    }


def make_agent(run: ExplorationRun, environments: VectorEnv) -> Any:
    """The agent of a run."""
    if run.name not in SETTINGS:
        return build_agent(OmegaConf.create(run.settings), environments, run.seed)
    spaces = environments.single_observation_space, environments.single_action_space
    return make_bonus_ppo(run.name, *spaces, environments.num_envs, run.seed, **run.settings)
