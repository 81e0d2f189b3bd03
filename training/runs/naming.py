"""Names of run folders: one of its own for each launch, made of characters that any command line takes as they are."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

LONGEST = 80
"""Characters that say what a run of a sweep is given; file systems take 255."""

BY_TIME = ("${now:", "${run_folder:")
"""What a name is made of that two launches of one second share."""

PLAIN = re.compile(r"[\w./:\\+-]*", re.ASCII)
"""Paths that Hydra's grammar takes without quotes."""


def run_folder_name(agent: str, env: str, seed: int, name: str = "") -> Path:
    """Where a new run goes: `runs/<date>_<time>_<agent>_<env>_seed<seed>`, or `<date>_<time>_<name>_...`."""
    words = [time.strftime("%Y-%m-%d_%H-%M-%S"), name, agent, env, f"seed{seed}"]
    return Path("runs") / "_".join(plain for word in words if (plain := _plain(re.sub(r"[/\s:]+", "-", word))))


def short_name(overrides: str) -> str:
    """What a run of a sweep is given, `agent=nec,seed=1`, as the end of a folder's name: `_agent-nec_seed-1`."""
    name = _plain(overrides.replace(",", "_").replace("=", "-"))
    return f"_{name}" if name else ""


def claimed(path: Path) -> Path:
    """A folder of that name, or of that name and a number, which nobody else has; it is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        one = path if number == 1 else path.with_name(f"{path.name}_{number}")
        with suppress(FileExistsError):
            one.mkdir()
            return one
    raise AssertionError("numbers do not end")


def shell(*words: object) -> str:
    """A command of these words as a command line takes it: what has spaces or signs of its own is in quotes."""
    given = [str(word) for word in words]
    return subprocess.list2cmdline(given) if os.name == "nt" else shlex.join(given)


def quoted(argument: str, places: Iterable[str]) -> str:
    """An override that names an existing path, in quotes where Hydra would not take the path for one word.

    Args:
        argument: Of a command line.
        places: Of paths.
    """
    place, _, path = argument.partition("=")
    if place not in places or PLAIN.fullmatch(path) or not Path(path).exists():
        return argument
    inside = path.replace("'", r"\'")
    return f"{place}='{inside}'"


def unquoted(value: str) -> str:
    """A value as it was before `quoted`, or before somebody put it in quotes for Hydra."""
    inside = len(value) > 1 and value[0] == value[-1] == "'"
    return value[1:-1].replace(r"\'", "'") if inside else value


def _plain(words: str) -> str:
    """What of some words shells, file systems and Hydra take as it is."""
    return re.sub(r"[^\w.+-]+", "", words, flags=re.ASCII)[:LONGEST]


class FolderOfItsOwn(Callback):
    """Gives each launch a folder that no other has, and takes it away if nothing was written there."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Claim the folder of a run that is new, if its name is made of the time."""
        _claim(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Claim the folder of a sweep likewise, for all of its runs."""
        _claim(config, "sweep")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Remove the folder if it is empty."""
        with suppress(OSError):
            Path(config.hydra.runtime.output_dir).rmdir()


def _claim(config: DictConfig, kind: str) -> None:
    node = config.hydra[kind]._get_node("dir")
    path = str(config.hydra[kind].dir)
    if path == "." or not any(word in str(node._value()) for word in BY_TIME):
        return
    one = str(claimed(Path(path)))
    with read_write(config), open_dict(config):
        OmegaConf.update(config, f"hydra.{kind}.dir", one)
        config.hydra.overrides.hydra.append(f"hydra.{kind}.dir='{one}'")  # from which each run of a sweep is composed
