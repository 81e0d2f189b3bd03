"""Whether two run folders hold the same run, bit for bit: agent, environments, memory, generators and curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engram_rl.training.logging.logger import EPISODES, METRICS, read_rows
from engram_rl.training.runs.checkpoint import load_checkpoint


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two runs, measured times apart; empty where they are the same."""
    parts = {"state": final_state, "metrics": metrics, "episodes": episodes, "score": score}
    return [name for name, part in parts.items() if not same(part(one), part(other))]


def final_state(folder: Path) -> dict[str, Any]:
    """The newest checkpoint, without the seconds that it took."""
    newest = max((folder / "checkpoints").glob("step_*"))
    return {name: value for name, value in load_checkpoint(newest).items() if name != "seconds"}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of the metrics, times left out."""
    return [{k: v for k, v in row.items() if not timed(k)} for row in read_rows(folder / METRICS)]


def episodes(folder: Path) -> list[dict[str, Any]]:
    """Every episode."""
    return read_rows(folder / EPISODES)


def score(folder: Path) -> Any:
    """The final score, None for a run that did not come so far."""
    path = folder / "summary.json"
    return json.loads(path.read_text())["score"] if path.exists() else None


def timed(name: Any) -> bool:
    """Whether a metric is measured off the machine rather than computed."""
    return str(name).startswith("time/") or name == "memory/lookup_ms"


def same(a: Any, b: Any) -> bool:
    """Equality of nested states: types, shapes and bits; NaN equals NaN."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape) == (getattr(b, "dtype", None), np.shape(b)) and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if not timed(k))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or (a != a and b != b)
