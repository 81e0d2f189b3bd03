"""Errors a person reads: the value, the limit, the remedy, and the nearest valid name."""

from __future__ import annotations

import difflib
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

OURS = tuple(
    str(Path(__file__).resolve().parents[1] / room)
    for room in ("agents", "conf", "engram_rl", "envs", "memory", "training")
)
INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class UsageError(ValueError):
    """Something the user can put right: shown as one message, without a traceback."""


class BrokenCodeError(UsageError):
    """An exception inside code of the user's, or of a package that is not ours: shown with its file and line."""


FAILURES = (Exception, SystemExit)
"""What somebody else's code may raise at us: also its `sys.exit()`, which would end a run unsaved and in silence."""

_RESET = "it is def reset(self, *, seed=None, options=None)"
HINTS = {
    "values to unpack": "step gives observation, reward, terminated, truncated, info; reset gives observation, info",
    "reset() got an unexpected keyword argument": _RESET,
}
"""What to do about errors that environments of older interfaces make, by words of these."""


def in_your(what: str, doing: str, error: BaseException) -> UsageError:
    """The error that says where in somebody else's code an exception was raised.

    Args:
        what: Whose it is, such as `environment world:Maze-v0`.
        doing: What was asked of it, such as `step`.
        error: What was raised; an error of ours stays what it is.
    """
    if isinstance(error, UsageError):
        return error
    name, place = type(error).__name__, place_of(error)
    hint = next((f" ({told})" for words, told in HINTS.items() if words in str(error)), "")
    return BrokenCodeError(
        f"In your {what}, in {doing}: {name}: {error}{hint}\n  at {place}. HYDRA_FULL_ERROR=1 shows the traceback."
    )


def place_of(error: BaseException) -> str:
    """File and line of the innermost frame that is the user's own; where none is, of the innermost of all."""
    for one in causes(error):
        if isinstance(one, SyntaxError) and one.filename:
            return f"{one.filename}, line {one.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for one in causes(error) for frame in _frames(one) if is_users(frame.filename)]
    if not frames:
        return "an unknown place"
    frame = (own or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}, in {frame.name}"


def raised_by_user(error: BaseException) -> bool:
    """Whether an exception, or what it came from, passed through code that is neither ours nor installed."""
    return any(is_users(frame.filename) for one in causes(error) for frame in _frames(one)) or any(
        is_users(one.filename) for one in causes(error) if isinstance(one, SyntaxError) and one.filename
    )


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an exception from the first of ours on; all where none is: who calls us is not to blame for us."""
    frames = list(traceback.extract_tb(error.__traceback__))
    ours = (at for at, frame in enumerate(frames) if str(Path(frame.filename).resolve()).startswith(OURS))
    return frames[next(ours, 0) :]


def is_users(filename: str) -> bool:
    """Whether a file belongs neither to us nor to Python nor to what is installed."""
    if filename.startswith("<"):
        return False
    path = str(Path(filename).resolve())
    return not path.startswith((*OURS, *INSTALLED)) and "site-packages" not in path and "dist-packages" not in path


@cache
def say_once(text: str) -> None:
    """Tell the user something that is no error, once in a process."""
    print(text, file=sys.stderr)


def did_you_mean(name: str, valid: Iterable[str], limit: int = 3) -> str:
    """The valid names nearest to `name`, as the end of a sentence; all of them where none is near."""
    valid = sorted(set(valid))
    by_lower = {candidate.lower(): candidate for candidate in valid}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.5)]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Valid names: {', '.join(valid[:30])}{' ...' if len(valid) > 30 else ''}."


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
