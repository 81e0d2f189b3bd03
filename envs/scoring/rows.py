"""A run as one JSON object of a line: its fields, and the scores that follow from what each episode cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engram_rl.envs.scoring import metrics
from engram_rl.envs.scoring.episodes import EpisodeRecord

Row = dict[str, Any]

SCHEMA = "engram-shift/1"
"""What a row calls the form that it has; another number where a field changes its meaning."""

AFTER_SHIFT = 5
"""Episodes after the first shift whose regret is reported."""

FIELDS: dict[str, str] = {
    "schema": f'"{SCHEMA}"',
    "agent": "its name, and what sets it apart from others of that name",
    "world": "a name of `WORLDS`, as in the headings of the tables",
    "seed": "whole, from 0: of the agent and, where there is no `layout_seed`, of the world",
    "layout_seed": "what the layouts were drawn from instead, or null",
    "budget": '"own" where it learned from the episodes that count alone, else the practice steps before each',
    "episodes": "how many count: as many as the world has",
    "privileged": 'what the agent knew beside what it was shown, or "nothing"',
    "source": "where this comes from, for whoever wants to repeat it: a command, an address, a paper",
    "versions": "an object: what was installed, `gymnasium` among it",
    "costs": "steps of each episode",
    "returns": "sum of the rewards of each episode",
    "solves": "1 for each episode that was solved, else 0",
    "optimum": "the fewest steps of each episode (`oracle_steps` of its reset), null where the world does not say",
    "task_index": "how often the target had shifted, for each episode (`task_index` of its reset)",
}
"""What every row has."""

SCORES: dict[str, str] = {
    "solved": "episodes solved",
    "steps": "of all episodes",
    "mean_return": "of an episode",
    "regret": "steps above the fewest, over all episodes",
    "regret_after_shift": f"of the first {AFTER_SHIFT} episodes after the first shift",
    "recovery": "episodes after a shift before three in a row cost at most 1.25x the fewest steps; median over shifts",
}
"""What a row may have: it follows from the lists, and has to. Null stands for what has no value."""

OTHER: dict[str, str] = {"provenance": "an object: whatever else there is to say of how the row came about"}
"""What a row may have besides."""

LISTS = ("costs", "returns", "solves", "optimum", "task_index")
"""Fields with one item an episode."""


def scores(
    costs: Sequence[int], returns: Sequence[float], solves: Sequence[int], optimum: Sequence, task_index: Sequence[int]
) -> Row:
    """The scores of a run from what each episode was; all `[E]`. None for what has no value."""
    measured = {"solved": int(sum(solves)), "steps": int(sum(costs)), "mean_return": round(float(np.mean(returns)), 6)}
    if None in optimum:
        return measured | dict.fromkeys(("regret", "regret_after_shift", "recovery"))
    shifts = metrics.shift_episodes(task_index)
    recoveries = metrics.recovery(costs, optimum, shifts)
    recoveries = recoveries[~np.isnan(recoveries)]
    return measured | {
        "regret": plain(metrics.regret(costs, optimum)),
        "regret_after_shift": plain(metrics.regret_after_shift(costs, optimum, shifts, AFTER_SHIFT)),
        "recovery": plain(np.median(recoveries) if len(recoveries) else np.nan),
    }


def lists_of(record: EpisodeRecord) -> Row:
    """What a row says of each episode."""
    return {
        "costs": record.steps,
        "returns": [round(value, 6) for value in record.returns],
        "solves": [int(value) for value in record.solved],
        "optimum": record.optimum,
        "task_index": record.task_index,
    }


def plain(value: Any) -> Any:
    """Numbers for JSON: integers where they are whole, null for NaN and infinity."""
    array = np.asarray(value, dtype=float)
    if array.ndim:
        return [plain(item) for item in array]
    if not np.isfinite(array):
        return None
    return int(array) if float(array).is_integer() else float(array)
