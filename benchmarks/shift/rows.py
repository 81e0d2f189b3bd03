"""One JSON object a run: what it holds, and a file of them that survives a crash."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.shift.environment import measure_of, told_by
from benchmarks.shift.protocol import Contestant, EpisodeRecord
from benchmarks.shift.specs import RunSpec
from training import shift_metrics
from training.errors import UsageError

Row = dict[str, Any]
AFTER_SHIFT = 5  # episodes after the first shift whose excess is reported


@dataclass(frozen=True)
class Cost:
    """What a run took and was given, beside its score."""

    env_steps: int
    gradient_steps: int
    seconds: float
    entries: int
    told: str


def make_row(spec: RunSpec, record: EpisodeRecord, cost: Cost) -> Row:
    """A run in one flat object; null stands for what has no value (no shift, never recovered, no known optimum).

    The last fields have one item an episode, so that figures can be redrawn without running anything.
    """
    return {
        "env": spec.env,
        "agent": spec.agent,
        "seed": spec.seed,
        "layout_seed": spec.layout_seed,
        "budget": spec.budget,
        "episodes": spec.episodes,
        "measure": measure_of(spec.environment),
        "solved": sum(record.solved),
        "steps": sum(record.steps),
        "mean_return": round(float(np.mean(record.returns)), 6),
        **_scores(spec, record),
        **asdict(cost),
        "env_id": spec.environment["id"],
        "env_kwargs": spec.environment["kwargs"],
        "overrides": spec.overrides,
        "key": spec.key,
        "costs": record.steps,
        "returns": [round(value, 6) for value in record.returns],
        "solves": [int(value) for value in record.solved],
        "optimum": record.optimum,
        "phase": record.phase,
    }


def told(env: gym.Env, contestant: Contestant) -> str:
    """What the agent was given beside its own position: by the observations, and beyond them."""
    beyond = [what for what in contestant.told.split(", ") if what not in ("", "nothing")]
    return ", ".join(dict.fromkeys([*told_by(env), *beyond])) or "nothing"


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
    """The rows of a file, none where there is no file; a line that a crash cut short is left out.

    Raises:
        UsageError: The file holds something else.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(_parsed, lines) if row is not None]
    if lines and not rows:
        raise UsageError(f"{path} is no file of runs: none of its {len(lines)} lines is a row. Give another out=FILE.")
    return rows


def _scores(spec: RunSpec, record: EpisodeRecord) -> Row:
    """Null throughout where steps are not the measure, or the environment does not say what the optimum is."""
    names = ("excess", "excess_after_shift", "recovery", "recoveries", "plateau", "savings")
    if None in record.optimum or measure_of(spec.environment) != "steps":
        return dict.fromkeys(names)
    cost, optimum = np.array(record.steps), np.array(record.optimum, dtype=float)
    shifts = shift_metrics.shift_episodes(record.phase)
    recoveries = shift_metrics.recovery(cost, optimum, shifts)
    values = (
        shift_metrics.excess(cost, optimum),
        shift_metrics.excess_after_shift(cost, optimum, shifts, AFTER_SHIFT),
        np.median(recoveries) if len(recoveries) else np.nan,
        recoveries,
        shift_metrics.plateau(cost, optimum, shifts).round(4),
        shift_metrics.savings(cost, optimum, _targets(record)).round(4),
    )
    return dict(zip(names, map(_plain, values), strict=True))


def _targets(record: EpisodeRecord) -> list[int]:
    """Which target each episode had; where the environment does not say, none ever returns."""
    targets = [target for target in record.target if target is not None]
    return targets if len(targets) == len(record.phase) else record.phase


def _plain(value: Any) -> Any:
    """Numbers for JSON: integers where they are whole, null for NaN and infinity."""
    array = np.asarray(value, dtype=float)
    if array.ndim:
        return [_plain(item) for item in array]
    if not np.isfinite(array):
        return None
    return int(array) if float(array).is_integer() else float(array)


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
