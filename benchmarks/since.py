"""`python -m benchmarks.since out=FILE`: steps a second of MFEC and the fast/slow agent's search, now and at a commit.

The commit's tree is laid out in a temporary folder; both trees play in processes of their own, in turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.cli import parse, run_main
from benchmarks.code import ROOT
from benchmarks.identity import digest
from benchmarks.provenance import recorded
from benchmarks.runs import Row, append_row, measured
from engram_rl.training.errors import UsageError

ROOMS = ("agents", "conf", "envs", "memory", "training")
PLAYER = Path(__file__).with_name("since_player.py")
PLAYED = {
    "mfec, 10,000 entries an action": ("mfec", 10_000, 1.3),
    "mfec, 100,000 entries an action": ("mfec", 100_000, 1.3),
    "search, 10,000 transitions": ("search", 13, 2.0),
    "search, 100,000 transitions": ("search", 40, 2.0),
}
"""What is played, of which size (entries, the side of a grid), and how many times as fast it has to be."""


@dataclass
class Since:
    """Processor time of agents now, times that at a commit; 16 environments, one thread.

    python -m benchmarks.since out=docs/results/since.jsonl

    commit: by default the last of the first version with today's name of the package; its agents are the first
        version's. It needs a git checkout.
    only: names of what is played; all by default.
    seconds, rounds: of the processor for a turn, and turns of each; the ratio is the median over the rounds.
    out: rows are appended; what is already in it is not played again.
    """

    commit: str = "ce504c3"
    only: list[str] = field(default_factory=lambda: list(PLAYED))
    seconds: float = 1.5
    rounds: int = 3
    out: str = "results/since.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Play what is missing, and print everything asked for."""
    bench = parse(Since, list(arguments))
    if unknown := [what for what in bench.only if what not in PLAYED]:
        raise UsageError(f"only={unknown} is nothing that is played; give some of {list(PLAYED)}.")
    with TemporaryDirectory() as folder:
        old = lay_out(bench.commit, Path(folder))
        for what in bench.only:
            key = digest({"what": what, "commit": bench.commit, "seconds": bench.seconds, "rounds": bench.rounds})
            done = {row["key"]: row for row in measured(Path(bench.out))}
            if key not in done:
                append_row(Path(bench.out), recorded({"key": key, **compare(what, bench, old)}))
            row = {row["key"]: row for row in measured(Path(bench.out))}[key]
            print(
                f"{what:<34} {row['steps_per_second']:8.0f} against {row['steps_per_second_then']:8.0f} steps/s: "
                f"{row['times']:5.2f} x (>= {row['bar']})"
            )
    return 0


def compare(what: str, bench: Since, old: Path) -> Row:
    """Let both trees play in turns."""
    kind, size, bar = PLAYED[what]
    taken = [[play(tree, kind, size, bench.seconds) for tree in (ROOT, old)] for _ in range(bench.rounds)]
    rates = np.array([[played["steps_per_second"] for played in turn] for turn in taken])  # [rounds, 2]
    times = float(np.median(rates[:, 0] / rates[:, 1]))
    now, then = np.median(rates, axis=0)
    return {
        "what": what,
        "entries": taken[0][0]["entries"],
        "then": bench.commit,
        "steps_per_second": round(float(now), 1),
        "steps_per_second_then": round(float(then), 1),
        "times": round(times, 3),
        "bar": bar,
        "holds": times >= bar,
        "rests_on": ["benchmarks.since", "benchmarks.since_player"],
    }


def play(tree: Path, kind: str, size: int, seconds: float) -> dict[str, float]:
    """What the player prints when it plays the agents of a tree."""
    said = subprocess.run(
        [sys.executable, "-P", str(PLAYER), kind, str(size), str(seconds)],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    played: dict[str, float] = json.loads(said.splitlines()[-1])
    return played


def lay_out(commit: str, folder: Path) -> Path:
    """The tree of a commit as a wheel has it, so that no other one is imported.

    Raises:
        UsageError: There is no such commit here.
    """
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise UsageError(f"commit={commit} cannot be had: {archive.stderr.decode().strip()} Give one of git log.")
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    for room in ROOMS:
        (folder / "engram_rl" / room).symlink_to(folder / room)
    return folder


if __name__ == "__main__":
    run_main(main)
