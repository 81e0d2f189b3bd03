"""Try many random inputs, good and bad: `python -m benchmarks.fuzz examples=20000` (needs the development tools).

Prints how many calls succeeded and were refused, one JSON object a target; the first crash ends it, made as small as
hypothesis can make it.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import DataObject

from benchmarks.cli import parse, write_lines
from benchmarks.fuzz import calls, config, files

TARGETS: dict[str, Callable[[DataObject], dict[str, int]]] = {
    "calls": calls.one_example,
    "memory_files": files.spoil_memory_file,
    "checkpoints": files.spoil_checkpoint,
    "configurations": config.spoil_run,
}


@dataclass
class Options:
    """python -m benchmarks.fuzz examples=20000 only=[calls] seed=1."""

    examples: int = 1000
    seed: int = 0
    only: list[str] = field(default_factory=lambda: list(TARGETS))
    out: str = ""  # a file for the rows


def try_many(target: str, examples: int, start: int) -> dict[str, Any]:
    """Run one target on so many examples; returns the row of what they ended in."""
    counts: Counter[str] = Counter()
    began = time.perf_counter()

    @seed(start)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: DataObject) -> None:
        counts.update(TARGETS[target](data) | {"examples": 1})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about the odd arguments it is shown
        run()
    return {"target": target, **counts, "crashed": 0, "seconds": round(time.perf_counter() - began, 1)}


def main(options: Options) -> Iterator[dict[str, Any]]:
    """The rows of all targets, each when it is done."""
    for target in options.only:
        yield try_many(target, options.examples, options.seed)


if __name__ == "__main__":
    given_options = parse(Options)
    rows = []
    for row in main(given_options):
        print(row, flush=True)
        rows.append(row)
        if given_options.out:
            write_lines(given_options.out, rows)
