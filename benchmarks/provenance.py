"""How a stored row came about: command, code, machine and seconds, under a seal that a change by hand breaks."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.code import ROOMS, ROOT, code_of

Row = dict[str, Any]

WHERE = ("out=", "figures=", "figure=", "workers=", "progress=")
"""Options that say where a result goes and how it is carried out, not what is measured."""

MATTERING = (
    "torch",
    "faiss-cpu",
    "faiss-gpu-cu12",
    "numpy",
    "gymnasium",
    "minigrid",
    "ale-py",
    "popgym",
    "stable-baselines3",
    "sb3-contrib",
)
"""Packages whose versions are kept, where they are installed."""

FIELDS = ("commit", "dirty", "cpu", "date", "versions", "command", "seconds", "rests_on", "code", "seal")
"""What every row bears; `rests_on` is what `benchmarks.code` made the digest `code` of."""

BESIDE = ("seal", "left")
"""What the seal does not cover: itself, and why a row has moved to the history."""

STARTED = time.perf_counter()


def remember() -> None:
    """Look at the code now, as a command begins: what it has imported does not change with the files."""
    _code()
    code_of(tuple(_of_the_command()))


def recorded(row: Mapping[str, Any]) -> Row:
    """The row with how it came about, sealed: the only way into a file of results.

    Args:
        row: What was measured. Its own `seconds` stand, else they are those of the process; `rests_on` names the code
            that it is of, else it is that of the command.
    """
    about: Row = {"seconds": round(time.perf_counter() - STARTED, 3), "rests_on": _of_the_command()}
    whole: Row = about | origin() | _placeless(dict(row)) | {"command": this_command()}
    return sealed(whole | {"code": code_of(tuple(whole["rests_on"]))})


def sealed(row: Mapping[str, Any]) -> Row:
    """The row with a digest of all that it says."""
    return {name: value for name, value in row.items() if name not in BESIDE} | {"seal": _seal(row)}


def complete(row: Mapping[str, Any]) -> bool:
    """Whether a row says how it came about, and is as it was written.

    The seal shows a slip of the hand, not ill will; against that there are the fingerprint, and the run itself, which
    anybody can repeat.
    """
    return all(name in row for name in FIELDS) and row["seal"] == _seal(row)


def this_command() -> str:
    """The command of this process: `python -m benchmarks.NAME key=value ...` as given, without where the rows go."""
    module, given = _module()
    if not module:
        return shlex.join(["python", *sys.orig_argv[1:]])
    return f"python -m {module} {shlex.join(one for one in given if not one.startswith(WHERE))}".rstrip()


def origin() -> Row:
    """The commit that last changed the code, whether it has changed since, the processor, the date, the versions."""
    return _code() | {
        "cpu": _processor(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | _versions(),
    }


@cache
def _code() -> Row:
    rooms = [f":/{room}" for room in ROOMS]
    return {
        "commit": _git("log", "-1", "--format=%h", "--abbrev=12", "--", *rooms),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=normal", "--", *rooms)),
    }


def _of_the_command() -> list[str]:
    return [one for one in [_module()[0]] if one]


def _module() -> tuple[str, list[str]]:
    """The benchmark that this process is, and what it was given; nothing where another program is running."""
    arguments = sys.orig_argv
    if "-m" not in arguments:
        return "", []
    module, *given = arguments[arguments.index("-m") + 1 :]
    return (module, given) if module.startswith("benchmarks.") else ("", [])


def _placeless(value: Any) -> Any:
    """The same, with files of this checkout named from its root: where it lies is nobody's business."""
    if isinstance(value, str):
        return value.replace(f"{ROOT}/", "")
    if isinstance(value, Mapping):
        return {name: _placeless(one) for name, one in value.items()}
    return [_placeless(one) for one in value] if isinstance(value, list | tuple) else value


def _seal(row: Mapping[str, Any]) -> str:
    said = {name: value for name, value in row.items() if name not in BESIDE}
    stored = json.loads(json.dumps(said))  # as a file gives it back
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:16]


def _versions() -> dict[str, str]:
    found = {}
    for name in MATTERING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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
