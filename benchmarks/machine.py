"""Where and when a row was measured: the commit, the processor, the day."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


def machine() -> dict[str, str]:
    """`commit` (with a plus if files differ from it), `cpu` and `date`."""
    return {"commit": _commit(), "cpu": _processor(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}


@cache
def _commit() -> str:
    """The commit of this checkout; its row says so where tracked files differ from it."""
    root = Path(__file__).resolve().parents[1]
    short, changed = (
        subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout.strip()
        for words in (["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    )
    return (short or "unknown") + ("+" if changed else "")


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
