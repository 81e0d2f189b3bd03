"""The command line: Hydra's, with errors that fit one screen and name the nearest valid word."""

from __future__ import annotations

import errno
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from engram_rl.training.configuration.allowed import refuse_foreign
from engram_rl.training.configuration.overrides import flags_first, merged, split
from engram_rl.training.configuration.prepared import PATHS, prepare
from engram_rl.training.configuration.schema import WHOLE, Training
from engram_rl.training.configuration.suggestions import suggestion
from engram_rl.training.errors import UsageError, causes, did_you_mean, in_your, raised_by_user
from engram_rl.training.evaluation import require_mode
from engram_rl.training.legacy import override_today
from engram_rl.training.runs.folder import CONFIG, RunFolder
from engram_rl.training.runs.naming import quoted
from engram_rl.training.seeding import COUNTED, SEEDINGS

ADDED_TO = ("log", "evaluation", "checkpoint", "cluster")
"""Parts of a configuration to which versions add values."""

SHOWN_PLAINLY = (HydraException, OmegaConfBaseException, UsageError, ValueError, OSError, gym.error.Error)


PIPE = 13
"""The number of SIGPIPE, which Windows has not."""

EXTRAS = {"hydra/launcher": "sweep", "hydra/sweeper": "tune"}
"""What brings more choices of a group of Hydra's own."""

QUOTES = "'\""
_FULL = "Make room; a run that had begun goes on from its last checkpoint with resume=RUN_FOLDER."
_OCCUPIED = "A file lies where a folder is to be: name another one with hydra.run.dir=... (out=... of an evaluation)."
_LONG = "Name a shorter folder with hydra.run.dir=... (out=... of an evaluation)."
_CLOSED = "Name a folder that may be written to with hydra.run.dir=..., or change its permissions."
OUT_OF_PLACE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EEXIST: _OCCUPIED,
    errno.ENOTDIR: _OCCUPIED,
    errno.ENAMETOOLONG: _LONG,
}
"""What to do where the system refuses to write, by its error number."""


def run_command(command: Callable[[], Any]) -> None:
    """Run a Hydra command; what the user can put right ends it with one message and exit status 2.

    `HYDRA_FULL_ERROR=1` shows the traceback instead.
    """
    prepare()
    sys.argv[1:] = flags_first([quoted(in_whole_numbers(argument), PATHS) for argument in sys.argv[1:]])
    sys.path += [folder for folder in own_folders(sys.argv[1:]) if folder not in sys.path]
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        command()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on instead of printing them itself
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_pipe()
    except Exception as error:
        theirs = raised_by_user(error) and not any(isinstance(cause, UsageError) for cause in causes(error))
        if not theirs and not isinstance(error, SHOWN_PLAINLY):
            raise
        print(f"Error: {in_your('code', 'training', error) if theirs else explain(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("Interrupted before the step in hand was done; resume from the last checkpoint.")
    finally:
        del os.environ["HYDRA_FULL_ERROR"]  # processes started later decide for themselves


def _leave_pipe() -> None:
    """End as programs do whose reader, such as `head`, has gone; nothing is said of it at the exit either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + PIPE)


def in_whole_numbers(argument: str) -> str:
    """`steps=1e5` as `steps=100000`, where a value is a whole number; other arguments as they are."""
    place, equals, values = argument.partition("=")
    if place not in WHOLE:
        return argument
    return place + equals + ",".join(map(_as_whole, values.split(",")))


def _as_whole(value: str) -> str:
    try:
        number = float(value.strip(QUOTES))
    except ValueError:
        return value
    return str(int(number)) if number.is_integer() else value


def explain(error: BaseException) -> str:
    """The message of an error, with the remedy where the configuration is at fault."""
    chain = list(causes(error))
    for cause in chain:
        if isinstance(cause, UsageError):
            return str(cause)
    for cause in chain:
        if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
            return _unknown_key(cause)
        if isinstance(cause, MissingMandatoryValue):
            return f"{cause.full_key} has no value: give one, {cause.full_key}=..."
        if isinstance(cause, MissingConfigException) and cause.options is not None:
            return _unknown_choice(cause)
    if isinstance(error, OSError) and error.errno in OUT_OF_PLACE:
        return f"{error}. {OUT_OF_PLACE[error.errno]}"
    return _of_hydra(error, chain) if isinstance(error, HydraException) else str(error)


def _of_hydra(error: HydraException, chain: Sequence[BaseException]) -> str:
    """What Hydra says of a command line, from where it says it shortly."""
    if isinstance(error, OverrideParseException):
        return _unread(error)
    if isinstance(error, InstantiationException) and len(chain) > 1:
        return f"{chain[-1]}\n(while building {str(error).splitlines()[-1]})"
    if isinstance(error, ConfigCompositionException) and len(chain) > 1:
        shown = [str(cause).splitlines()[0] for cause in chain if str(cause)]
        return "\n".join(shown[:2])
    return str(error)


def own_folders(arguments: Sequence[str]) -> list[str]:
    """Where users keep modules of their own: the folder of `--config-dir`, if one is given, and the current one."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    given = parser.parse_known_args(arguments)[0].config_dir
    return [str(folder.resolve()) for folder in (given, Path()) if folder is not None]


def config_folders() -> list[Path]:
    """The folders of YAML that this invocation composed from: ours, and the user's `--config-dir`."""
    sources = HydraConfig.get().runtime.config_sources
    own = Path(__file__).resolve().parent.parent / "conf"
    return [own, *(Path(source.path) for source in sources if source.schema == "file" and Path(source.path) != own)]


_given: list[str] = []
"""What this command line gives for the configuration of a run that exists."""


def set_aside(opening: str) -> None:
    """Take the overrides that are meant for an existing run off the command line: a new one would be asked for them.

    Args:
        opening: The key that names the run's folder.
    """
    kept, _given[:] = split(sys.argv[1:], opening)
    sys.argv[1:] = kept


def stored_config(folder: RunFolder, composed: DictConfig, given: Sequence[str] | None = None) -> DictConfig:
    """The configuration of an existing run, with the values that this command line overrides.

    Args:
        folder: The run's.
        composed: What this command line makes without the run; it says what a run of an older version did not.
        given: The overrides for the run; None for those that `set_aside` took off the command line.

    Raises:
        UsageError: It asks for code that no YAML of ours or of the user's names, or an override would swap a whole
            group, such as the agent, under a run that has begun.
    """
    config = folder.config()
    command = HydraConfig.get()
    given = _given if given is None else given
    refuse_foreign(config, config_folders(), folder.path / CONFIG, [*command.overrides.task, *given])
    if command.job.config_name == "train":
        added = OmegaConf.masked_copy(composed, list(ADDED_TO))
        first = OmegaConf.create({"seeding": COUNTED})  # what runs of the first version did, and did not say
        config = DictConfig(OmegaConf.merge(OmegaConf.structured(Training), first, added, config, {"resume": None}))
        config = merged(config, given, config_folders(), folder.path)
    return config


def require_choices(config: DictConfig) -> None:
    """Raise unless words that stand for one of a few choices are among these."""
    require_mode(config.evaluation.get("mode"), "evaluation.mode")
    if (seeding := config.get("seeding", COUNTED)) not in SEEDINGS:
        raise UsageError(f"seeding is {seeding!r}. {did_you_mean(seeding, SEEDINGS)}")
    for place in ("evaluation.max_steps", "env.max_episode_steps"):
        if (limit := OmegaConf.select(config, place)) is not None and limit < 1:
            raise UsageError(f"{place} is {limit}; it must be at least 1, or null for no limit.")


def require_positive(config: DictConfig, *keys: str) -> None:
    """Raise unless each of these values is at least 1."""
    for key in keys:
        if (value := OmegaConf.select(config, key)) < 1:
            raise UsageError(f"{key} is {value}; it must be at least 1.")


def require_cadences(config: DictConfig, *keys: str) -> None:
    """Raise unless each of these values is a number of steps, or 0 for never."""
    for key in keys:
        if (value := OmegaConf.select(config, key)) < 0:
            raise UsageError(f"{key} is {value}; it must be a number of environment steps, or 0 for never.")


def _unknown_key(error: OmegaConfBaseException) -> str:
    parent = error.parent_node
    assert isinstance(parent, DictConfig)
    place = parent._get_full_key(None)
    if place and place.endswith("kwargs"):
        return f"{place} takes new keys with a plus: +{place}.{error.key}=..."
    return suggestion(str(error.key), parent)


def _unread(error: OverrideParseException) -> str:
    """Where Hydra's grammar stopped, and how the same is written for it."""
    place, equals, value = error.override.partition("=")
    if not equals:
        return f"{error.override!r} is no value: give key=value, such as steps=1000."
    inside = value.replace("'", r"\'")
    stopped = str(error).partition("\nSee ")[0]
    return (
        f"{stopped}\nLetters beyond a to z, and signs, go in quotes within those of the shell: \"{place}='{inside}'\". "
        f"A list or a dict ends with its bracket."
    )


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if group in EXTRAS:
        return f"There is no {group} {name!r} here: it comes with an extra, pip install 'engram-rl[{EXTRAS[group]}]'."
    today = override_today(f"{group}={name}")
    if today != f"{group}={name}":
        return f"There is no {group} {name!r}: {group}={name} is {today} now."
    if group == "env" and re.search(r"-v\d+$", name):
        return f"There is no env {name!r}. If that is a Gymnasium id: env=gym env.id={name}"
    return f"There is no {group or 'config'} {name!r}. {did_you_mean(name, error.options or [])}"
