"""What `benchmarks.since` runs in each tree: plays agents of that tree and prints their processor time a step.

It names only what every tree since `engram_rl` was called so has.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks import throughput
from benchmarks.configuration import agent_config
from engram_rl.training.construction import build_agent
from engram_rl.training.environments import make_environments
from engram_rl.training.rollout import step
from engram_rl.training.seeding import use_threads

ENVIRONMENTS = 16


def mfec(entries: int, seconds: float) -> dict[str, float]:
    """MFEC in HiddenGoal, all memories full of so many entries an action."""
    bench: Any = throughput.Throughput(env="hiddengoal", env_options={"num_envs": ENVIRONMENTS}, seconds=seconds)
    speed, _ = throughput.time_agent(bench, "mfec", entries)
    return {"entries": entries, "steps_per_second": speed}


def search(side: int, seconds: float) -> dict[str, float]:
    """The fast/slow agent's search on grids of that side, each environment with a memory of its own that knows all."""
    environments = make_environments(
        "engram/ShiftWall-v0", ENVIRONMENTS, vectorization="vector_entry_point", kwargs={"n": side}
    )
    agent: Any = build_agent(OmegaConf.create(agent_config("fast_slow memory.capacity=200000")), environments, 1)
    environments.reset(seed=0)
    core: Any = environments.unwrapped.core  # type: ignore[attr-defined]
    for env, walls in enumerate(core.walls):
        free = np.flatnonzero(~walls)
        cells, actions = np.repeat(free, 4), np.tile(np.arange(4), len(free))
        targets = cells + core.geometry.moves[actions]
        ends = np.where(walls[targets], cells, targets)
        places = core.geometry.coordinates.astype(np.float32)
        agent.memory.write(places[cells], actions, places[ends], owners=np.full(len(cells), env))
    entries = len(agent.memory)
    observation, _ = environments.reset(seed=1)
    began, steps = 0.0, 0
    for turn in range(10**9):
        if turn == ENVIRONMENTS:  # what was written has been taken in
            began, steps = time.process_time(), 0
        if turn > ENVIRONMENTS and time.process_time() - began > seconds:
            break
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        agent.learn()
        observation = transition.reset_observation
        steps += ENVIRONMENTS
    return {"entries": entries, "steps_per_second": steps / (time.process_time() - began)}


if __name__ == "__main__":
    use_threads(1)
    time.perf_counter = time.process_time  # the clock that `throughput` goes by
    what, size, seconds = sys.argv[1:]
    print(json.dumps({"mfec": mfec, "search": search}[what](int(size), float(seconds))))
