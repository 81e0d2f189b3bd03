"""The training episodes of a run, and what they score."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engram_rl.training.logging.curves import running_mean_at

MARKS = 40  # step counts at which a row states the score


@dataclass
class Record:
    """The training episodes of a run, exploration included, in the order in which they ended.

    Attributes:
        steps: Environment steps of the whole run when the episode ended.
        returns: Undiscounted.
        env_steps: Steps taken in all.
        entries: In the agent's memory at the end.
        test: Returns of the episodes played after training, without exploration; None if there are to be none.
    """

    steps: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    env_steps: int = 0
    entries: int = 0
    test: list[float] | None = None


def scores(record: Record, steps: int, success_above: float | None) -> dict[str, Any]:
    """The mean return of the last 20 training episodes by step count, and `auc`, its mean over all steps.

    Before the first episode ends, its return is taken; null if none ever ended. `success` is likewise the share of
    successful episodes, for environments that say what success is.
    """
    grid = np.arange(1, MARKS + 1) * steps // MARKS
    if not record.returns:
        return {"auc": None, "score": dict.fromkeys(map(str, grid.tolist())), "success": None}
    at, returns = np.array(record.steps), np.array(record.returns)
    success = None if success_above is None else _by_step(grid, at, (returns > success_above).astype(np.float64))
    fine = np.linspace(0, steps, 1000)
    return {
        "auc": round(float(running_mean_at(fine, at, returns).mean()), 4),
        "score": _by_step(grid, at, returns),
        "success": success,
    }


def task_success(record: Record, period: int, success_above: float) -> dict[str, float | None]:
    """Success around shifts that come every `period` steps: mean over episodes, and over the tasks after the first.

    Returns:
        `first_end`: in the last third of the first task. `later_begin`, `later_end`: in the first and last third of
        the later ones. None where no episode ended.
    """
    at, success = np.array(record.steps) - 1, np.array(record.returns) > success_above
    task, third = at // period, at % period * 3 // period
    parts = {
        "first_end": (task == 0) & (third == 2),
        "later_begin": (task > 0) & (third == 0),
        "later_end": (task > 0) & (third == 2),
    }
    return {name: _mean_by_task(success[part], task[part]) for name, part in parts.items()}


def _mean_by_task(success: np.ndarray, task: np.ndarray) -> float | None:
    means = [success[task == one].mean() for one in np.unique(task)]
    return round(float(np.mean(means)), 4) if means else None


def _by_step(grid: np.ndarray, at: np.ndarray, values: np.ndarray) -> dict[str, float]:
    means = running_mean_at(grid, at, values)
    return {str(mark): round(float(mean), 4) for mark, mean in zip(grid.tolist(), means, strict=True)}
