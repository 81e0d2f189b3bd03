"""`python -m benchmarks.start out=FILE`: how long one waits for an import of the memory, and for help."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cli import parse, run_main, write_lines
from benchmarks.runs import Row

COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import engram_rl.memory": ["-c", "import engram_rl.memory"],
    "engram train --help": ["-m", "engram_rl", "train", "--help"],
}
MOST_OF_TORCH = {"import engram_rl.memory": 1.2}
"""Times what importing torch alone takes."""

MOST_SECONDS = {"engram train --help": 1.5}


@dataclass
class Start:
    """Processor time of a fresh interpreter, in turns; medians, after one turn that fills the disk's cache.

    python -m benchmarks.start out=docs/results/start.jsonl

    rounds: of each.
    """

    rounds: int = 5
    out: str = "results/start.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Time them, print a line for each and write the rows."""
    bench = parse(Start, list(arguments))
    seconds = {what: np.empty(bench.rounds + 1) for what in COMMANDS}
    for turn in range(bench.rounds + 1):
        for what, words in COMMANDS.items():
            seconds[what][turn] = worked(words)
    taken = {what: every[1:] for what, every in seconds.items()}
    rows = [_row(what, every, taken["import torch"]) for what, every in taken.items()]
    for row in rows:
        print(f"{row['what']:<26} {row['cpu_seconds']:5.2f} s  {row['of_torch']:5.2f} x torch  {row.get('limit', '')}")
    write_lines(Path(bench.out), rows)
    return 0


def worked(words: Sequence[str]) -> float:
    """Seconds of the processor that a fresh interpreter takes for this, its own start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _row(what: str, seconds: np.ndarray, torch_seconds: np.ndarray) -> Row:
    median, of_torch = float(np.median(seconds)), float(np.median(seconds / torch_seconds))
    row: Row = {"what": what, "cpu_seconds": round(median, 3), "of_torch": round(of_torch, 3), "runs": len(seconds)}
    row["rests_on"] = ["benchmarks.start", "engram_rl.memory", "engram_rl.command_line"]
    if what in MOST_OF_TORCH:
        row |= {"limit": f"<= {MOST_OF_TORCH[what]} x torch", "holds": of_torch <= MOST_OF_TORCH[what]}
    if what in MOST_SECONDS:
        row |= {"limit": f"<= {MOST_SECONDS[what]} s", "holds": median <= MOST_SECONDS[what]}
    return row


if __name__ == "__main__":
    run_main(main)
