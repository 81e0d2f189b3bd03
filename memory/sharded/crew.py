"""Who holds the shards: this process, or actors of Ray, which may be on other machines."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar, Protocol, TypeAlias

import torch

from engram_rl.memory.sharded.packing import packed, unpacked
from engram_rl.memory.sharded.shard import Shard

Settings: TypeAlias = list[dict[str, Any]]
"""The arguments of each shard's dictionary."""

PATIENCE = 300.0
"""Seconds after which a shard that does not answer counts as lost."""

BEGUN_WITH = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""Variables for a Ray that is begun here: nothing is sent to anybody, a notice about GPUs is not printed, and shards
are as urgent as who waits for them, where Ray would let everything else on the machine go first."""

_numbers = count()
"""Of the memories of this process, by which hosts know them."""


class Lost(Exception):  # noqa: N818  (what happened, not a mistake)
    """Shards that have died or do not answer, and what the others answered meanwhile."""

    def __init__(self, shards: list[int], answers: list[Any]) -> None:
        super().__init__(f"shards {shards}")
        self.shards, self.answers = shards, answers


class Crew(Protocol):
    """Asks shards.

    Attributes:
        mortal: Whether shards can be lost.
    """

    mortal: bool

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

    mortal = False

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
    """A shard on each of as many hosts, which it shares with all memories of this process that have as many shards.

    Args:
        settings: Of each.
        address: Of a cluster to join; None takes the Ray that runs in this process, or begins one on this machine.
        cpus: What a host reserves.
        patience: Seconds after which a host that does not answer counts as lost.

    Raises:
        ImportError: Ray is not installed.
        ValueError: The cluster has too few processors.
        ConnectionError: There is no Ray to be begun or joined, or a host did not begin in time.
    """

    mortal = True

    def __init__(self, settings: Settings, address: str | None, cpus: float, patience: float) -> None:
        self._hosts = Hosts.of(len(settings), address, cpus)
        self._settings, self._patience = settings, patience
        self._memory = next(_numbers)
        self._lost = [0] * len(settings)
        self._lie_on = list(self._hosts.actors)
        try:
            self._answers({shard: self._begun(shard) for shard in range(len(settings))})
        except BaseException as error:
            self.close()
            if isinstance(error, Lost):
                raise ConnectionError(
                    f"{error} did not begin within patience={patience:g} seconds; raise patience, or see why in Ray's "
                    f"logs (/tmp/ray/session_latest/logs)"
                ) from None
            raise

    def ask(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> list[Any]:
        """Call each; all work at the same time."""
        self._require_open()
        asked, gone = {}, []
        for shard, (host, given) in enumerate(zip(self._hosts.actors, arguments, strict=True)):
            if given is not None and self._is_gone(shard):
                gone.append(shard)
            elif given is not None:
                asked[shard] = host.call.remote(self._memory, method, _sent(given))
        return self._answers(asked, gone)

    def tell(self, method: str, arguments: Sequence[Sequence[Any] | None]) -> None:
        """Call each; whether it has died shows when it is asked next."""
        self._require_open()
        for shard, (host, given) in enumerate(zip(self._hosts.actors, arguments, strict=True)):
            if given is not None and not self._is_gone(shard):
                host.call.remote(self._memory, method, _sent(given))

    def begin(self, shard: int) -> None:
        """Have a new, empty shard in this place, on a new host unless another memory has seen to that already."""
        self._lost[shard] += 1
        if not self._is_gone(shard):
            self._hosts.replace(shard)
        self._lie_on[shard] = self._hosts.actors[shard]
        self._begun(shard)

    def close(self) -> None:
        """End the shards; with the last memory the hosts, and Ray where it was begun here."""
        if self._lie_on:
            self._hosts.leave(self._memory, [shard for shard in range(len(self._lie_on)) if not self._is_gone(shard)])
        self._lie_on = []

    def processes(self) -> list[int]:
        """The process of each host, on its machine."""
        return self._hosts.processes()

    def _require_open(self) -> None:
        if not self._lie_on:
            raise RuntimeError("this memory was closed, and its shards are gone; load what was saved of it")

    def _is_gone(self, shard: int) -> bool:
        """Whether its host was lost when another memory asked it."""
        return self._lie_on[shard] is not self._hosts.actors[shard]

    def _begun(self, shard: int) -> Any:
        return self._hosts.actors[shard].begin.remote(self._memory, self._settings[shard], self._lost[shard])

    def _answers(self, asked: dict[int, Any], gone: Sequence[int] = ()) -> list[Any]:
        answers: list[Any] = [None] * len(self._settings)
        lost, ray = list(gone), self._hosts.ray
        for shard, reference in asked.items():
            try:
                answer = ray.get(reference, timeout=self._patience)
                answers[shard] = None if answer is None else unpacked(answer)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                lost.append(shard)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
        if lost:
            raise Lost(sorted(lost), answers)
        return answers


class Hosts:
    """Actors of Ray, each of which holds a shard of every memory that has as many.

    An agent may have a memory for each of many actions, and copies of it are evaluated: they share processes.

    Args:
        shards: How many.
        address: See `OnRay`.
        cpus: See there.

    Attributes:
        ray: The package.
        actors: A handle of each; another where one was replaced.
    """

    _all: ClassVar[dict[tuple[int, str | None, float], Hosts]] = {}
    _ray_is_ours: ClassVar[bool] = False

    def __init__(self, shards: int, address: str | None, cpus: float) -> None:
        self.ray = _ray()
        if not self.ray.is_initialized():
            _connect(self.ray, address, max(shards, os.cpu_count() or 1))
            Hosts._ray_is_ours = True
        there, wanted = self.ray.cluster_resources().get("CPU", 0.0), shards * cpus
        if wanted > there:
            self._end_ray()
            raise ValueError(
                f"{shards} shards of cpus={cpus:g} processors each need {wanted:g}; the cluster has {there:g}. "
                f"Lower shards or cpus (0 where they share processors), or add machines"
            )
        self._known_by, self._cpus, self._users = (shards, address, cpus), cpus, 0
        self.actors = [self._actor() for _ in range(shards)]

    @classmethod
    def of(cls, shards: int, address: str | None, cpus: float) -> Hosts:
        """Those that there are, or new ones; `leave` says that they are not needed any more."""
        known_by = shards, address, cpus
        hosts = cls._all.get(known_by)
        if hosts is None or not hosts.ray.is_initialized():
            hosts = cls._all[known_by] = cls(*known_by)
        hosts._users += 1
        return hosts

    def leave(self, memory: int, shards: list[int]) -> None:
        """A memory ends, and with it these shards."""
        self._users -= 1
        if not self.ray.is_initialized():  # it has ended, and all actors with it
            Hosts._all.pop(self._known_by, None)
            return
        if self._users:
            for shard in shards:
                self.actors[shard].end.remote(memory)
            return
        for actor in self.actors:
            self.ray.kill(actor)
        Hosts._all.pop(self._known_by, None)
        self._end_ray()

    def replace(self, shard: int) -> None:
        """Have a new actor in this place, wherever there is room; no memory has a shard on it yet."""
        self.ray.kill(self.actors[shard])
        self.actors[shard] = self._actor()

    def processes(self) -> list[int]:
        """The process of each, on its machine."""
        return list(self.ray.get([actor.process.remote() for actor in self.actors]))

    def _actor(self) -> Any:
        return self.ray.remote(num_cpus=self._cpus, max_restarts=0)(Host).remote()

    def _end_ray(self) -> None:
        if Hosts._ray_is_ours and not Hosts._all:
            Hosts._ray_is_ours = False
            self.ray.shutdown()


class Host:
    """A process that holds a shard of each of several memories; it computes on one thread."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._shards: dict[int, Shard] = {}

    def begin(self, memory: int, settings: dict[str, Any], era: int) -> None:
        """Hold an empty shard of a memory; see `Shard`."""
        self._shards[memory] = Shard(settings, era)

    def end(self, memory: int) -> None:
        """Hold it no more."""
        self._shards.pop(memory, None)

    def call(self, memory: int, method: str, given: Any) -> bytes:
        """What a method of its shard answers, as `packed`, to what was `_sent`."""
        return packed(getattr(self._shards[memory], method)(*(unpacked(given) if isinstance(given, bytes) else given)))

    def process(self) -> int:
        """Its number."""
        return os.getpid()


def _sent(given: Sequence[Any]) -> Any:
    """As `packed`; but where there are functions, which may stand in a script or a notebook, as Ray packs them."""
    return tuple(given) if any(map(callable, given)) else packed(given)


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
        for name, value in BEGUN_WITH.items():
            os.environ.setdefault(name, value)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **shared)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "begun on this machine" if address is None else f"joined at address={address}"
        raise ConnectionError(
            f"Ray could not be {where}: {str(error).splitlines()[0] if str(error) else type(error).__name__}. "
            f"`ray start --head --port=6379` begins one; give its host:6379 as address"
        ) from error
