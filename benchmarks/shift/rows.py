"""One JSON object a run: what it holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import gymnasium as gym
import numpy as np

from benchmarks.runs import Row
from benchmarks.shift.environment import SCORED_BY_RETURN, shown_by
from benchmarks.shift.protocol import Learner
from benchmarks.shift.specs import RunSpec
from engram_rl.envs.scoring import EpisodeRecord, metrics
from engram_rl.envs.scoring.rows import AFTER_SHIFT, lists_of, plain


@dataclass(frozen=True)
class Cost:
    """What a run took and was given, beside its score."""

    env_steps: int
    gradient_steps: int
    seconds: float
    entries: int
    privileged: str


def make_row(spec: RunSpec, record: EpisodeRecord, cost: Cost) -> Row:
    """A run in one flat object; null stands for what has no value (no shift, never recovered, no known optimum).

    The last fields have one item an episode, so that figures can be redrawn without running anything.
    """
    return {
        "env": spec.env,
        "agent": spec.agent,
        "seed": spec.seed,
        "layout_seed": spec.layout_seed,
        "budget": spec.budget,
        "episodes": spec.episodes,
        "measure": "steps" if _by_steps(spec, record) else "return",
        "solved": sum(record.solved),
        "steps": sum(record.steps),
        "mean_return": round(float(np.mean(record.returns)), 6),
        **_scores(spec, record),
        **asdict(cost),
        "env_id": spec.environment["id"],
        "env_kwargs": spec.environment["kwargs"],
        "key": spec.key,
        **lists_of(record),
    }


def privileged(env: gym.Env, learner: Learner) -> str:
    """What the agent was given beside its own position: by the observations, and beyond them."""
    beyond = [what for what in learner.privileged.split(", ") if what not in ("", "nothing")]
    return ", ".join(dict.fromkeys([*shown_by(env), *beyond])) or "nothing"


def _scores(spec: RunSpec, record: EpisodeRecord) -> Row:
    """Null throughout where steps are not the measure."""
    names = (
        "regret",
        "regret_after_shift",
        "recovery",
        "recoveries",
        "plateau",
        "savings",
        "first_on_return",
        "after_find",
    )
    if not _by_steps(spec, record):
        return dict.fromkeys(names)
    cost, optimum, targets = np.array(record.steps), np.array(record.optimum, dtype=float), _targets(record)
    hidden = None not in record.target
    shifts = metrics.shift_episodes(record.task_index)
    recoveries = metrics.recovery(cost, optimum, shifts)
    recoveries = recoveries[~np.isnan(recoveries)]
    values = (
        metrics.regret(cost, optimum),
        metrics.regret_after_shift(cost, optimum, shifts, AFTER_SHIFT),
        np.median(recoveries) if len(recoveries) else np.nan,
        recoveries,
        metrics.plateau(cost, optimum, shifts).round(4),
        metrics.savings(cost, optimum, targets).round(4),
        metrics.first_on_return(cost, targets, record.task_index).round(4),
        np.round(metrics.after_find(cost, optimum, record.solved, shifts), 4) if hidden else np.nan,
    )
    return dict(zip(names, map(plain, values), strict=True))


def _by_steps(spec: RunSpec, record: EpisodeRecord) -> bool:
    """Whether episodes are scored by their steps: the fewest are known, and fewer are better."""
    return None not in record.optimum and spec.environment["id"] not in SCORED_BY_RETURN


def _targets(record: EpisodeRecord) -> list[int]:
    """Which target each episode had, numbered; where the environment does not say, none ever returns."""
    if None in record.target:
        return record.task_index
    numbers: dict[str, int] = {}
    return [numbers.setdefault(repr(target), len(numbers)) for target in record.target]
