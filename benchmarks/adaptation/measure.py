"""One run: train, freeze, play other runs of the environment, and say what the episodes after each shift cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from omegaconf import OmegaConf

from benchmarks.adaptation.runs import ACTING, AdaptationRun
from benchmarks.episodes import Episodes, play
from benchmarks.fingerprint import step
from benchmarks.runs import Row, counted_gradient_steps
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.ppo import PPO
from engram_rl.envs.oracles import make_policy
from engram_rl.envs.scoring import metrics
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.seeding import seed_everything, use_threads

SEEDS_APART = 1_000_000
"""Seeds of the environments of two rows are at least so far apart, and those of training and test half of that."""


def measure(run: AdaptationRun) -> Row:
    """Train once, play frozen, and report."""
    use_threads(1)
    seed_everything(run.seed)
    row: Row = {"env": run.env, "agent": run.agent, "seed": run.seed, "steps": run.steps}
    about = {"test": vars(run.test), "environment": run.environment, "settings": run.settings, "key": run.key}
    if run.trained_in:
        about["trained_in"] = run.trained_in
    if run.policy:
        report = _test(run, lambda environments: make_policy(run.agent, environments, run.seed))
        return row | dict.fromkeys(ACTING, report) | about
    began = time.process_time()
    with counted_gradient_steps() as gradient_steps:
        agent = train(run)
    row |= {"gradient_steps": gradient_steps[0], "training_seconds": round(time.process_time() - began, 1)}
    row["parameters"] = sum(part.numel() for part in agent.policy.parameters())
    generators = {"drawn": generator_for(run.seed, "test"), "greedy": None}
    reports = {
        acting: _test(run, lambda environments: agent.player(environments.num_envs, generators[acting]))  # noqa: B023
        for acting in ACTING
    }
    return row | reports | about


def train(run: AdaptationRun) -> PPO:
    """Act, step, observe, learn, as `engram train` does, without its files.

    Raises:
        UsageError: The agent cannot be frozen while its memory lives on.
    """
    environments = build_environments(OmegaConf.create(run.trained_in or run.environment))
    agent = build_agent(OmegaConf.create(run.settings), environments, run.seed)
    if not isinstance(agent, PPO):
        raise UsageError(f"{run.agent} cannot be frozen with its memory alive: choose PPO or an agent built on it.")
    observation, _ = environments.reset(seed=_first_seed(run))
    for _ in range(0, run.steps, environments.num_envs):
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        agent.learn()
        observation = transition.reset_observation
    environments.close()
    return agent


def report(episodes: Episodes, block: int) -> dict[str, Any]:
    """What the blocks after a shift cost; the first block of a run, before any shift, does not count.

    Args:
        episodes: `[E, (shifts + 1) * block]`
        block: Episodes of a block.
    """
    shifts = list(range(block, episodes.steps.shape[1], block))
    recovery = metrics.recovery(episodes.steps, episodes.oracle_steps, shifts)  # [E, shifts]
    cost, oracle, found = (
        _after_shifts(part, block) for part in (episodes.steps, episodes.oracle_steps, episodes.terminated)
    )  # [E * shifts, block]
    first = np.where(found.any(axis=1), found.argmax(axis=1), block)  # [B]
    followed = np.flatnonzero(first < block - 1)
    after = followed, first[followed] + 1
    return {
        "cost": _means(cost),
        "optimum": _means(oracle),
        "found_first": round(float(found[:, 0].mean()), 4),
        "found_ever": round(float(found.any(axis=1).mean()), 4),
        "after_find": round(float(cost[after].mean()), 4) if len(followed) else None,
        "after_find_optimum": round(float(oracle[after].mean()), 4) if len(followed) else None,
        "recovery": round(float(np.minimum(recovery, block).mean()), 4),
        "recovered": round(float(np.isfinite(recovery).mean()), 4),
        "blocks": len(cost),
    } | (by_context(episodes) if episodes.context is not None else {})


def by_context(episodes: Episodes) -> dict[str, Any]:
    """What episodes cost by whether the site of their context was found since it last moved.

    `searched`: it was not. `returned`: it was, and the episode before was in another context. `stayed`: it was, and the
    episode before was in this one. `overall`: all of them. Of each the mean steps, the mean shortest path, the share
    that reached the goal, and how many there were.
    """
    assert episodes.context is not None
    known = _known(episodes.context, episodes.shifted, episodes.terminated)
    same = np.zeros_like(known)
    same[:, 1:] = episodes.context[:, 1:] == episodes.context[:, :-1]
    which = {"searched": ~known, "returned": known & ~same, "stayed": known & same, "overall": np.ones_like(known)}
    return {name: _mean_costs(episodes, chosen) for name, chosen in which.items()}


def _known(context: np.ndarray, shifted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Whether an earlier episode of the same context found the site that is there now. `[E, K]` each."""
    runs = np.arange(len(context))
    held = np.zeros((len(context), int(context.max()) + 1), np.bool_)  # [E, contexts]
    known = np.zeros_like(found)
    for k in range(context.shape[1]):
        now = context[:, k]
        held[runs, now] &= ~shifted[:, k]
        known[:, k] = held[runs, now]
        held[runs, now] |= found[:, k]
    return known


def _mean_costs(episodes: Episodes, chosen: np.ndarray) -> dict[str, float | None]:
    """Of these episodes. `[E, K]` of bool."""
    parts = {"steps": episodes.steps, "optimum": episodes.oracle_steps, "found": episodes.terminated}
    means = {name: round(float(part[chosen].mean()), 4) if chosen.any() else None for name, part in parts.items()}
    return means | {"episodes": int(chosen.sum())}


def _test(run: AdaptationRun, make_player: Callable[[Any], Any]) -> dict[str, Any]:
    """Play the test and report."""
    environments: Any = _test_environments(run).unwrapped
    began = time.process_time()
    length = (run.test.shifts + 1) * run.test.block
    episodes = play(environments, make_player(environments), length, _first_seed(run) + SEEDS_APART // 2)
    costs = {"seconds": round(time.process_time() - began, 1), "steps": int(episodes.steps.sum())}
    return report(episodes, run.test.block) | {f"test_{name}": cost for name, cost in costs.items()}


def _test_environments(run: AdaptationRun) -> VectorEnv:
    shifting = {"period": run.test.block, "jitter": 0}
    if run.policy and "show_unsearched" in run.environment["kwargs"]:  # policies read the plain place
        shifting["show_unsearched"] = False
    kwargs = {**run.environment["kwargs"], **shifting}
    return build_environments(OmegaConf.create({**run.environment, "num_envs": run.test.runs, "kwargs": kwargs}))


def _first_seed(run: AdaptationRun) -> int:
    """The first seed of the environments."""
    return run.seed * SEEDS_APART


def _after_shifts(episodes: np.ndarray, block: int) -> np.ndarray:
    """`[E, (shifts + 1) * block]` to `[E * shifts, block]`."""
    return episodes.reshape(len(episodes), -1, block)[:, 1:].reshape(-1, block)


def _means(by_episode: np.ndarray) -> list[float]:
    """Over blocks. `[B, block]`."""
    return [round(float(mean), 3) for mean in by_episode.mean(axis=0)]
