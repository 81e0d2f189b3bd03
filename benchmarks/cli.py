"""The command line of a benchmark, `python -m benchmarks.NAME key=value ...`, from a dataclass of its options."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from benchmarks.provenance import recorded, remember
from engram_rl.training.errors import UsageError

Options = TypeVar("Options")


def parse(options: type[Options], arguments: list[str] | None = None) -> Options:
    """The options with `key=value` arguments applied; prints what is wrong and exits with 2 if one is not valid."""
    remember()
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        print(f"{options.__doc__}\n\n{OmegaConf.to_yaml(OmegaConf.structured(options))}")
        sys.exit(0)
    try:
        return from_arguments(options, arguments)
    except ValueError as error:
        sys.exit(_fail(str(error)))


def run_main(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a benchmark and exit with its status; what the user can put right ends it with one message and 2."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UsageError as error:
        sys.exit(_fail(f"Error: {error}"))
    except KeyboardInterrupt:
        sys.exit("Stopped. Runs whose rows were written are kept: the same command goes on from there.")


def env_options(arguments: Iterable[str]) -> list[str]:
    """`env.n=20` beside `env=shiftwall` as `env_options.n=20`: a key cannot be a name and a group at once."""
    return [f"env_options.{one[4:]}" if one.startswith("env.") else one for one in arguments]


def from_arguments(options: type[Options], arguments: list[str]) -> Options:
    """The options with `key=value` arguments applied.

    Raises:
        ValueError: An argument is no `key=value`, its key is unknown, or its value is no YAML or of another type.
    """
    valid = [field.name for field in fields(cast(Any, options))]
    for argument in arguments:
        path, equals, _ = argument.partition("=")
        key = path.partition(".")[0]
        if not equals:
            raise ValueError(f"{argument!r} is not of the form key=value; the keys are {', '.join(valid)}")
        if key not in valid:
            near = get_close_matches(key, valid, n=2, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ValueError(f"unknown option {key!r}: {hint}the keys are {', '.join(valid)}")
    try:
        given = OmegaConf.from_dotlist(arguments)
        hints = get_type_hints(options)
        for name in given:
            given[name] = _as_list(hints[str(name)], given[name])
        return cast(Options, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(options), given)))
    except OmegaConfBaseException as error:
        raise ValueError(str(error).splitlines()[0]) from error
    except YAMLError as error:
        raise ValueError(
            f"a value of {' '.join(arguments)} is no YAML ({getattr(error, 'problem', error)}); an item of a list that "
            f"has brackets, braces or commas itself goes in quotes, as in 'only=[\"CartPole-v1 wrappers=[a.B]\"]'"
        ) from error


def write_lines(path: str | Path, records: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line, each with how it came about."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(recorded(record)) + "\n" for record in records))


def _as_list(hint: Any, value: Any) -> Any:
    """A count where a list of integers is wanted, a single item where another list is; else the value itself."""
    if hint == list[int] and isinstance(value, int) and not isinstance(value, bool):
        return list(range(value))
    if get_origin(hint) is list and isinstance(value, str):
        return [value]
    return value


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 2
