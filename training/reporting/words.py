"""Arguments of commands that are not Hydra's: folders, and `key=value`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.runs.folder import RunFolder, write_atomically
from engram_rl.training.runs.naming import shell, unquoted

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
            values[key] = unquoted(value)
    return places, values


def write_text_of(
    arguments: Sequence[str] | None, told: str | None, name: str, text: Callable[[Path], str]
) -> Path | None:
    """Write what a command says of one run, by `run=` (the newest if left out) and `out=` (a file in its folder).

    Args:
        arguments: Of the command; those of this process by default.
        told: Printed in place of everything else where help is asked for.
        name: Of the file.
        text: What it holds, from the run's folder.

    Returns:
        The file; None where help was asked for.

    Raises:
        UsageError: No such run, or several.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if set(words) & set(HELP):
        print(told)
        return None
    places, options = read(words, {"run": "latest", "out": ""})
    if places:
        raise UsageError(f"Give one run as {shell(f'run={places[0]}')}; engram compare shows several.")
    run = RunFolder.open(Path(options["run"])).path
    out = Path(options["out"] or run / name)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text(run))
    return out


def _written(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name}=..." for name in options)
