"""A run's folder: the resolved configuration, events, metrics, checkpoints and summary."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from engram_rl.training.errors import UsageError
from engram_rl.training.legacy import run_today
from engram_rl.training.runs.checkpoint import NewerVersionError, load_checkpoint, save_checkpoint, whole_names
from engram_rl.training.runs.lock import LOCK, lock
from engram_rl.training.runs.naming import shell
from engram_rl.training.runs.ownership import begun_here, named_code, sign

CONFIG, OVERRIDES, SUMMARY = "config.yaml", "overrides.json", "summary.json"
LARGEST_CONFIG = 1_000_000
"""Bytes; ours have a few thousand."""


def _is_number(value: Any) -> bool:
    """Not a number included, which an evaluation may come to."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


SUMMARISED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "score": (lambda value: value is None or _is_number(value), "neither a number nor null"),
    "scores": (
        lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
        "no object of numbers",
    ),
    "steps": (_is_count, "no number of steps"),
    "episodes": (_is_count, "no number of episodes"),
    "memory_entries": (_is_count, "no number of entries"),
    "seconds": (lambda value: value is None or _is_number(value), "neither a number nor null"),
    "mode": (lambda value: isinstance(value, str), "no word"),
    "versions": (lambda value: isinstance(value, dict), "no object"),
}
"""What a summary says: what it has to be, and what it is called that is not."""


class RunFolder:
    """The files of one run; every one of them is replaced by a rename, so none is ever half written.

    `checkpoints/` holds `step_<step>`, the newest few, and `best_step_<step>`, the one that was evaluated best.

    Args:
        path: Of the folder.
        begun: Whether it holds the run that is meant.
        given: What the command line gives for a run that is to begin there.
    """

    def __init__(self, path: Path, begun: bool = False, given: Sequence[str] = ()):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._begun, self._given = begun, list(given)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run; `latest` is the newest below `runs/`."""
        if str(path) == "latest":
            path = _latest(Path("runs"))
        if not (path / CONFIG).is_file():
            state = "holds no run" if path.is_dir() else "is a file" if path.exists() else "does not exist"
            around = next((one for one in path.parents if (one / CONFIG).is_file()), None)
            raise UsageError(
                f"{path} {state}: there is no {CONFIG} in it. Give the folder that `engram train` printed, such as "
                f"{around or _latest_or(Path('runs'), 'runs/2026-01-31_12-00-00_nec_cartpole_seed1')}."
            )
        return cls(path, begun=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from writing here; a folder whose run was refused is left without a trace.

        Raises:
            UsageError: Another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        held = False
        try:
            with lock(self.path / LOCK):
                held = True
                try:
                    yield
                finally:
                    self._leave_no_lock()
        finally:
            if held:
                self._leave_no_lock()  # once it is closed: Windows removes nothing that is open

    def start(self, config: DictConfig) -> None:
        """Begin a run here; one that was opened goes on, any other folder must not hold a run yet."""
        if self._begun:
            return
        if (self.path / CONFIG).exists():
            raise UsageError(
                f"{self.path} already holds a run; nothing was overwritten. Continue it with "
                f"{shell(f'resume={self.path}')}, or name another folder with hydra.run.dir=..."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / CONFIG, OmegaConf.to_yaml(config, resolve=True))
        sign(self.path, named_code(OmegaConf.to_container(config, resolve=True)))
        if self._given:
            self.write_json(OVERRIDES, self._given)
        self._begun = True

    def keep(self, config: DictConfig) -> None:
        """Store what a run that goes on is made with from here on; its signature, if it has one, goes along.

        What it came to before goes: until it has ended again it has no score.
        """
        (self.path / SUMMARY).unlink(missing_ok=True)
        text = OmegaConf.to_yaml(config, resolve=True)
        path = self.path / CONFIG
        if text == path.read_text(encoding="utf-8"):
            return
        ours = begun_here(self.path, named_code(OmegaConf.to_container(OmegaConf.load(path))))
        write_atomically(path, text)
        if ours:
            sign(self.path, named_code(OmegaConf.to_container(config, resolve=True)))

    def config(self) -> DictConfig:
        """The resolved configuration that the run was started with.

        Raises:
            UsageError: It is not a configuration, or one that could be made to grow when read.
        """
        path = self.path / CONFIG
        try:
            refuse_growing_yaml(path)
            loaded = OmegaConf.load(path)
        except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"{path} is not readable YAML: {error}") from error
        if not isinstance(loaded, DictConfig) or not loaded:
            raise UsageError(f"{path} is not a run's configuration.")
        return OmegaConf.create(run_today(OmegaConf.to_container(loaded)))  # type: ignore[arg-type]

    def summary(self) -> dict[str, Any]:
        """What the run came to; empty where it has not ended.

        Raises:
            UsageError: The file was changed to something else.
        """
        path = self.path / SUMMARY
        found = read_object(path)
        for name, (fits, must) in SUMMARISED.items():
            if name in found and not fits(found[name]):
                raise UsageError(f"{path} says {name}: {str(found[name])[:60]}, which is {must}. {_PUT_BACK}")
        return found

    def overrides(self) -> dict[str, str] | None:
        """What the command line gave for the run when it began, by place; None where that was not kept."""
        try:
            given = json.loads((self.path / OVERRIDES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        pairs = [str(one).lstrip("+").partition("=") for one in given] if isinstance(given, list) else []
        return {place: value for place, _, value in pairs}

    def save_checkpoint(self, step: int, state: dict[str, Any], keep: int) -> None:
        """Write the checkpoint of `step` and drop all but the newest `keep`."""
        save_checkpoint(self.checkpoints / f"step_{step:012d}", {"step": step, **state})
        for old in self._steps()[:-keep]:
            shutil.rmtree(old, ignore_errors=True)  # Windows keeps the one that the run was resumed from

    def save_best(self, step: int, state: dict[str, Any]) -> None:
        """Write the checkpoint of `step` as the best so far, in place of the one before."""
        best = self.checkpoints / f"best_step_{step:012d}"
        save_checkpoint(best, {"step": step, **state})
        for old in self._bests():
            if old != best:
                shutil.rmtree(old)

    def load_checkpoint(self, which: str = "last") -> dict[str, Any]:
        """Read the newest checkpoint (`last`) or the one that was evaluated best (`best`).

        Raises:
            UsageError: There is none, or it is damaged.
        """
        if which not in ("last", "best"):
            raise UsageError(f"checkpoint is {which!r}; give last or best.")
        found = self._steps() if which == "last" else self._bests()
        if not found:
            more = "save more often with checkpoint.every=<steps>" if which == "last" else "give checkpoint=last"
            raise UsageError(f"{self.path} holds no {which} checkpoint yet: {more}, or train on.")
        return load_checkpoint(found[-1])

    def checkpoint_to_resume(self) -> dict[str, Any] | None:
        """Read the newest checkpoint that is whole, or None where there is none yet: the run then starts anew.

        Damaged ones are set aside (`<name>.damaged`), and what was evaluated best after the one that is read goes: the
        run comes by there again.

        Raises:
            UsageError: There are checkpoints, but all of them are damaged, or a newer version of the code wrote one.
                Nothing has changed then.
        """
        damaged: list[Path] = []
        for path in reversed(self._steps()):
            try:
                checkpoint = load_checkpoint(path)
            except NewerVersionError:
                raise
            except UsageError as error:
                print(error, file=sys.stderr)
                damaged.append(path)
                continue
            self._set_aside(damaged, path)
            for best in self._bests():
                if _step_of(best) > checkpoint["step"]:
                    shutil.rmtree(best)
            return checkpoint
        if damaged:
            raise UsageError(f"Every checkpoint of {self.path} is damaged: {', '.join(p.name for p in damaged)}.")
        print(f"{self.path} holds no checkpoint yet: it starts from the beginning.", file=sys.stderr)
        return None

    def write_json(self, name: str, content: dict[str, Any] | list[str]) -> Path:
        """Write `name` in the run folder."""
        path = self.path / name
        write_atomically(path, json.dumps(content, indent=2) + "\n")
        return path

    def _leave_no_lock(self) -> None:
        """Take away the lock of a run that was refused."""
        if not (self.path / CONFIG).exists():
            with suppress(PermissionError):
                (self.path / LOCK).unlink(missing_ok=True)

    def _set_aside(self, damaged: list[Path], going_on_from: Path) -> None:
        for path in damaged:
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        if damaged:
            print(f"Going on from {going_on_from}; the damaged ones are kept as {damaged[0].name}.damaged, ...")

    def _steps(self) -> list[Path]:
        return [self.checkpoints / name for name in whole_names(self.checkpoints)]

    def _bests(self) -> list[Path]:
        return sorted(p for p in self.checkpoints.glob("best_step_*") if re.fullmatch(r"best_step_\d{12}", p.name))


_PUT_BACK = "Put back what training wrote, or remove the file: the run then counts as one that has not ended."


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file of a run; empty where there is no file.

    Raises:
        UsageError: It holds something else.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON, and of text
        raise UsageError(f"{path} is no JSON: {error}. {_PUT_BACK}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds {str(found)[:60]}, no JSON object. {_PUT_BACK}")
    return found


def refuse_growing_yaml(path: Path) -> None:
    """Raise if a stored configuration is large or refers to parts of itself: a few lines of that fill any memory."""
    if (size := path.stat().st_size) > LARGEST_CONFIG:
        raise UsageError(f"{path} has {size} bytes; a run's configuration has at most {LARGEST_CONFIG}.")
    with path.open("rb") as file:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(file, Loader=yaml.SafeLoader)):
            raise UsageError(f"{path} refers to parts of itself (a YAML alias, *name), which no run's own file does.")


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("_")[2])


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary name and rename, so that `path` is the old file or the new one, never a part."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    names = ("torch", "gymnasium", "numpy", "hydra-core", "minigrid", "faiss-cpu", "faiss-gpu", "engram-rl")
    found = {name: _version(name) for name in names}
    return {"python": platform.python_version(), **{name: v for name, v in found.items() if v}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def runs_below(folder: Path) -> list[Path]:
    """The folders of runs in a folder, or it itself; what others keep inside a run, as wandb does, is none."""
    found = [path.parent for path in sorted(folder.rglob(CONFIG))]
    runs = set(found)
    return [run for run in found if runs.isdisjoint(run.parents)]


def _latest(runs: Path) -> Path:
    found = runs_below(runs)
    if not found:
        raise UsageError(f"There is no run below {runs.resolve()}. Train one first: engram train agent=nec.")
    return max(found, key=lambda run: (run / CONFIG).stat().st_mtime)


def _latest_or(runs: Path, otherwise: str) -> str:
    try:
        return str(_latest(runs))
    except UsageError:
        return otherwise
