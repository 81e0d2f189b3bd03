"""What the rows of the cores come to: a line for each task and core."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from benchmarks.cores.references import REFERENCES
from benchmarks.cores.tasks import SPEED, TASKS
from benchmarks.cores.trials import TRIALS, TRIED
from benchmarks.runs import Row
from engram_rl.memory.cores import CORES, WRAPPERS

CAPTION = (
    "Medians over seeds; `held` says in how many of them the score kept to the limit, `each` what it was. `answers` is "
    "the share of answers of which every bit is right, `bits` the wrong bits in an episode, `share` the share of wrong "
    "bits, `error` the mean squared error, `updates` how many it took, "
    "`ratio` as the trial says, `x LSTM cell` milliseconds of a step, forwards and backwards, over those of "
    "torch's `LSTMCell` in a loop. Seconds are of processor time on one thread."
)
HEAD = ("task", "core", "score", "of", "limit", "held", "each", "seconds", "updates", "peak MiB", "ms/step, train")


def lines(rows: Sequence[Row]) -> list[list[str]]:
    """A line for each core and task, as `HEAD` has it."""
    found = []
    for (task, core), same in groupby(sorted(rows, key=_place), key=lambda row: (row["task"], row["core"])):
        of = list(same)
        held = "" if of[0]["holds"] is None else f"{sum(row['holds'] for row in of)}/{len(of)}"
        each = ", ".join(f"{row['score']:.3g}" for row in of) if len(of) > 1 else ""
        figures = [_median(of, name) for name in ("seconds", "updates", "peak_mib", "train_ms")]
        found.append([task, core, _median(of, "score"), of[0]["measure"], of[0]["limit"], held, each, *figures])
    return found


def markdown(rows: Sequence[Row]) -> str:
    """The table with its caption, and on what it was measured."""
    table = [HEAD, ["---"] * len(HEAD), *lines(rows)]
    measured = sorted({f"{row['cpu']}, {row['date'][:10]}, commit {row['commit']}" for row in rows if "cpu" in row})
    return "\n".join([CAPTION, "", *(f"| {' | '.join(line)} |" for line in table), "", f"On {'; '.join(measured)}."])


def _place(row: Row) -> tuple[int, int, int]:
    tasks, cores = [*TASKS, SPEED, *TRIALS], [*CORES, *WRAPPERS, *REFERENCES, *TRIED]
    return tasks.index(row["task"]), cores.index(row["core"]), row["seed"]


def _median(rows: Sequence[Row], name: str) -> str:
    return f"{np.median([row[name] for row in rows]):.4g}" if name in rows[0] else ""
