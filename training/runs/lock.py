"""A lock on a run's folder, so that two processes cannot write one run."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from engram_rl.training.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: without locks
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made where there is none.

    The system lets go of it however the process ends, so a crash leaves no stale lock. Where the file system has no
    locks, go without.

    Raises:
        UsageError: Another process holds it.
    """
    with path.open("a+", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(_held(path.parent, file)) from error
            except OSError:
                pass
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
        yield


def _held(folder: Path, file: TextIO) -> str:
    file.seek(0)
    return (
        f"{folder} is in use by another run ({file.read().strip() or 'an unknown process'}): wait until it has ended, "
        f"or stop it. A process that has ended holds no folder."
    )
