"""A run's folder: the resolved configuration, events, metrics, checkpoints and summary."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from training.checkpoint import load_checkpoint, save_checkpoint
from training.errors import UsageError

CONFIG = "config.yaml"


class RunFolder:
    """The files of one run; every one of them is replaced by a rename, so none is ever half written."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run; `latest` is the newest below `runs/`."""
        if str(path) == "latest":
            path = _latest(Path("runs"))
        if not (path / CONFIG).is_file():
            state = "holds no run" if path.is_dir() else "does not exist"
            raise UsageError(
                f"{path} {state}: there is no {CONFIG} in it. Give the folder that train.py printed, such as "
                f"{_latest_or(Path('runs'), 'runs/2026-01-31_12-00-00_nec_cartpole_seed1')}."
            )
        return cls(path)

    def start(self, config: DictConfig) -> None:
        """Begin a run here; the folder must not hold one yet."""
        if (self.path / CONFIG).exists():
            raise UsageError(
                f"{self.path} already holds a run; nothing was overwritten. Continue it with resume={self.path}, or "
                f"name another folder with hydra.run.dir=..."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / CONFIG, OmegaConf.to_yaml(config, resolve=True))

    def config(self) -> DictConfig:
        """The resolved configuration that the run was started with."""
        try:
            loaded = OmegaConf.load(self.path / CONFIG)
        except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
            raise UsageError(f"{self.path / CONFIG} is not readable YAML: {error}") from error
        if not isinstance(loaded, DictConfig):
            raise UsageError(f"{self.path / CONFIG} is not a run's configuration.")
        return loaded

    def save_checkpoint(self, step: int, state: dict[str, Any], keep: int) -> None:
        """Write the checkpoint of `step` and drop all but the newest `keep`."""
        save_checkpoint(self.checkpoints / f"step_{step:012d}", {"step": step, **state})
        for old in self._steps()[:-keep]:
            shutil.rmtree(old)

    def load_checkpoint(self) -> dict[str, Any]:
        """Read the newest checkpoint."""
        steps = self._steps()
        if not steps:
            raise UsageError(
                f"{self.path} holds no checkpoint yet, so there is nothing to continue or evaluate. Start anew, or "
                f"save more often with checkpoint.every=<steps>."
            )
        return load_checkpoint(steps[-1])

    def write_json(self, name: str, content: dict[str, Any]) -> Path:
        """Write `name` in the run folder."""
        path = self.path / name
        write_atomically(path, json.dumps(content, indent=2) + "\n")
        return path

    def _steps(self) -> list[Path]:
        return sorted(p for p in self.checkpoints.glob("step_*") if re.fullmatch(r"step_\d{12}", p.name))


def run_folder_name(agent: str, env: str, seed: int) -> Path:
    """Where a new run goes: `runs/<date>_<time>_<agent>_<env>_seed<seed>`."""
    return Path("runs") / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{agent}_{env}_seed{seed}"


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary name and rename, so that `path` is the old file or the new one, never a part."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


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


def _latest(runs: Path) -> Path:
    found = sorted(runs.rglob(CONFIG), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"There is no run below {runs.resolve()}. Train one first: python train.py agent=nec.")
    return found[-1].parent


def _latest_or(runs: Path, otherwise: str) -> str:
    try:
        return str(_latest(runs))
    except UsageError:
        return otherwise
