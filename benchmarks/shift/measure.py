"""One run from start to end: who plays, on what, and what it took."""

from __future__ import annotations

import time

from benchmarks.runs import Row, counted_gradient_steps
from benchmarks.shift.environment import build_environment
from benchmarks.shift.learners import make_learner
from benchmarks.shift.protocol import EpisodeLog, play
from benchmarks.shift.rows import Cost, make_row, privileged
from benchmarks.shift.specs import RunSpec
from engram_rl.training.seeding import seed_everything, use_threads


def measure(spec: RunSpec) -> Row:
    """Play one run and say what it cost."""
    use_threads(1)
    seed_everything(spec.seed)
    env = build_environment(spec.environment, spec.layout_seed)
    log = EpisodeLog(env, spec.episodes, spec.environment_seed, spec.environment.get("success_above"))
    learner = make_learner(spec, log)
    began = time.perf_counter()
    with counted_gradient_steps() as gradient_steps:
        env_steps = play(learner, log, spec.budget)
    seconds = time.perf_counter() - began
    gradients = gradient_steps[0] + learner.unseen_gradient_steps
    cost = Cost(env_steps, gradients, round(seconds, 2), learner.entries, privileged(env, learner))
    log.close()
    return make_row(spec, log.record, cost)
