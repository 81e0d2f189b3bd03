"""Where Ray runs: begun here for as long as something needs it, joined where it is given, or found running."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from engram_rl.training.errors import UsageError

HOME = Path(__file__).resolve().parents[2] / "conf" / "cluster" / "local.yaml"
"""Where the values of a cluster that nobody chose are written."""

LEAST_STORE = 80
"""Megabytes; Ray takes no less."""

MEGABYTE = 2**20

BEGUN_WITH = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""Variables for a Ray that is begun here: nothing is sent to anybody, a notice about GPUs is not printed, and workers
are as urgent as the agent that waits for them, where Ray would let everything else on the machine go first."""


@dataclass(frozen=True)
class Cluster:
    """`conf/cluster/*.yaml`, which says what the values mean.

    Raises:
        UsageError: One is out of range.
    """

    workers: int | None
    address: str | None
    worker_cpus: float
    asynchronous: bool
    patience: float
    restarts: int
    object_store: int
    actors: int | None = None
    round: int = 128
    staleness: int = 1

    def __post_init__(self) -> None:
        least_of = {"workers": 1, "worker_cpus": 0, "restarts": 0, "object_store": LEAST_STORE, "actors": 1, "round": 1}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise UsageError(f"cluster.{name} is {value}; it must be at least {least}.")
        if self.staleness not in (0, 1):
            raise UsageError(
                f"cluster.staleness is {self.staleness}; it is 0, where actors wait until what they did is learned "
                f"from, or 1, where they act on in the meantime."
            )
        if not 0 < self.patience < math.inf:
            raise UsageError(f"cluster.patience is {self.patience}; it must be a number of seconds above 0.")

    @classmethod
    def of(cls, given: Mapping[str, Any] | None = None) -> Cluster:
        """From a configuration; what it does not say is as in `conf/cluster/local.yaml`.

        Raises:
            UsageError: There is no such value, or it is out of range.
        """
        values: dict[str, Any] = {**OmegaConf.load(HOME), **(given or {})}  # type: ignore[dict-item]
        names = [field.name for field in fields(cls)]
        if unknown := values.keys() - set(names):
            raise UsageError(f"A cluster has no {', '.join(sorted(unknown))}; it has {', '.join(names)}.")
        return cls(**values)


WITHOUT_RAY = {
    "env.vectorization=ray": "On one machine env.vectorization=async gives every environment a process without it.",
    "cluster.actors": "Leave it out, and the agent acts in this process.",
    "shards=ray": "shards=here keeps the shards in this process.",
}
"""What needs Ray, and what does without."""


def ray(needed_by: str = "env.vectorization=ray") -> Any:
    """The package.

    Args:
        needed_by: One of `WITHOUT_RAY`.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{needed_by} needs the package ray, which is not installed here: pip install 'engram-rl[cluster]'. "
            f"{WITHOUT_RAY[needed_by]}"
        ) from error
    return ray


SHARDED = "engram_rl.memory.sharded.ShardedMemory"


def lies_in_shards(agent: Any) -> bool:
    """Whether the memory of an agent, as configured, does."""
    return OmegaConf.select(agent, "memory._target_") == SHARDED


@contextmanager
def ray_for_shards(config: Any) -> Iterator[None]:
    """Ray, begun or joined as `cluster` of a run says, for as long as the run's memory lies there; else nothing.

    Raises:
        UsageError: As `enter`.
    """
    if not lies_in_shards(config.agent) or config.agent.memory.get("where", "ray") != "ray":
        yield
        return
    enter(Cluster.of(config.get("cluster")), "shards=ray")
    try:
        yield
    finally:
        leave()


_users = 0
_ours = False


def enter(cluster: Cluster, needed_by: str = "env.vectorization=ray") -> Any:
    """The package, connected: to what runs in this process already, to `cluster.address`, or to a Ray begun here.

    Every `enter` is followed by a `leave`; with the last one a Ray that was begun or joined here is left.

    Raises:
        UsageError: It is not installed, cannot be begun, or nobody answers at the address.
    """
    global _users, _ours
    package = ray(needed_by)
    if not package.is_initialized():
        _connect(package, cluster)
        _ours = True
    _users += 1
    return package


def leave() -> None:
    """What needed Ray is over."""
    global _users, _ours
    _users -= 1
    if _users == 0 and _ours:
        _ours = False
        ray().shutdown()


def _connect(package: Any, cluster: Cluster) -> None:
    shared = {"log_to_driver": True, "logging_level": logging.ERROR}
    if cluster.address is not None:
        try:
            package.init(address=cluster.address, **shared)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise UsageError(
                f"No Ray cluster could be joined at cluster.address={cluster.address}: {_brief(error)} Begin one with "
                f"`ray start --head --port=6379` and give its host:6379, or leave cluster.address out to begin one "
                f"here."
            ) from error
        return
    for name, value in BEGUN_WITH.items():
        os.environ.setdefault(name, value)
    workers = cluster.workers or 1
    cpus = max(os.cpu_count() or 1, workers, math.ceil(workers * cluster.worker_cpus))  # so many begin side by side
    try:
        package.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=cluster.object_store * MEGABYTE,
            **shared,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UsageError(
            f"Ray could not be begun on this machine: {_brief(error)} Its logs are in /tmp/ray/session_latest/logs; "
            f"an object store of cluster.object_store={cluster.object_store} megabytes must fit into /dev/shm."
        ) from error


def require_room(package: Any, workers: int, cluster: Cluster) -> None:
    """Raise if a cluster as it is, with all of it free, has too few processors for these workers.

    Raises:
        UsageError: It has.
    """
    there, wanted = package.cluster_resources().get("CPU", 0.0), workers * cluster.worker_cpus
    if wanted > there:
        raise UsageError(
            f"{workers} workers of cluster.worker_cpus={cluster.worker_cpus:g} processors each need {wanted:g}; the "
            f"cluster has {there:g}. Lower cluster.workers (or cluster.actors) or cluster.worker_cpus (0 for "
            f"environments that mostly wait), or add machines."
        )


def _brief(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0].rstrip('.') if lines else type(error).__name__}."
