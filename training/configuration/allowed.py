"""What a run folder, which may come from a stranger, may ask for: nothing that chooses the code that runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from engram_rl import memory
from engram_rl.training.errors import UsageError
from engram_rl.training.runs.folder import CONFIG
from engram_rl.training.runs.ownership import begun_here, named_code

WELL_KNOWN = re.compile(r"torch\.optim\.\w+|gymnasium\.wrappers\.(vector\.)?\w+")
"""Libraries' classes that any run may name: optimisers, and wrappers of environments."""


def refuse_foreign(config: DictConfig, config_folders: list[Path], origin: Path, given: Collection[str] = ()) -> None:
    """Check a stored configuration against the user's own.

    What a run names is built if the user began that run on this machine, if a YAML of the user's or of ours names it,
    if this command line names it again, or if it is a public class of the memory or of a well-known library.

    Args:
        config: From a run folder.
        config_folders: Ours, and the user's `--config-dir`; runs that lie below them say nothing.
        origin: Where it was read.
        given: The overrides of this command line.

    Raises:
        UsageError: A `_target_` or a module of an environment's id is none of these, or a value is an interpolation,
            which may turn into either.
    """
    for place in _interpolations(OmegaConf.to_container(config, resolve=False)):
        raise UsageError(
            f"{origin} holds an interpolation at {place}. A run's configuration is stored resolved: this one was "
            f"changed. Write the value itself there if you trust the rest."
        )
    named = named_code(OmegaConf.to_container(config))
    if begun_here(origin.parent, named):
        return
    foreign = {name for name in named if not _public(name) and not any(name in override for override in given)}
    foreign -= _named_by_yaml(config_folders)
    for what, names in (("build", {n for n in foreign if ":" not in n}), ("import the module of", foreign)):
        if names:
            raise UsageError(
                f"{origin} asks to {what} {', '.join(sorted(names))}, which no YAML of "
                f"{', '.join(map(str, config_folders))} names, and the run was not begun by you on this machine. If "
                f"you trust it, add a YAML that names this to a folder of your own and pass --config-dir."
            )


def _public(name: str) -> bool:
    """Whether a name is a public class of the memory or one of a well-known library."""
    package, _, last = name.rpartition(".")
    return bool(WELL_KNOWN.fullmatch(name)) or (package == memory.__name__ and last in memory.__all__)


def _named_by_yaml(folders: list[Path]) -> set[str]:
    files = [path for folder in folders for path in folder.rglob("*.yaml") if path.name != CONFIG]
    return {name for path in files for name in named_code(OmegaConf.to_container(OmegaConf.load(path)))}


def _interpolations(node: Any, place: str = "") -> Iterator[str]:
    """The places below a node, plain dicts and lists, that hold an interpolation."""
    children: Iterable[tuple[Any, Any]] = (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    )
    for key, value in children:
        here = f"{place}.{key}" if place else str(key)
        if isinstance(value, str) and "${" in value:
            yield here
        else:
            yield from _interpolations(value, here)
