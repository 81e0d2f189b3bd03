"""What a run folder, which may come from a stranger, may ask for: nothing that chooses the code that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from engram_rl.training.errors import UsageError
from engram_rl.training.runs.folder import CONFIG


def refuse_foreign(config: DictConfig, config_folders: list[Path], origin: Path) -> None:
    """Check a stored configuration against the user's own.

    Args:
        config: From a run folder.
        config_folders: Ours, and the user's `--config-dir`; runs that lie below them say nothing.
        origin: Where it was read.

    Raises:
        UsageError: A `_target_` or a module of an environment's id is one that no YAML in those folders names, or a
            value is an interpolation, which may turn into either.
    """
    for place in _interpolations(config):
        raise UsageError(
            f"{origin} holds an interpolation at {place}. A run's configuration is stored resolved: this one was "
            f"changed. Write the value itself there if you trust the rest."
        )
    own = [OmegaConf.load(path) for folder in config_folders for path in folder.rglob("*.yaml") if path.name != CONFIG]
    foreign = set(_values(config, "_target_")) - {target for one in own for target in _values(one, "_target_")}
    modules = {name for name in _values(config, "id") if ":" in name} - {
        name for one in own for name in _values(one, "id")
    }
    for what, names in (("build", foreign), ("import the module of", modules)):
        if names:
            raise UsageError(
                f"{origin} asks to {what} {', '.join(sorted(names))}, which no YAML of "
                f"{', '.join(map(str, config_folders))} names. If you trust it, add a YAML that names this to a folder "
                f"of your own and pass --config-dir."
            )


def _values(node: Any, wanted: str) -> Iterator[str]:
    """The values under this key, at any depth; of interpolations only what they are written as."""
    for key, value in _children(node):
        if key == wanted and isinstance(value, str):
            yield value
        else:
            yield from _values(value, wanted)


def _interpolations(node: Any, place: str = "") -> Iterator[str]:
    for key, value in _children(node):
        here = f"{place}.{key}" if place else str(key)
        if isinstance(value, str) and "${" in value:
            yield here
        else:
            yield from _interpolations(value, here)


def _children(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)
