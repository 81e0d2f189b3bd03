"""Metrics of a run: TensorBoard events and one JSON object a line, averaged over the interval between two writes."""

from __future__ import annotations

import json
import math
import mmap
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import Episodes
from engram_rl.training.runs.folder import write_atomically

METRICS, EPISODES = "metrics.jsonl", "episodes.jsonl"


class Curves(Protocol):
    """Who is told of every point of a run's curves as well."""

    def write(self, step: int, means: dict[str, float]) -> None:
        """One point of every curve."""

    def close(self) -> None:
        """The run is over."""


class DivergedError(UsageError):
    """What is learned is not a number any more."""


class RunLogger:
    """Collects metrics every step and writes their means when asked; every episode is counted, none is sampled.

    Args:
        folder: The run folder. `metrics.jsonl`, `episodes.jsonl` and TensorBoard's events go here.
        step: The environment step the run starts at; what was written after it (by a run that then crashed) goes.
        success_above: Episodes with a return above this count as successes; None where that has no meaning.
        state: What `state_dict` gave when the run was saved, to go on averaging over the same interval.
        beside: Others who are told.
    """

    def __init__(
        self,
        folder: Path,
        step: int = 0,
        success_above: float | None = None,
        state: dict[str, Any] | None = None,
        beside: Sequence[Curves] = (),
    ):
        from torch.utils.tensorboard import SummaryWriter

        from engram_rl.training.logging.tensorboard import add_layout

        self._folder, self._beside = folder, beside
        self._success_above = success_above
        state = state or {"values": {}, "returns": [], "lengths": [], "last": {}}
        self._values: dict[str, list[float]] = defaultdict(list, state["values"])
        self._returns: list[float] = state["returns"]
        self._lengths: list[float] = state["lengths"]
        self.last: dict[str, float] = state["last"]
        self._began, self._began_step = time.perf_counter(), step
        for name in (METRICS, EPISODES):
            _drop_after(folder / name, step)
        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        add_layout(self.writer)

    def record(self, metrics: dict[str, float]) -> None:
        """Add to what the next write averages.

        Raises:
            DivergedError: A loss is NaN or infinite: the weights are, or are about to be.
            UsageError: A value is no number.
        """
        for name, value in metrics.items():
            if name.startswith("train/") and "loss" in name and not math.isfinite(value):
                raise DivergedError(
                    f"{name} is {value}: learning has diverged. Lower the learning rate, or scale what is learned "
                    f"from: rewards of millions and more, or observations without bounds, are the usual causes."
                )
            if not hasattr(value, "__float__"):
                raise UsageError(f"{name}, which learning told, is {value!r}; learn() gives numbers by name.")
            self._values[name].append(value)

    def record_episodes(self, step: int, episodes: Episodes) -> None:
        """Count finished episodes; each is a line of `episodes.jsonl`."""
        if not len(episodes.returns):
            return
        self._returns.extend(float(value) for value in episodes.returns)
        self._lengths.extend(float(value) for value in episodes.lengths)
        rows = [
            {"step": step, "return": float(r), "length": int(n)}
            for r, n in zip(episodes.returns, episodes.lengths, strict=True)
        ]
        _append(self._folder / EPISODES, rows)

    def write(self, step: int, closing: bool = False) -> None:
        """Write the interval's means under their TensorBoard names, and start the next interval.

        `closing` is for the interval that a run's end cuts short: its row goes when the run is continued, which then
        averages over the whole interval.
        """
        if closing and not (self._values or self._returns):
            return
        self.record(self._rollout())
        elapsed = time.perf_counter() - self._began
        self.record({"time/fps": (step - self._began_step) / max(elapsed, 1e-9)} | _process())
        means = {name: float(np.mean(values)) for name, values in self._values.items()}
        for name, value in means.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()
        plain = {name: value for name, value in means.items() if math.isfinite(value)}  # JSON knows no NaN
        _append(self._folder / METRICS, [{"step": step, **plain} | ({"closing": True} if closing else {})])
        for other in self._beside:
            other.write(step, means)
        self._values.clear()
        self._began, self._began_step = time.perf_counter(), step
        self.last |= plain

    def headline(self) -> dict[str, str]:
        """What the progress bar shows beside steps and steps a second."""
        shown = {"return": "rollout/ep_rew_mean", "memory": "memory/size"}
        return {short: f"{self.last[name]:.0f}" for short, name in shown.items() if name in self.last}

    def close(self) -> None:
        """Flush TensorBoard's events, and tell the others."""
        self.writer.close()
        for other in self._beside:
            other.close()

    def state_dict(self) -> dict[str, Any]:
        """The open interval, so that a resumed run averages over the same one."""
        return {
            "values": {name: list(map(float, values)) for name, values in self._values.items()},
            "returns": list(self._returns),
            "lengths": list(self._lengths),
            "last": dict(self.last),
        }

    def _rollout(self) -> dict[str, float]:
        if not self._returns:
            return {}
        episodes = Episodes(np.array(self._returns), np.array(self._lengths))
        self._returns, self._lengths = [], []
        means = {
            "rollout/ep_rew_mean": float(episodes.returns.mean()),
            "rollout/ep_len_mean": float(episodes.lengths.mean()),
        }
        success = episodes.success_rate(self._success_above)
        return means if success is None else {**means, "rollout/success_rate": success}


def read_episodes(folder: Path) -> list[dict[str, Any]]:
    """The episodes of a run's training, as they ended.

    Raises:
        UsageError: The file was changed to something else.
    """
    return _numbered(folder / EPISODES, ("step", "return", "length"))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The points of a run's curves, under the names that they were written with.

    Raises:
        UsageError: The file was changed to something else.
    """
    return _numbered(folder / METRICS, ("step",))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a last line cut short by a crash is left out.

    Raises:
        UsageError: Another line is no JSON object, or the file is no text.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text: {error}. Put back the file that was written.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            if number == len(lines):
                break
            raise UsageError(_changed(path, number, f"is no JSON ({error})")) from error
        if not isinstance(rows[-1], dict):
            raise UsageError(_changed(path, number, f"is {line[:60]}, no JSON object"))
    return rows


def _numbered(path: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a file of numbers by name, each of which has these names."""
    rows = read_rows(path)
    for number, row in enumerate(rows, start=1):
        if missing := [name for name in names if name not in row]:
            raise UsageError(_changed(path, number, f"has no {missing[0]!r}"))
        if wrong := [name for name, value in row.items() if not isinstance(value, int | float)]:
            raise UsageError(_changed(path, number, f"has {wrong[0]!r}: {row[wrong[0]]!r}, which is no number"))
    return rows


def _changed(path: Path, line: int, why: str) -> str:
    return f"Line {line} of {path} {why}: it was changed since it was written. Put back what was there, or remove it."


def _process() -> dict[str, float]:
    """What this process took so far in processor seconds, and what it has in RAM in MB where the system says so."""
    used = {"time/processor_s": time.process_time()}
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return used
    return used | {"time/rss_mb": pages * mmap.PAGESIZE / 1e6}


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _drop_after(path: Path, step: int) -> None:
    rows = [row for row in _numbered(path, ("step",)) if row["step"] <= step and "closing" not in row]
    if path.exists():
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))
