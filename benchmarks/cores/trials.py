"""All that is tried beside the tasks of cores: memories that stand alone, and ways to learn and to think."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from benchmarks.cores import sets, ways
from benchmarks.runs import Row

TRIALS: dict[str, Callable[[str, bool], Row]] = {**sets.TRIALS, **ways.WAYS}
"""By name: from the name of who is tried, and whether it is to be a handful of updates, to a score and what it took."""

TRIAL_CLAIMS: dict[str, dict[str, str]] = {**sets.SET_CLAIMS, **ways.WAY_CLAIMS}
"""Who claims which trial, and the limit; without one it is there to compare."""

TRIED = tuple(dict.fromkeys((*sets.MEMORIES, *(way for claims in ways.WAY_CLAIMS.values() for way in claims))))
"""Everybody who is tried."""


def module_of(trial: str) -> ModuleType:
    """Where a trial is written."""
    return sets if trial in sets.TRIALS else ways
