"""How a stored row came about: the command that measured it, in a form that a reader can repeat."""

from __future__ import annotations

import shlex
import sys
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
