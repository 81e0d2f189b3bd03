"""One run: ways timed in turns, an agent against itself in one process, or kills of workers or drivers."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from benchmarks.cluster.driver import driver_killed
from benchmarks.cluster.learning import WAITS, actors_killed, learning, pace
from benchmarks.cluster.shards import sharded
from benchmarks.configuration import CONF
from benchmarks.identity import digest
from benchmarks.kill import KillBench, overrides_of
from benchmarks.provenance import origin
from benchmarks.runs import Row
from benchmarks.same_run import episodes, final_state, metrics, same, score
from engram_rl.agents.random import RandomAgent
from engram_rl.training import train
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.distributed import cluster as connection
from engram_rl.training.distributed.cluster import Cluster
from engram_rl.training.environments import Resumable, make_environments
from engram_rl.training.rollout import act, step
from engram_rl.training.runs.folder import RunFolder


@dataclass(frozen=True)
class Way:
    """Environments on workers, timed.

    Attributes:
        workers: Processes.
        num_envs: Environments, spread over them.
        asynchronous: Whether the agent acts for whoever has answered.
        vectorization: `ray`, or another for comparison.
    """

    workers: int
    num_envs: int
    asynchronous: bool = False
    vectorization: str = "ray"

    def __str__(self) -> str:
        if self.vectorization == "actors":
            return f"{self.workers} actor{'s' if self.workers > 1 else ''}, {self.num_envs} environments"
        if self.vectorization != "ray":
            return f"{self.vectorization}, {self.num_envs} environments"
        turns = "asynchronous" if self.asynchronous else "in step"
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{workers}, {self.num_envs} environment{'s' if self.num_envs > 1 else ''}, {turns}"


@dataclass(frozen=True)
class ClusterRun:
    """Everything that defines a run.

    Attributes:
        kind: `timed`, `equal`, `killed`, `driver`, `shards`, `learning`, `pace` or `actors`.
        name: What is measured, in a few words.
        ways: Timed in turns, each ratio against the first.
        world: Arguments of the environment that waits; of `learning` which environment it is.
        agent: Of `equal`, `driver` and `learning`.
        seconds: That each way is timed for, each turn.
        turns: How often.
        steps: Of an agent's run, or vector steps of `killed`.
        kills: Of workers, of drivers, or of actors.
        limit: What the last way's ratio must be; None where nothing is claimed.
        entries: Of each memory of `shards`.
        shards: Of each sharded memory.
        overrides: Of both runs of `learning`.
        seeds: Of `learning`.
        bound: What the difference of `learning` must stay within.
    """

    kind: str
    name: str
    ways: tuple[Way, ...] = ()
    world: dict[str, Any] = field(default_factory=dict)
    agent: str = ""
    seconds: float = 0.0
    turns: int = 0
    steps: int = 0
    kills: int = 0
    limit: float | None = None
    entries: int = 0
    shards: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()
    seeds: int = 0
    bound: float = 0.0

    @property
    def key(self) -> str:
        """A digest of all that defines the run."""
        later = set() if self.shards else {"entries", "shards"}  # which runs of other kinds do not have
        later |= set() if self.seeds else {"overrides", "seeds", "bound"}
        return digest({name: value for name, value in asdict(self).items() if name not in later})

    def __str__(self) -> str:
        return self.name


def measure(run: ClusterRun) -> Row:
    """The row of a run."""
    kinds: dict[str, Callable[[ClusterRun], Row]] = {
        "timed": timed,
        "equal": equal,
        "killed": killed,
        "shards": lambda run: sharded(run.entries, run.shards, run.turns),
        "learning": lambda run: learning(run.agent, run.world["env"], run.overrides, run.steps, run.seeds, run.bound),
        "pace": lambda run: pace([way.workers for way in run.ways], run.ways[0].num_envs, run.world, run.steps),
        "actors": lambda run: actors_killed(run.steps, run.kills),
    }
    if run.kind == "driver":  # which begins a Ray of its own
        found = driver_killed(_overrides(run), run.kills, run.steps)
    else:
        with _connected():
            found = kinds[run.kind](run)
    return asdict(run) | found | {"key": run.key, "load": round(os.getloadavg()[0], 1)} | origin()


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """One Ray for all that a run begins."""
    connection.enter(Cluster.of({"workers": os.cpu_count()}))
    try:
        yield
    finally:
        connection.leave()


def timed(run: ClusterRun) -> Row:
    """Steps a second and milliseconds a vector step of each way, and by how much the ways surpass the first."""
    with ExitStack() as opened:
        worlds = [_Timed(way, run.world, opened) for way in run.ways]
        for world in worlds:
            world.steps_a_second(run.seconds / 5)
        rates = [[world.steps_a_second(run.seconds) for world in worlds] for _ in range(run.turns)]  # [turns, ways]
    by_way = list(zip(*rates, strict=True))
    ratios = [[rate / turn[0] for rate in turn] for turn in rates]
    middle = [statistics.median(one) for one in zip(*ratios, strict=True)]
    return {
        "steps_per_second": [round(statistics.median(one), 1) for one in by_way],
        "vector_step_ms": [
            round(1000 * way.num_envs / statistics.median(one), 2) for way, one in zip(run.ways, by_way, strict=True)
        ],
        "ratios": [round(one, 2) for one in middle],
        "least_ratio": round(min(turn[-1] for turn in ratios), 2),
        "holds": None if run.limit is None else middle[-1] >= run.limit,
    }


class _Timed:
    """A way, with an agent that costs next to nothing, kept going between its turns."""

    def __init__(self, way: Way, world: dict[str, Any], opened: ExitStack):
        cluster = {"workers": way.workers, "asynchronous": way.asynchronous}
        self._environments: Resumable = opened.enter_context(
            closing(
                make_environments(WAITS, way.num_envs, vectorization=way.vectorization, kwargs=world, cluster=cluster)
            )
        )
        self._agent = RandomAgent(self._environments.action_space, seed=0)
        self._observation = self._environments.reset(seed=list(range(way.num_envs)))[0]

    def steps_a_second(self, seconds: float) -> float:
        """Go on for so long."""
        taken, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            action = act(self._agent, self._observation, None, rows=self._environments.waiting)
            transition = step(self._environments, self._observation, action)
            self._observation = transition.reset_observation
            taken += transition.steps
        return taken / elapsed


def equal(run: ClusterRun) -> Row:
    """What differs between an agent's run in one process and the same run on two workers."""
    given = _overrides(run)
    with tempfile.TemporaryDirectory() as scratch:
        one, other = Path(scratch) / "one", Path(scratch) / "other"
        _train([*given, "env.vectorization=sync"], one)
        _train([*given, "env.vectorization=ray", "cluster.workers=2"], other)
        parts = {"agent": state_of_agent, "metrics": metrics, "episodes": episodes, "score": score}
        differing = [name for name, part in parts.items() if not same(part(one), part(other))]
        return {"differences": differing, "episodes": len(episodes(one)), "holds": not differing}


def _overrides(run: ClusterRun) -> list[str]:
    """The command line of a short run of an agent that passes every stage."""
    return [*overrides_of(run.agent, KillBench(steps=run.steps, every=run.steps // 4)), "env.num_envs=4"]


def state_of_agent(folder: Path) -> dict[str, Any]:
    """All that a checkpoint holds but what leads the environments to where they are, which is kept in another form."""
    return {name: value for name, value in final_state(folder).items() if name != "environments"}


def _train(overrides: list[str], path: Path) -> None:
    prepare()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides)
    with Path(os.devnull).open("w") as silence, contextlib.redirect_stdout(silence):
        train.train(config, RunFolder(path))


def killed(run: ClusterRun) -> Row:
    """Kill workers at random moments; what was lost, and whether all else went on as it would have."""
    way, chance = run.ways[0], np.random.default_rng(0)
    moments = np.sort(chance.choice(run.steps, size=run.kills, replace=False))
    cluster = {"workers": way.workers}
    made: dict[str, Any] = {"kwargs": run.world, "vectorization": way.vectorization}
    with closing(make_environments(WAITS, way.num_envs, cluster=cluster, **made)) as environments:
        observation: Any = environments.reset(seed=list(range(way.num_envs)))[0]
        inner: Any = environments.unwrapped
        counts = np.zeros(way.num_envs, dtype=np.int64)
        lost, wrong, longest = 0, 0, 0.0
        for number in range(run.steps):
            if number in moments:
                process = inner.processes[int(chance.integers(way.workers))]
                time.sleep(float(chance.uniform(0, 0.05)))
                os.kill(process, signal.SIGKILL)
            began = time.perf_counter()
            transition = step(environments, observation, np.zeros(way.num_envs, dtype=np.int64))
            longest = max(longest, time.perf_counter() - began)
            cut = transition.truncated & (counts + 1 < 50)
            lost += int(cut.sum())
            counts = np.where(transition.done, 0, counts + 1)
            observation = transition.reset_observation
            wrong += int((observation[:, 0] != counts).sum())
        with closing(make_environments(WAITS, way.num_envs, cluster=cluster, **made)) as again:
            came_back = bool(np.array_equal(again.load_state_dict(environments.state_dict()), observation))
    most = run.kills * -(-way.num_envs // way.workers)
    return {
        "lost_episodes": lost,
        "most_allowed": most,
        "wrong_observations": wrong,
        "longest_step_s": round(longest, 1),
        "replayed": came_back,
        "holds": lost <= most and not wrong and came_back,
    }
