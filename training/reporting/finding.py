"""Runs by what a command line calls them: folders, `latest`, patterns, sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from engram_rl.training.errors import UsageError
from engram_rl.training.runs.folder import CONFIG, RunFolder, runs_below


def find_runs(words: Sequence[str]) -> list[Path]:
    """The folders of runs, each once, in the order they were named.

    Args:
        words: A run's folder, a folder of runs such as a sweep's, a pattern (`runs/*_nec_*`), or `latest` for the
            newest run below `runs/`.

    Raises:
        UsageError: One of them names no run.
    """
    return list(dict.fromkeys(run for word in words for run in _found(word)))


def _found(word: str) -> list[Path]:
    if word == "latest":
        return [RunFolder.open(Path(word)).path]
    given = [Path(word)] if Path(word).exists() else sorted(map(Path, glob(word, recursive=True)))  # noqa: PTH207  (of any root)
    runs = [run for path in given for run in runs_below(path)]
    if not runs:
        what = "holds no run" if given else "does not exist"
        raise UsageError(
            f"{word} {what}: there is no {CONFIG} in it or below it. Give folders that `engram train` printed, a "
            f"sweep's, a pattern such as 'runs/*_nec_*', or latest."
        )
    return runs
