"""The page of the worlds: a line for each kind, a column for each agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.runs import Row
from benchmarks.worlds.kinds import KINDS, PLAYERS, REFUSED
from benchmarks.worlds.measure import FAULT, LEARNED, NOT_FOR_IT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "worlds.md"


def summary(rows: Sequence[Row]) -> str:
    """How many runs ended in what, and every fault."""
    counts = ", ".join(f"{number} {name}" for name, number in Counter(row["outcome"] for row in rows).most_common())
    faults = [
        f"fault: {row['agent']} in {row['kind']}: share {row.get('share')}, {row['message'][-300:]}"
        for row in rows
        if row["outcome"] == FAULT
    ]
    return "\n".join([*faults, f"{len(rows)} runs: {counts or 'none'}"])


def page(rows: Sequence[Row]) -> str:
    """docs/worlds.md."""
    return summary(rows)


__all__ = ["FAULT", "KINDS", "LEARNED", "NOT_FOR_IT", "PLAYERS", "REFUSED"]
