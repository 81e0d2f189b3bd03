"""The table of a bench: one line for each agent and budget, with intervals over runs and everything it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.runs import Row
from benchmarks.shift.results import Entrant, areas, firsts, improvement
from engram_rl.training.statistics import interquartile_mean, stratified_bootstrap

HEADERS = (
    "agent",
    "budget",
    "runs",
    "return",
    "solved %",
    "steps",
    "regret",
    "after shift",
    "recovery",
    "recovered",
    "first",
    "on return",
    "after find",
    "area",
    "env steps",
    "gradient steps",
    "seconds",
    "entries",
    "privileged",
    "published",
)
CAPTION = """\
Interquartile mean over runs [95 % bootstrap interval], or of fewer than ten (least to most). budget: what was learned
from, `own` the scored episodes only, a number the practice steps before each episode. regret: steps above the shortest
paths; after shift: of the first 5 episodes after the first shift; recovery: episodes until three in a row are within
1.25x the shortest path, inf where too many runs never do, and how many runs did; first: steps of the first episode
after a shift; on return: of those in which the target is back where it was before; after find: steps of the episode
after the first one solved since a shift, over the shortest;
area: (random - cost) / (random - limit) in the 10 episodes after each shift.
published: solved / regret of others, and of an earlier measurement of ours."""


@dataclass(frozen=True)
class Published:
    """A figure from elsewhere for the same setting, quoted beside the measured one.

    Attributes:
        solved: Episodes of 100.
        regret: Steps above the shortest paths, None where it was not given.
        source: Where it is from.
    """

    solved: float
    regret: int | None
    source: str

    def __str__(self) -> str:
        figures = f"{self.solved:g}" if self.regret is None else f"{self.solved:g} / {self.regret}"
        return f"{figures} ({self.source})"


PAPER, PILOT = "arXiv 2301.13758", "earlier"
PUBLISHED: dict[tuple[str, int | str], tuple[Published, ...]] = {
    ("sb3_ppo", 2048): (Published(54, None, PAPER), Published(58.5, 4679, PILOT)),
    ("sb3_a2c", 100): (Published(24, None, PAPER),),
    ("sb3_a2c", 2048): (Published(25.2, 7558, PILOT),),
    ("sb3_trpo", 2048): (Published(50, None, PAPER), Published(36.7, 6458, PILOT)),
    ("sb3_ppo", "own"): (Published(24, None, PILOT),),
    ("random", "own"): (Published(30.4, 7485, PILOT),),
    ("heuristic", "own"): (Published(92.8, 1430, PILOT),),
    ("planner", "own"): (Published(100, 59, PILOT),),
}
"""On ShiftWall as published. The published code gave A2C 100 practice steps, the re-measurement 2048."""


def is_published_setting(row: Row) -> bool:
    """Whether a run played ShiftWall exactly as published."""
    changed = {name: value for name, value in row["env_kwargs"].items() if value is not None and name != "n"}
    size = row["env_kwargs"].get("n", 10)
    return (row["env_id"], size, changed, row["layout_seed"]) == ("engram/ShiftWall-v0", 10, {}, None)


def table(entrants: Sequence[Entrant], quote_published: bool) -> str:
    """The table in Markdown, its caption, and how probably each agent beats the next."""
    lines = [_cells(entrant, entrants, quote_published) for entrant in entrants]
    return "\n\n".join(part for part in (_markdown([HEADERS, *lines]), CAPTION, _ranking(entrants)) if part)


def _cells(entrant: Entrant, everyone: Sequence[Entrant], quote_published: bool) -> tuple[str, ...]:
    recovery = entrant.values("recovery")
    shifts = any(row["recoveries"] for row in entrant.rows)
    quoted = PUBLISHED.get((entrant.agent, entrant.budget), ()) if quote_published else ()
    return (
        entrant.agent,
        str(entrant.budget),
        str(len(entrant.rows)),
        _estimate(entrant, entrant.values("mean_return"), ".3f") if entrant.by_return else "",
        _estimate(entrant, 100 * entrant.values("solved") / entrant.values("episodes"), ".1f"),
        _estimate(entrant, entrant.values("steps"), ".0f"),
        _estimate(entrant, entrant.values("regret"), ".0f"),
        _estimate(entrant, entrant.values("regret_after_shift"), ".0f"),
        _estimate(entrant, recovery, ".1f") if shifts else "",
        f"{np.isfinite(recovery).sum()} of {len(recovery)}" if shifts else "",
        _estimate(entrant, firsts(entrant), ".1f"),
        _estimate(entrant, entrant.values("first_on_return"), ".1f"),
        _estimate(entrant, entrant.values("after_find"), ".2f"),
        _estimate(entrant, areas(entrant, everyone), ".2f"),
        _middle(entrant, "env_steps", ".0f"),
        _middle(entrant, "gradient_steps", ".0f"),
        _middle(entrant, "seconds", ".1f"),
        _middle(entrant, "entries", ".0f"),
        entrant.rows[0]["privileged"],
        "; ".join(map(str, quoted)),
    )


def _estimate(entrant: Entrant, values: np.ndarray, spec: str) -> str:
    """The interquartile mean of `[R]` with its interval; a lone run has none, and no value is left blank."""
    if np.isnan(values).any():
        return ""
    if len(values) == 1:
        return f"{values[0]:{spec}}"
    return f"{stratified_bootstrap(entrant.by_task(values)):{spec}}"


def _middle(entrant: Entrant, name: str, spec: str) -> str:
    return f"{interquartile_mean(entrant.values(name)):{spec}}"


def _ranking(entrants: Sequence[Entrant]) -> str:
    """Each agent against the next."""
    lines = []
    for better, worse in pairwise(entrants):
        if min(len(better.rows), len(worse.rows)) > 1:
            lines.append(f"- {_name(better)} over {_name(worse)}: {improvement(better, worse):.2f}")
    return "\n".join(["Probability that a run of one is better than a run of the next:", *lines]) if lines else ""


def _name(entrant: Entrant) -> str:
    return entrant.agent if entrant.budget == "own" else f"{entrant.agent} at {entrant.budget}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; those that are empty throughout are left out."""
    kept = [column for column in zip(*rows, strict=True) if any(column[1:])] or list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in kept]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*kept, strict=True)
    ]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join("-" * width for width in widths), *lines[1:]])
