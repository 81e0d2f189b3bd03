"""How a stored row came about: the command that measured it, in a form that a reader can repeat."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

WHERE = ("out=", "figures=", "figure=", "workers=", "progress=")
"""Options that say where a result goes and how it is carried out, not what is measured."""


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


def where_and_when() -> dict[str, str]:
    """The processor, the day and the commit of the code, for rows whose figures depend on the machine."""
    root = Path(__file__).resolve().parents[1]
    git = ("git", "-C", str(root), "rev-parse", "--short", "HEAD")
    told = subprocess.run(git, capture_output=True, text=True, check=False)
    return {"cpu": _processor(), "date": date.today().isoformat(), "commit": told.stdout.strip() or "unknown"}


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    names = [line for line in listed.read_text().splitlines() if "model name" in line] if listed.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
