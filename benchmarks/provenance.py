"""How a stored row came about: the command that measured it, in a form one can repeat, the code, the machine."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

WHERE = ("out=", "figures=", "figure=", "workers=", "progress=")
"""Options that say where a result goes and how it is carried out, not what is measured."""

MATTERING = ("torch", "faiss-cpu", "numpy")
"""Packages whose versions are kept."""


def with_command(row: dict[str, Any]) -> dict[str, Any]:
    """The row and the `command` of this process, where it is a benchmark's."""
    command = this_command()
    return row | {"command": command} if command else row


def this_command() -> str:
    """`python -m benchmarks.NAME key=value ...` as given, or nothing where another program is running."""
    arguments = sys.orig_argv
    if "-m" not in arguments:
        return ""
    module, *given = arguments[arguments.index("-m") + 1 :]
    if not module.startswith("benchmarks."):
        return ""
    return f"python -m {module} {shlex.join(one for one in given if not one.startswith(WHERE))}".rstrip()


def origin() -> dict[str, Any]:
    """The commit that last changed the code, whether it has changed since, the processor, the date, the versions."""
    return {
        "commit": _git("log", "-1", "--format=%h", "--abbrev=12", "--", ":/", ":(top,exclude)docs"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs")),
        "cpu": _processor(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in MATTERING},
    }


def _git(*arguments: str) -> str:
    """What git says of this checkout, or nothing where there is none."""
    here = Path(__file__).parent
    try:
        said = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.stdout.strip()


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
