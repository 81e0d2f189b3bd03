"""What a command line gives for a run that exists: merged onto the run's configuration with Hydra's own grammar."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from engram_rl.training.errors import UsageError

VALUED_FLAGS = (
    "--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c", "--info",
    "-i", "--experimental-rerun",
)  # fmt: skip

BEGINS = ("seed", "seeding")
"""What only the first step of a run takes in."""


def flags_first(arguments: Sequence[str]) -> list[str]:
    """A command line with its flags, and what they take, before its overrides: Hydra refuses them in between."""
    flags: list[str] = []
    rest: list[str] = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        (flags if word.startswith("-") or before in VALUED_FLAGS else rest).append(word)
    return [*flags, *rest]


def split(arguments: Sequence[str], opening: str) -> tuple[list[str], list[str]]:
    """A command line in two, if it opens a run that exists: what Hydra composes from, and what is for the run.

    Args:
        arguments: Of the command.
        opening: The key that names the run's folder.

    Returns:
        The flags, `hydra.*` and the run's folder; and the other overrides. Without a run's folder, everything and `[]`.
    """
    if not any(word.startswith(f"{opening}=") and word.partition("=")[2] not in ("", "null") for word in arguments):
        return list(arguments), []
    kept: list[str] = []
    given: list[str] = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        flag = word.startswith("-") or before in VALUED_FLAGS
        theirs = word.lstrip("+~").startswith((f"{opening}=", "hydra.", "hydra/"))
        (kept if flag or theirs else given).append(word)
    return kept, given


def merged(config: DictConfig, given: Sequence[str], folders: Collection[Path], run: Path) -> DictConfig:
    """The run's configuration with these overrides.

    Args:
        config: Of the run, typed.
        given: As on a command line: `steps=9000`, `'+env.kwargs={n: 3}'`, `+env.kwargs.n=3`, `++a=1`, `~a`.
        folders: Of YAML; a folder in these is a group, whose choice a run keeps.
        run: Its folder.

    Raises:
        UsageError: An override would swap a group, such as the agent, under a run that has begun, or its seed, or
            sweep.
        OmegaConfBaseException: A key that the run does not have, or a value of another kind.
    """
    parsed = OverridesParser.create().parse_overrides(list(given))
    for override in parsed:
        _refuse_swap(override, folders, run)
    result = config.copy()
    OmegaConf.set_struct(result, True)
    for override in parsed:
        _apply(result, override)
    for key in BEGINS:
        if (began := config.get(key)) != result.get(key):
            raise UsageError(
                f"{key}={result.get(key)}: the run in {run} began with {key}={began}, and its random numbers go on "
                f"from where they stopped; start a new run for another."
            )
    return result


def _refuse_swap(override: Override, folders: Collection[Path], run: Path) -> None:
    line = override.input_line
    if override.is_sweep_override():
        raise UsageError(f"{line} names several values; a run is continued with one.")
    group = override.key_or_group
    choice = not isinstance(override.value(), dict) and any((folder / group).is_dir() for folder in folders)
    if choice or override.package is not None:
        raise UsageError(f"{line} would swap a part of the run in {run}; start a new run for that.")


def _apply(config: DictConfig, override: Override) -> None:
    key, value = override.key_or_group, override.value()
    _refuse_parts_of_values(config, key)
    if override.is_delete():
        _delete(config, key, override)
    elif override.is_add() and _present(config, key) and not isinstance(value, dict):
        raise UsageError(f"{override.input_line}: the run has {key} already; leave out the plus, or write ++{key}=...")
    else:
        OmegaConf.update(config, key, value, merge=True, force_add=override.is_add() or override.is_force_add())


def _refuse_parts_of_values(config: DictConfig, key: str) -> None:
    """Raise if a part is given for what is a single value in this run."""
    for place in accumulate(key.split(".")[:-1], "{}.{}".format):
        if _present(config, place) and not OmegaConf.is_config(found := OmegaConf.select(config, place)):
            raise UsageError(f"There is no {key}: in this run {place} is {found!r}. Give {place}=... as a whole.")


def _present(config: DictConfig, key: str) -> bool:
    try:
        return OmegaConf.select(config, key, throw_on_missing=False) is not None
    except OmegaConfBaseException:
        return False


def _delete(config: DictConfig, key: str, override: Override) -> None:
    place, _, name = key.rpartition(".")
    parent: Any = OmegaConf.select(config, place) if place else config
    if not isinstance(parent, DictConfig) or name not in parent:
        raise UsageError(f"{override.input_line}: the run has no {key}.")
    with open_dict(parent):
        del parent[name]
