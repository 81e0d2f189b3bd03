"""Carrying out runs: several processes, each finished row appended whole, none done twice."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook
from tqdm import tqdm

from benchmarks.shift.contestants import make_contestant
from benchmarks.shift.environment import build_environment
from benchmarks.shift.protocol import EpisodeLog, play
from benchmarks.shift.rows import Cost, Row, append_row, make_row, read_rows, told
from benchmarks.shift.specs import RunSpec
from training.errors import UsageError
from training.seeding import seed_everything, use_threads

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def carry_out(specs: Sequence[RunSpec], out: Path, workers: int, progress: bool = True) -> dict[str, str]:
    """Run every spec that `out` has no row of yet, and append a row for each as it ends.

    Args:
        specs: The runs; those already in `out` are kept as they are.
        out: A file of JSON lines, made where there is none.
        workers: Processes side by side, one torch thread each.
        progress: Whether to show a bar.

    Returns:
        What went wrong, by run; a run that fails stops no other.
    """
    done = {row["key"] for row in read_rows(out)}
    missing = [spec for spec in specs if spec.key not in done]
    failures: dict[str, str] = {}
    with tqdm(total=len(specs), initial=len(specs) - len(missing), unit="run", disable=not progress) as bar:
        for spec, outcome in _outcomes(missing, min(workers, len(missing))):
            if isinstance(outcome, BaseException):
                failures[describe(spec)] = _reason(outcome)
            else:
                append_row(out, outcome)
            bar.set_postfix_str(describe(spec))
            bar.update()
    return failures


def measure(spec: RunSpec) -> Row:
    """Play one run and say what it cost."""
    use_threads(1)
    seed_everything(spec.seed)
    env = build_environment(spec.environment, spec.layout_seed)
    log = EpisodeLog(env, spec.episodes, spec.environment_seed)
    contestant = make_contestant(spec, log)
    began = time.perf_counter()
    with counted_gradient_steps() as gradient_steps:
        env_steps = play(contestant, log, spec.budget)
    seconds = time.perf_counter() - began
    gradients = gradient_steps[0] + getattr(contestant, "unseen_gradient_steps", 0)
    cost = Cost(env_steps, gradients, round(seconds, 2), contestant.entries, told(env, contestant))
    log.close()
    return make_row(spec, log.record, cost)


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


def describe(spec: RunSpec) -> str:
    """A run in a few words."""
    layout = "" if spec.layout_seed is None else f" layout {spec.layout_seed}"
    return f"{spec.agent} seed {spec.seed}{layout} ({spec.env}, budget {spec.budget})"


def _outcomes(specs: Sequence[RunSpec], workers: int) -> Iterator[tuple[RunSpec, Row | BaseException]]:
    """Each run with its row or its error, in the order in which they end."""
    if workers <= 1:
        for spec in specs:
            yield spec, _attempt(spec)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        with _one_thread_each(), _interrupts_left_to_the_parent():
            futures = {pool.submit(measure, spec): spec for spec in specs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.exception() or future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


def _attempt(spec: RunSpec) -> Row | BaseException:
    try:
        return measure(spec)
    except Exception as error:
        return error


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
