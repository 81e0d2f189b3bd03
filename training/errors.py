"""Errors a person reads: the value, the limit, the remedy, and the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Something the user can put right: shown as one message, without a traceback."""


def did_you_mean(name: str, valid: Iterable[str], limit: int = 3) -> str:
    """The valid names nearest to `name`, as the end of a sentence; all of them where none is near."""
    valid = sorted(set(valid))
    by_lower = {candidate.lower(): candidate for candidate in valid}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.5)]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Valid names: {', '.join(valid[:30])}{' ...' if len(valid) > 30 else ''}."
