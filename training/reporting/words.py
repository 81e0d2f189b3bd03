"""Arguments of commands that are not Hydra's: folders, and `key=value`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from engram_rl.training.errors import UsageError, did_you_mean

HELP = ("-h", "--help")


def read(arguments: Sequence[str], options: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Folders in the order they were given, and the value of every option.

    Args:
        arguments: `runs/a`, `key=value`. What exists is a folder even if its name holds an equals sign.
        options: The keys that may be given, with their defaults.

    Raises:
        UsageError: A key that is no option, a flag, or an option without a value.
    """
    places, values = [], dict(options)
    for word in arguments:
        key, equals, value = word.partition("=")
        if word.startswith("-"):
            raise UsageError(f"There is no flag {word}. Options: {_written(options)}; --help tells more.")
        if not equals or not key.isidentifier() or Path(word).exists():
            places.append(word)
        elif key not in options:
            raise UsageError(f"{key} is no option here. {did_you_mean(key, options)}")
        elif not value:
            raise UsageError(f"{key}= has no value; leave it out, or give one.")
        else:
            values[key] = value
    return places, values


def _written(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name}=..." for name in options)
