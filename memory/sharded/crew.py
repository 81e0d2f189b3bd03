"""Who holds the shards: this process, or actors of Ray, which may be on other machines."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from engram_rl.memory.sharded.shard import Shard

Settings: TypeAlias = list[dict[str, Any]]
"""The arguments of each shard's dictionary."""

PATIENCE = 300.0
"""Seconds after which a shard that does not answer counts as lost."""


class Lost(Exception):  # noqa: N818  (what happened, not a mistake)
    """Shards that have died or do not answer, and what the others answered meanwhile."""

    def __init__(self, shards: list[int], answers: list[Any]) -> None:
        super().__init__(f"shards {shards}")
        self.shards, self.answers = shards, answers


class Crew(Protocol):
    """Asks shards."""

    def ask(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> list[Any]:
        """Call a method of each shard at once, None for those that are not asked; their answers, in order.

        Raises:
            Lost: A shard has died or does not answer.
        """

    def tell(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> None:
        """The same without waiting; what is asked later is done later."""

    def begin(self, shard: int) -> None:
        """Have a new, empty shard in this place."""

    def close(self) -> None:
        """End them."""


class Here:
    """Shards of this process, one after another: for tests, and to look at what sharding changes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lost = [0] * len(settings)
        self._shards = [Shard(one) for one in settings]

    def ask(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> list[Any]:
        """Call each."""
        pairs = zip(self._shards, arguments, strict=True)
        return [None if given is None else getattr(shard, method)(*given) for shard, given in pairs]

    def tell(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> None:
        """Call each."""
        self.ask(method, arguments)

    def begin(self, shard: int) -> None:
        """Have a new, empty shard in this place."""
        self._lost[shard] += 1
        self._shards[shard] = Shard(self._settings[shard], self._lost[shard])

    def close(self) -> None:
        """There is nothing to end."""


class OnRay:
    """An actor for each shard, each on one thread.

    Args:
        settings: Of each.
        address: Of a cluster to join; None takes the Ray that runs in this process, or begins one on this machine.
        cpus: What a shard reserves.
        patience: Seconds after which a shard that does not answer counts as lost.

    Raises:
        ImportError: Ray is not installed.
        ValueError: The cluster has too few processors.
    """

    def __init__(self, settings: Settings, address: str | None, cpus: float, patience: float) -> None:
        self._ray = _ray()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _connect(self._ray, address, max(len(settings), os.cpu_count() or 1))
        there, wanted = self._ray.cluster_resources().get("CPU", 0.0), len(settings) * cpus
        if wanted > there:
            self.close()
            raise ValueError(
                f"{len(settings)} shards of cpus={cpus:g} processors each need {wanted:g}; the cluster has {there:g}. "
                f"Lower shards or cpus (0 where they share processors), or add machines"
            )
        self._settings, self._cpus, self._patience = settings, cpus, patience
        self._lost = [0] * len(settings)
        self._actors = [self._actor(number) for number in range(len(settings))]

    def ask(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> list[Any]:
        """Call each; all work at the same time."""
        answers: list[Any] = [None] * len(arguments)
        asked = {}
        lost = []
        for number, given in enumerate(arguments):
            if given is not None:
                asked[number] = getattr(self._actors[number], method).remote(*given)
        for number, reference in asked.items():
            try:
                answers[number] = self._ray.get(reference, timeout=self._patience)
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError):
                lost.append(number)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
        if lost:
            raise Lost(lost, answers)
        return answers

    def tell(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> None:
        """Call each; whether it has died shows when it is asked next."""
        for actor, given in zip(self._actors, arguments, strict=True):
            if given is not None:
                getattr(actor, method).remote(*given)

    def begin(self, shard: int) -> None:
        """Have a new actor in this place, wherever there is room."""
        self._lost[shard] += 1
        self._ray.kill(self._actors[shard])
        self._actors[shard] = self._actor(shard)

    def close(self) -> None:
        """End the actors, and Ray where it was begun here."""
        for actor in getattr(self, "_actors", []):
            self._ray.kill(actor)
        self._actors = []
        if self._ours:
            self._ours = False
            self._ray.shutdown()

    def processes(self) -> list[int]:
        """The process of each shard, on its machine."""
        return list(self._ray.get([actor.process.remote() for actor in self._actors]))

    def _actor(self, number: int) -> Any:
        kind = self._ray.remote(num_cpus=self._cpus, max_restarts=0)(Alone)
        return kind.remote(self._settings[number], self._lost[number], True)


class Alone(Shard):
    """A shard that has a process to itself."""

    def process(self) -> int:
        """Its number."""
        return os.getpid()


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ImportError(
            "a sharded memory needs the package ray, which is not installed here: pip install 'engram-rl[cluster]'; "
            'where="here" keeps the shards in this process'
        ) from error
    return ray


def _connect(ray: Any, address: str | None, cpus: int) -> None:
    shared = {"log_to_driver": True, "logging_level": logging.ERROR}
    try:
        if address is not None:
            ray.init(address=address, **shared)
            return
        for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}.items():
            os.environ.setdefault(name, value)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **shared)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "begun on this machine" if address is None else f"joined at address={address}"
        raise ConnectionError(
            f"Ray could not be {where}: {str(error).splitlines()[0] if str(error) else type(error).__name__}. "
            f"`ray start --head --port=6379` begins one; give its host:6379 as address"
        ) from error
