"""Mutants that no test can kill, since they do what the code does; each with its reason, in `equivalent.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from benchmarks.mutants.sites import key_of

LIST = Path(__file__).with_name("equivalent.yaml")


@cache
def reasons() -> dict[str, str]:
    """Why a mutant is equivalent, by its key: that of its file and its changed lines."""
    listed = yaml.safe_load(LIST.read_text(encoding="utf-8")) or []
    return {key_of(one["file"], one["diff"]): one["reason"] for one in listed}
