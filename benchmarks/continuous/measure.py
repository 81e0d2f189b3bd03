"""One run: train for a stated number of steps, and put every episode's return between random and the oracle's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.continuous.limits import limits
from benchmarks.control import measure as control
from benchmarks.control.record import Record
from benchmarks.control.runs import ControlRun
from benchmarks.runs import Row

BUDGETS = (5_000, 10_000, 20_000)


def measure(run: ControlRun) -> Row:
    """The row of `benchmarks.control`, and what share of the possible was reached."""
    row, record = control.measured(run)
    bounds = limits(run.environment, run.seed, run.steps) if record.returns else None
    budgets = [budget for budget in BUDGETS if budget <= run.steps] or [run.steps]
    return row | {"limits": bounds, "areas": bounds and areas(record, bounds, budgets)}


def areas(record: Record, bounds: dict[str, float], budgets: Sequence[int]) -> dict[str, Any]:
    """By number of steps: the mean over all steps up to there of (return - random) / (oracle - random).

    Each step has the return of the episode that it belongs to; steps after the last whole episode do not count.
    """
    shares = (np.array(record.returns) - bounds["random"]) / (bounds["oracle"] - bounds["random"])  # [N]
    of_step = np.repeat(shares, np.diff([0, *record.steps]))  # [steps]
    return {str(budget): round(float(of_step[:budget].mean()), 4) for budget in budgets}
