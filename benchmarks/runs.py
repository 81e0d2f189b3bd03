"""Carrying out the runs of a benchmark: several processes, each finished row appended whole, none done twice."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch.optim.optimizer import register_optimizer_step_post_hook
from tqdm import tqdm

from benchmarks.fingerprint import Trace, watched
from benchmarks.provenance import complete, recorded
from benchmarks.translation import row_today
from engram_rl.training.errors import UsageError, say_once

Row = dict[str, Any]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Run(Protocol):
    """What defines a run; `str(run)` says it in a few words."""

    @property
    def key(self) -> str:
        """A digest of all that defines the run; its row bears it as `key`."""


@dataclass(frozen=True)
class AgentRun:
    """An agent that trains on an environment: everything that defines the run; two equal ones give the same row.

    Attributes:
        env: The name given on the command line.
        environment: As in a YAML of `conf/env`, resolved.
        agent: What was given on the command line: a name, then values that differ from its settings.
        settings: Of the agent, resolved.
        seed: Of the agent and of the environments.
        steps: Environment steps, summed over the environments.
    """

    env: str
    environment: dict[str, Any]
    agent: str
    settings: dict[str, Any]
    seed: int
    steps: int

    @property
    def key(self) -> str:
        """A digest of all that defines the run."""
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.agent} seed {self.seed} ({self.env}, {self.steps} steps)"


RunType = TypeVar("RunType", bound=Run)


def carry_out(
    runs: Sequence[RunType], measure: Callable[[RunType], Row], out: Path, workers: int, progress: bool = True
) -> dict[str, str]:
    """Measure every run that `out` has no row of yet, and append a row for each as it ends.

    Args:
        runs: Those already in `out` are kept as they are; a row that does not say how it came about, or has been
            changed since it was written, does not count.
        measure: Makes a run's row; a module's function, so that other processes find it.
        out: A file of JSON lines, made where there is none.
        workers: Processes side by side, one torch thread each.
        progress: Whether to show a bar.

    Returns:
        What went wrong, by run; a run that fails stops no other.
    """
    done = {row["key"] for row in measured(out)}
    missing = [run for run in runs if run.key not in done]
    failures: dict[str, str] = {}
    with tqdm(total=len(runs), initial=len(runs) - len(missing), unit="run", disable=not progress) as bar:
        for run, outcome in _outcomes(missing, measure, min(workers, len(missing))):
            if isinstance(outcome, BaseException):
                failures[str(run)] = _reason(outcome)
            else:
                append_row(out, recorded(outcome))
            bar.set_postfix_str(str(run))
            bar.update()
    return failures


def status_of(failures: dict[str, str]) -> int:
    """Say what went wrong, by run; the exit status of the command."""
    for run, reason in failures.items():
        print(f"failed: {run}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def rows_of(runs: Sequence[AgentRun], out: Path) -> list[Row]:
    """The rows of these runs, each under the name that its agent has on this command line."""
    asked = {run.key: run.agent for run in runs}
    return [row | {"agent": asked[row["key"]]} for row in measured(out) if row["key"] in asked]


def file_name(title: str) -> str:
    """A title as the name of a file."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", title).lower()


@contextmanager
def counted_gradient_steps() -> Iterator[list[int]]:
    """Counts every step of every torch optimiser of this process, whoever owns it."""
    count = [0]

    def one_more(*_: Any) -> None:
        count[0] += 1

    handle = register_optimizer_step_post_hook(one_more)
    try:
        yield count
    finally:
        handle.remove()


def append_row(path: Path, row: Row) -> None:
    """Append one line in a single write, on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(row, allow_nan=False) + "\n"
    with path.open("ab") as file:
        if file.tell() and not _ends_a_line(path):
            line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[Row]:
    """The rows of a file in today's words, none where there is no file; a line that a crash cut short is left out.

    Raises:
        UsageError: The file holds something else.
    """
    return [row_today(row) for row in _stored(path)]


def measured(path: Path) -> list[Row]:
    """Those of the rows that say how they came about and are as they were written; the others do not count.

    Raises:
        UsageError: The file holds something else.
    """
    stored = _stored(path)
    counting = [row_today(row) for row in stored if complete(row)]
    if others := len(stored) - len(counting):
        say_once(f"{others} rows of {path} do not say how they came about, or were changed since: they do not count.")
    return counting


def _stored(path: Path) -> list[Row]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(_parsed, lines) if row is not None]
    if lines and not rows:
        raise UsageError(f"{path} is no file of runs: none of its {len(lines)} lines is a row. Give another out=FILE.")
    return rows


def _outcomes(
    runs: Sequence[RunType], measure: Callable[[RunType], Row], workers: int
) -> Iterator[tuple[RunType, Row | BaseException]]:
    """Each run with its row or its error, in the order in which they end."""
    if workers <= 1:
        for run in runs:
            yield run, _attempt(run, measure)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        with _one_thread_each(), _interrupts_left_to_the_parent():
            futures = {pool.submit(_observed, run, measure): run for run in runs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.exception() or future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


def _attempt(run: RunType, measure: Callable[[RunType], Row]) -> Row | BaseException:
    try:
        return _observed(run, measure)
    except Exception as error:
        return error


def _observed(run: RunType, measure: Callable[[RunType], Row]) -> Row:
    """The row of a run with the seconds it took, and its fingerprint where it went through environments here."""
    began = time.perf_counter()
    with watched(Trace()) as trace:
        row = measure(run)
    fingerprint = {"fingerprint": trace.fingerprint} if trace.steps else {}
    return {"seconds": round(time.perf_counter() - began, 3)} | row | fingerprint


def _reason(error: BaseException) -> str:
    """The message of what a user can put right, the whole traceback of the rest."""
    return str(error) if isinstance(error, UsageError) else "".join(traceback.format_exception(error)).rstrip()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Children read these when they import numpy and torch, before any of our code could limit them."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_left_to_the_parent() -> Iterator[None]:
    """Children started meanwhile ignore Ctrl-C, which a terminal sends to all; the parent ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _parsed(line: str) -> Row | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and "key" in row else None
