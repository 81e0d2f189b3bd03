"""The types of a configuration, so that a wrong value is refused where it is typed; the values live in `conf/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Environment:
    """`conf/env/*.yaml`; see `engram_rl.training.environments.make_environments`."""

    id: str = MISSING
    num_envs: int = MISSING
    vectorization: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: list[Any] = field(default_factory=list)
    success_above: float | None = None
    max_episode_steps: int | None = None
    modalities: Any = None  # a dict, but a typed one that is null takes no dict from the command line


@dataclass
class Workers:
    """`conf/cluster/*.yaml`; see `engram_rl.training.distributed.cluster.Cluster`."""

    workers: int | None = None
    address: str | None = None
    worker_cpus: float = MISSING
    asynchronous: bool = MISSING
    patience: float = MISSING
    restarts: int = MISSING
    object_store: int = MISSING
    actors: int | None = None
    round: int = MISSING
    staleness: int = MISSING


@dataclass
class Log:
    """How often the curve gets a point and what is retrieved is drawn, and what is shown at the end."""

    every: int = MISSING
    retrieved: int = 0
    video: bool = MISSING
    memory: bool = MISSING


@dataclass
class Evaluation:
    """How often and how long the agent is evaluated."""

    every: int = MISSING
    episodes: int = MISSING
    mode: str | None = None
    max_steps: int | None = None


@dataclass
class Checkpoint:
    """How often a run is saved and how many saves are kept."""

    every: int = MISSING
    keep: int = MISSING
    best: bool = MISSING


@dataclass
class Training:
    """`conf/train.yaml`."""

    agent: Any = MISSING
    env: Environment = MISSING
    cluster: Workers = MISSING
    logger: Any = None
    seed: int = MISSING
    steps: int = MISSING
    threads: int = MISSING
    seeding: str = MISSING
    progress: bool = MISSING
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    resume: str | None = None
    log: Log = MISSING
    evaluation: Evaluation = MISSING
    checkpoint: Checkpoint = MISSING


@dataclass
class Evaluating:
    """`conf/evaluate.yaml`."""

    run: str = MISSING
    checkpoint: str = MISSING
    memory_mode: str | None = None
    episodes: int = MISSING
    max_steps: int | None = None
    seed: int = MISSING
    video: bool = MISSING
    out: str | None = None


def _whole(kind: type, place: str = "") -> Iterator[str]:
    """The places of a configuration that take whole numbers."""
    for name, hint in get_type_hints(kind).items():
        if hint is int or hint == int | None:
            yield f"{place}{name}"
        elif is_dataclass(hint):
            yield from _whole(hint, f"{place}{name}.")  # type: ignore[arg-type]


WHOLE = frozenset([*_whole(Training), *_whole(Evaluating)])
"""Places that take whole numbers."""


def register() -> None:
    """Make the types known to Hydra's composition."""
    store = ConfigStore.instance()
    store.store(name="training_schema", node=Training)
    store.store(name="evaluating_schema", node=Evaluating)
