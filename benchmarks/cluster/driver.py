"""Kills of the driver: whether its processes end with it, and whether the run that goes on is the one left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.runs import Row
from benchmarks.same_run import episodes, metrics, same, score
from engram_rl.training.logging.logger import METRICS, read_rows

PATIENCE = 120.0
"""Seconds that processes may take to end: workers take few, two helpers of Ray's over a minute."""


def driver_killed(overrides: list[str], kills: int, steps: int) -> Row:
    """Kill runs (SIGKILL) whose environments are on workers, go on, and compare with the same run in one process.

    Args:
        overrides: Of the run, but for where its environments are.
        kills: How many runs are killed, once each.
        steps: Of each run.
    """
    chance = np.random.default_rng(0)
    on_workers = [*overrides, "env.vectorization=ray", "cluster.workers=2"]
    left, differing, lost = 0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        _start([*overrides, "env.vectorization=sync", f"hydra.run.dir={whole}"]).wait()
        for number in range(kills):
            folder = Path(scratch) / f"killed_{number}"
            process = _start([*on_workers, f"hydra.run.dir={folder}"])
            target = int(chance.integers(steps // 8, steps // 2))
            while process.poll() is None and _reached(folder) < target:
                time.sleep(0.01)
            family = descendants(process.pid)
            process.send_signal(signal.SIGKILL)
            process.wait()
            left += len(_left_of(family))
            lost = max(lost, _reached(folder))
            if _start([f"resume={folder}"]).wait():
                raise RuntimeError(f"The run in {folder} did not go on.")
            differing += not all(same(part(whole), part(folder)) for part in (metrics, episodes, score))
    return {
        "left_processes": left,
        "differing_runs": differing,
        "most_steps_at_a_kill": lost,
        "holds": not left and not differing,
    }


def descendants(process: int) -> list[int]:
    """All processes that a process began, and those that they began."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = entry.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents.setdefault(int(words[1]), []).append(int(entry.parent.name))
    found, look = [], [process]
    while look:
        look = [child for parent in look for child in parents.get(parent, [])]
        found += look
    return found


def _left_of(processes: list[int]) -> list[int]:
    """Those that have not ended after a while."""
    end = time.monotonic() + PATIENCE
    while (left := [one for one in processes if _runs(one)]) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _runs(process: int) -> bool:
    """Whether it has not ended; one that nobody has asked for its status has."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "engram_rl", "train", *arguments]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **silent)  # type: ignore[call-overload]


def _reached(folder: Path) -> int:
    """The last step that a run wrote down."""
    rows = read_rows(folder / METRICS)
    return rows[-1]["step"] if rows else 0
