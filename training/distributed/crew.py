"""The workers that environments are spread over: asked, waited for, and begun anew where they die or do not answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gymnasium as gym

from engram_rl.training.distributed import cluster as connection
from engram_rl.training.distributed.cluster import Cluster
from engram_rl.training.distributed.worker import Answer, EnvironmentWorker, Failure, Made
from engram_rl.training.errors import UsageError

CLOSING = 10.0
"""Seconds that environments have for closing before their processes are ended."""


class TracebackThere(Exception):  # noqa: N818  (it stands where a traceback does)
    """The traceback of an exception that was raised in another process."""


class Crew:
    """Workers with their environments; one that dies is replaced by one whose environments begin anew.

    Args:
        makers: Of the environments of each worker; they are sent, so what they name must be known where workers run.
        cluster: Where, and how patient to be.
        reserve: Whether workers take processors of the cluster for themselves; those that only work while others rest
            need not.

    Attributes:
        made: What the first worker's environments say of themselves.
        lost: Workers that were replaced so far.

    Raises:
        UsageError: An environment cannot be made there, there is no room, or Ray cannot be begun.
    """

    def __init__(self, makers: Sequence[Sequence[Callable[[], gym.Env]]], cluster: Cluster, *, reserve: bool = True):
        self._cluster, self._cpus = cluster, cluster.worker_cpus if reserve else 0
        self._ray = connection.enter(cluster)
        self._asked: dict[int, tuple[Any, float, str]] = {}  # what will be its answer, when that is too late, to what
        self._deaths = [0] * len(makers)  # without a step in between
        self._workers: list[Any] = []
        self.lost = 0
        try:
            if reserve:
                connection.require_room(self._ray, len(makers), cluster)
            self._makers = [self._sendable(mine) for mine in makers]
            self._kind = self._ray.remote(EnvironmentWorker)
            self._workers = [self._begun() for _ in makers]
            for worker, mine in enumerate(self._makers):
                self.ask(worker, "make", mine)
            everybody: list[Made] = [self._answered_or_replaced(worker) for worker in range(len(makers))]
        except BaseException:
            self.close()
            raise
        self.made = everybody[0]
        self.processes = [made.process for made in everybody]

    def ask(self, worker: int, method: str, *arguments: Any) -> None:
        """Ask a worker that has nothing to do."""
        answer = getattr(self._workers[worker], method).remote(*arguments)
        self._asked[worker] = (answer, time.monotonic() + self._cluster.patience, method)

    def is_busy(self, worker: int) -> bool:
        """Whether it was asked and its answer was not taken."""
        return worker in self._asked

    def ready(self) -> list[int]:
        """Workers whose answers can be taken, in their order: at least one, or nobody if nobody was asked.

        Those that have not answered in time count as ready: taking their answer ends them.
        """
        by_ref = {ref: worker for worker, (ref, _, _) in self._asked.items()}
        if not by_ref:
            return []
        first = min(end for _, end, _ in self._asked.values())
        done, late = self._ray.wait(list(by_ref), num_returns=1, timeout=max(first - time.monotonic(), 0))
        more, late = self._ray.wait(late, num_returns=len(late), timeout=0) if late else ([], [])
        now = time.monotonic()
        overdue = [ref for ref in late if self._asked[by_ref[ref]][1] <= now]
        return sorted(by_ref[ref] for ref in (*done, *more, *overdue))

    def take(self, worker: int) -> Any:
        """The answer to what a worker was asked; None where it died, or did not answer in time: it is gone then.

        Raises:
            UsageError: Something went wrong in an environment.
        """
        ref, end, method = self._asked.pop(worker)
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(ref, timeout=max(end - time.monotonic(), 0))
        except errors.RayTaskError as error:  # in our own code: what environments raise is an answer
            raise UsageError(
                f"A worker could not do what it was asked. Is the same version of engram-rl installed on every machine "
                f"of the cluster? {error}"
            ) from error
        except errors.RayError:  # it died, its machine did, or it is taking too long
            with suppress(Exception):
                self._ray.kill(self._workers[worker])
            self._deaths[worker] += 1
            return None
        if isinstance(answer, Failure):
            raise answer.error from TracebackThere(answer.traceback)
        if method == "step":
            self._deaths[worker] = 0
        return answer

    def replace(self, worker: int, seeds: Sequence[int | None]) -> Answer:
        """Begin anew in place of a worker that died, and reset its environments.

        Raises:
            UsageError: It dies again and again.
        """
        self.lost += 1
        answer: Answer | None = None
        while answer is None:
            self._again(worker)
            self.ask(worker, "make", self._makers[worker])
            made = self.take(worker)
            if made is not None:
                self.processes[worker] = made.process
                self.ask(worker, "reset", list(seeds), None)
                answer = self.take(worker)
        return answer

    def close(self) -> None:
        """Close the environments, within some seconds, and end the processes.

        Raises:
            UsageError: What the first environment that could not be closed raised.
        """
        workers, self._workers = self._workers, []
        asked = []
        for worker in workers:
            with suppress(Exception):
                asked.append(worker.close.remote())
        failed = None
        end = time.monotonic() + CLOSING
        for ref in asked:
            with suppress(Exception):
                answer = self._ray.get(ref, timeout=max(end - time.monotonic(), 0.01))
                failed = failed or (answer if isinstance(answer, Failure) else None)
        for worker in workers:
            with suppress(Exception):
                self._ray.kill(worker)
        connection.leave()
        if failed:
            raise failed.error from TracebackThere(failed.traceback)

    def _begun(self) -> Any:
        return self._kind.options(num_cpus=self._cpus).remote(list(sys.path))

    def _again(self, worker: int) -> None:
        """A new process for a worker, if it has not died too often in a row."""
        if self._deaths[worker] > self._cluster.restarts:
            raise UsageError(
                f"Worker {worker} died, or did not answer for cluster.patience={self._cluster.patience:g} seconds, "
                f"{self._deaths[worker]} times without a step in between (cluster.restarts={self._cluster.restarts}): "
                f"its environments end their process, hang, or find too little memory. What it printed last is in "
                f"/tmp/ray/session_latest/logs."
            )
        self._workers[worker] = self._begun()

    def _answered_or_replaced(self, worker: int) -> Made:
        while (made := self.take(worker)) is None:
            self._again(worker)
            self.ask(worker, "make", self._makers[worker])
        return made

    def _sendable(self, makers: Sequence[Callable[[], gym.Env]]) -> bytes:
        try:
            return self._ray.cloudpickle.dumps(list(makers))
        except Exception as error:
            raise UsageError(
                f"The environment cannot be made on a worker, since what makes it cannot be sent there "
                f"({type(error).__name__}: {error}): name it by module (env.id=package.module:Name-v0), or use "
                f"env.vectorization=async."
            ) from error
