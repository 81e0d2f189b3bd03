"""What Hydra must be told before it composes a configuration; it takes no torch to say it."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from engram_rl.training.configuration.schema import register
from engram_rl.training.configuration.teaching import explained
from engram_rl.training.runs.naming import run_folder_name, short_name

PATHS = ("resume", "run", "out")
"""Places of a command line that take a path."""


def prepare() -> None:
    """Tell Hydra the types of a configuration and where runs go; before any composition."""
    register()
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    OmegaConf.register_new_resolver("short_name", short_name, replace=True)
    OmegaConf.register_new_resolver("explained", explained, replace=True)


def _run_folder(*, _root_: DictConfig) -> str:
    """Where Hydra makes this run's folder; a resumed or evaluated run has one already."""
    if _root_.get("resume") or "run" in _root_:
        return "."
    choices, given = _root_.hydra.runtime.choices, _root_.hydra.overrides.task
    core = choices.get("core")
    agent = choices.agent if core in (None, "null") else f"{choices.agent}_{core}"
    chosen = any(word.startswith("env.id=") for word in given)
    env = f"{choices.env}-{_root_.env.id}" if chosen else choices.env
    return str(run_folder_name(agent, env, _root_.seed, _root_.get("name") or ""))
