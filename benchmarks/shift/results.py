"""Rows of a file as arrays to be compared: which agents, on which episodes, against which limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.runs import Row
from engram_rl.envs.scoring import metrics
from engram_rl.training.statistics import Interval, probability_of_improvement, stratified_bootstrap

AREA_WINDOW = 10  # episodes after each shift that enter the normalised area


@dataclass(frozen=True)
class Entrant:
    """All runs of one agent with one configuration and one budget."""

    agent: str
    budget: str | int
    rows: list[Row]

    def values(self, name: str) -> np.ndarray:
        """A field of every run; null, or what old rows lack, is NaN, but infinite for a recovery. `[R]`."""
        missing = np.inf if name == "recovery" else np.nan
        found = [row.get(name) for row in self.rows]
        return np.array([missing if value is None else value for value in found], dtype=float)

    @property
    def by_return(self) -> bool:
        """Whether episodes are scored by their return rather than their steps."""
        return self.rows[0]["measure"] == "return"

    @property
    def scores(self) -> np.ndarray:
        """What is compared, higher is better: the mean return, or minus the regret, or minus the steps. `[R]`."""
        if self.by_return:
            return self.values("mean_return")
        return -self.values("steps" if self.rows[0]["regret"] is None else "regret")

    def by_task(self, values: np.ndarray) -> np.ndarray:
        """Values of the runs `[R]` as `[runs, tasks]`, the layouts being the tasks.

        With a single run on each layout the layouts are what was sampled, so all runs form one task.
        """
        layouts = [row["layout_seed"] for row in self.rows]
        columns = [values[[other == layout for other in layouts]] for layout in dict.fromkeys(layouts)]
        equal = len({len(column) for column in columns}) == 1 and len(columns[0]) > 1
        return np.stack(columns, axis=1) if equal else values[:, None]

    def episodes(self, name: str) -> np.ndarray:
        """A field with one item an episode. `[R, E]`."""
        return np.array([row[name] for row in self.rows], dtype=float)


def entrants(rows: Sequence[Row]) -> list[Entrant]:
    """The rows by agent, configuration and budget, best first."""
    groups: dict[tuple[str, Any], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["agent"], row["budget"]), []).append(row)
    found = [Entrant(agent, budget, runs) for (agent, budget), runs in groups.items()]
    return sorted(found, key=lambda entrant: -float(np.mean(entrant.scores)))


def improvement(one: Entrant, other: Entrant) -> Interval:
    """How probably a run of one is better than a run of the other; run by run where layouts differ between runs."""
    pairs = [
        (mine, theirs)
        for row, mine in zip(one.rows, one.scores, strict=True)
        for twin, theirs in zip(other.rows, other.scores, strict=True)
        if _same_episodes(row, twin)
    ]
    if len(pairs) in (0, len(one.rows) * len(other.rows)):
        return probability_of_improvement(one.scores, other.scores)
    mine, theirs = np.array(pairs).T
    return stratified_bootstrap((mine > theirs) + 0.5 * (mine == theirs), np.mean)


def areas(entrant: Entrant, everyone: Sequence[Entrant]) -> np.ndarray:
    """The normalised area after the shifts, of each run. `[R]`, NaN where random did not play the same episodes."""
    return np.array([_area(row, everyone) for row in entrant.rows])


def firsts(entrant: Entrant) -> np.ndarray:
    """Steps of the first episode after each shift, on average, of each run. `[R]`, NaN where no target is hidden."""
    return np.array([_first(row) for row in entrant.rows])


def _first(row: Row) -> float:
    shifts = metrics.shift_episodes(row["task_index"])
    return np.nan if row.get("after_find") is None else float(np.mean(np.array(row["costs"])[shifts]))


def _area(row: Row, everyone: Sequence[Entrant]) -> float:
    random = [other for entrant in everyone if entrant.agent == "random" for other in entrant.rows]
    paired = [other["costs"] for other in random if _same_episodes(other, row)]
    shifts = metrics.shift_episodes(row["task_index"])
    if not paired or not shifts or row["regret"] is None:
        return np.nan
    baseline = np.mean(paired, axis=0)
    return float(metrics.post_shift_area(row["costs"], baseline, row["optimum"], shifts, AREA_WINDOW))


def _same_episodes(one: Row, other: Row) -> bool:
    return one["optimum"] == other["optimum"] and one["task_index"] == other["task_index"]
