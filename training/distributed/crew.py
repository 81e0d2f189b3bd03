"""The workers that environments are spread over: asked, waited for, and begun anew where they die or do not answer."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any

from engram_rl.training.distributed import cluster as connection
from engram_rl.training.distributed.cluster import Cluster
from engram_rl.training.distributed.lines import Switchboard, at_once
from engram_rl.training.distributed.worker import EnvironmentWorker, Failure, Made
from engram_rl.training.errors import UsageError

CLOSING = 10.0
"""Seconds that environments have for closing before their processes are ended."""

LOOKING = 0.5
"""Seconds between two looks at whether a process that has not called yet has ended."""

BROKEN = (EOFError, OSError)
"""What a line raises whose other end has gone, or has stopped in the middle of a message."""


class TracebackThere(Exception):  # noqa: N818  (it stands where a traceback does)
    """The traceback of an exception that was raised in another process."""


class Crew:
    """Workers with their environments; one that dies is replaced by one whose environments begin anew.

    Ray begins the processes and ends them; what they are asked goes over lines of their own.

    Args:
        makers: Of the environments of each worker, or its orders; they are sent, so what they name must be known where
            workers run.
        cluster: Where, and how patient to be.
        reserve: Whether workers take processors of the cluster for themselves; those that only work while others rest
            need not.
        kind: What does the work.
        needed_by: What asked for it, for who lacks Ray.

    Attributes:
        made: What each worker's environments say of themselves.
        lost: Workers that were replaced so far.

    Raises:
        UsageError: An environment cannot be made there, there is no room, or Ray cannot be begun.
    """

    def __init__(
        self,
        makers: Sequence[Sequence[Any]],
        cluster: Cluster,
        *,
        reserve: bool = True,
        kind: type[EnvironmentWorker] = EnvironmentWorker,
        needed_by: str = "env.vectorization=ray",
    ):
        self._cluster, self._cpus = cluster, cluster.worker_cpus if reserve else 0
        self._ray = connection.enter(cluster, needed_by)
        self._tickets = count()
        self._actors: dict[int, Any] = {}
        self._lines: dict[int, Connection] = {}
        self._late: dict[int, float] = {}  # of workers that were asked: when an answer comes too late
        self._deaths = [0] * len(makers)  # without a step in between
        self.lost = 0
        self._switchboard = Switchboard(self._ray.util.get_node_ip_address())
        try:
            if reserve:
                connection.require_room(self._ray, len(makers), cluster)
            self._makers = [self._sendable(mine) for mine in makers]
            self._kind = self._ray.remote(kind)
            calling = [self._begin(worker) for worker in range(len(makers))]
            for worker, ticket in enumerate(calling):
                self._connect(worker, ticket)
            self.made: list[Made] = [self._made_or_replaced(worker) for worker in range(len(makers))]
        except BaseException:
            self.close()
            raise

    def ask(self, worker: int, method: str, *arguments: Any) -> None:
        """Ask a worker that has nothing to do; one whose line is broken is found dead when its answer is taken."""
        self._late[worker] = time.monotonic() + self._cluster.patience
        with suppress(*BROKEN):
            if worker in self._lines:
                self._lines[worker].send((method, arguments))

    def is_busy(self, worker: int) -> bool:
        """Whether it was asked and its answer was not taken."""
        return worker in self._late

    def ready(self) -> list[int]:
        """Workers whose answers can be taken, in their order: at least one, or nobody if nobody was asked.

        Those that are dead, or have not answered in time, count as ready.
        """
        gone = [worker for worker in self._late if worker not in self._lines]
        by_line = {self._lines[worker]: worker for worker in self._late if worker in self._lines}
        seconds = 0.0 if gone or not by_line else max(min(self._late.values()) - time.monotonic(), 0)
        answered = [by_line[line] for line in wait(list(by_line), timeout=seconds)]  # type: ignore[index]
        now = time.monotonic()
        return sorted({*gone, *answered, *(worker for worker, end in self._late.items() if end <= now)})

    def take(self, worker: int) -> Any:
        """The answer to what a worker was asked; None where it died, or did not answer in time: it is gone then.

        Raises:
            UsageError: Something went wrong in an environment.
        """
        end, line = self._late.pop(worker), self._lines.get(worker)
        answer = None
        with suppress(*BROKEN):
            if line is not None and line.poll(max(end - time.monotonic(), 0)):
                answer = pickle.loads(line.recv_bytes())
        if answer is None:
            self._end(worker)
            self._deaths[worker] += 1
        elif isinstance(answer, Failure):
            raise answer.error from TracebackThere(answer.traceback)
        elif getattr(answer, "stepped", False):
            self._deaths[worker] = 0
        return answer

    def replace(self, worker: int, seeds: Sequence[int | None], options: Any = None) -> Any:
        """Begin anew in place of a worker that died, and reset its environments; what the reset answers.

        Args:
            worker: Which.
            seeds: Of its environments.
            options: Of the reset.

        Raises:
            UsageError: It dies again and again.
        """
        self.lost += 1
        answer: Any = None
        while answer is None:
            self._again(worker)
            self.made[worker] = self._made_or_replaced(worker)
            self.ask(worker, "reset", list(seeds), options)
            answer = self.take(worker)
        return answer

    def close(self) -> None:
        """Close the environments, within some seconds, and end the processes.

        Raises:
            UsageError: What the first environment that could not be closed raised.
        """
        self._switchboard.close()
        workers, end = sorted(self._actors), time.monotonic() + CLOSING
        failures = self._last_answers(end)  # of those that are stepping
        for worker in workers:
            self.ask(worker, "close")
        failures += self._last_answers(end)
        for worker in workers:
            self._end(worker)
        connection.leave()
        if failures:
            raise failures[0]

    def _last_answers(self, end: float) -> list[UsageError]:
        """Take the answers of all that were asked, until then; what went wrong."""
        failures = []
        for worker in list(self._late):
            self._late[worker] = end
            try:
                self.take(worker)
            except UsageError as failure:
                failures.append(failure)
        return failures

    def _begin(self, worker: int) -> int:
        """Begin a process, which calls with the ticket that is given back."""
        ticket = next(self._tickets)
        actor = self._kind.options(num_cpus=self._cpus).remote(list(sys.path))
        serving = actor.serve.remote(self._switchboard.address, self._switchboard.key, ticket)
        self._actors[worker] = (actor, serving)
        return ticket

    def _connect(self, worker: int, ticket: int) -> None:
        """Wait until a process calls; one that ends before, or does not call in time, has no line.

        Raises:
            UsageError: It cannot do what it is there for.
        """
        end, (_, serving) = time.monotonic() + self._cluster.patience, self._actors[worker]
        while time.monotonic() < end:
            line = self._switchboard.line(ticket, LOOKING)
            if line is not None:
                at_once(line, self._cluster.patience)
                self._lines[worker] = line
                return
            if self._ray.wait([serving], timeout=0)[0]:
                self._require_only_dead(serving)
                return

    def _require_only_dead(self, serving: Any) -> None:
        try:
            self._ray.get(serving)
        except self._ray.exceptions.RayTaskError as error:
            raise UsageError(
                f"A worker could not begin. Is the same version of engram-rl installed on every machine of the "
                f"cluster, and can this machine be reached at {self._switchboard.address[0]}? {error}"
            ) from error
        except self._ray.exceptions.RayError:
            return

    def _again(self, worker: int) -> None:
        """A new process for a worker, if it has not died too often."""
        if self._deaths[worker] > self._cluster.restarts:
            raise UsageError(
                f"Worker {worker} died, or did not answer for cluster.patience={self._cluster.patience:g} seconds, "
                f"{self._deaths[worker]} times without a step in between (cluster.restarts={self._cluster.restarts}): "
                f"its environments end their process, hang, or find too little memory. Where they are only slow, raise "
                f"cluster.patience or lower cluster.round, the steps of an actor's answer. What it printed last is in "
                f"/tmp/ray/session_latest/logs."
            )
        self._end(worker)
        self._connect(worker, self._begin(worker))

    def _made_or_replaced(self, worker: int) -> Made:
        while True:
            self.ask(worker, "make", self._makers[worker])
            made = self.take(worker)
            if made is not None:
                return made
            self._again(worker)

    def _end(self, worker: int) -> None:
        """End a process, if it has not ended by itself."""
        if worker in self._lines:
            self._lines.pop(worker).close()
        if worker in self._actors:
            with suppress(Exception):
                self._ray.kill(self._actors.pop(worker)[0])

    def _sendable(self, makers: Sequence[Any]) -> bytes:
        try:
            return self._ray.cloudpickle.dumps(list(makers))
        except Exception as error:
            raise UsageError(
                f"The environment cannot be made on a worker, since what makes it cannot be sent there "
                f"({type(error).__name__}: {error}): name it by module (env.id=package.module:Name-v0), or use "
                f"env.vectorization=async."
            ) from error
