"""All that is tried beside the tasks of cores: memories that stand alone, and ways to learn and to think."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from benchmarks.cores import mapping, sets, ways
from benchmarks.runs import Row
from engram_rl.memory.cores import CORES

TRIALS: dict[str, Callable[[str, bool], Row]] = {**sets.TRIALS, **ways.WAYS, "mapping": mapping.mapping}
"""By name: from the name of who is tried, and whether it is to be a handful of updates, to a score and what it took."""

TRIAL_CLAIMS: dict[str, dict[str, str]] = {
    **sets.SET_CLAIMS,
    **ways.WAY_CLAIMS,
    "mapping": dict.fromkeys(mapping.MAPPERS, ""),
}
"""Who claims which trial, and the limit; without one it is there to compare."""

TRIED = tuple(
    dict.fromkeys((*sets.MEMORIES, *(one for claims in TRIAL_CLAIMS.values() for one in claims if one not in CORES)))
)
"""Everybody who is tried, and is no core."""


def module_of(trial: str) -> ModuleType:
    """Where a trial is written."""
    return mapping if trial == "mapping" else sets if trial in sets.TRIALS else ways
