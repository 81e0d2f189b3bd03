"""What a call may end in: success, or an error that was raised on purpose and says what is wrong."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OURS = ("memory", "agents", "envs", "training")
"""Packages whose `raise` statements count as documented errors."""

SHORTEST = 25
"""Characters of a message that can name a value, a limit and a remedy."""


class CrashError(AssertionError):
    """A call ended in something that is no documented error."""


def attempt(call: Callable[[], Any], documented: tuple[type[Exception], ...] = (ValueError, TypeError)) -> Any:
    """Make a call; returns what it gives, or the documented error that it ended in.

    Raises:
        CrashError: It ended in another error, in one that Python or a library raised, or in one that says too little.
    """
    try:
        return call()
    except documented as error:
        check_raised_on_purpose(error)
        return error
    except Exception as error:
        raise CrashError(f"ended in {error!r}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}") from error


def check_raised_on_purpose(error: Exception) -> None:
    """Raise unless one of our own `raise` statements gave this error, with a message that says something."""
    frames = traceback.extract_tb(error.__traceback__)
    place = Path(frames[-1].filename).resolve()
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()
    ours = place.is_relative_to(ROOT) and place.relative_to(ROOT).parts[0] in OURS
    if not ours or not line.startswith("raise "):
        raise CrashError(
            f"{error!r} was not raised on purpose, but by {place.name}:{frames[-1].lineno}: {line}"
        ) from error
    if len(str(error)) < SHORTEST:
        raise CrashError(f"{error!r} says too little") from error
