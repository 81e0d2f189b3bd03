"""Errors that name the nearest valid choice."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, name: str, valid: Iterable[str]) -> ValueError:
    """The error for a `name` that is none of `valid`: says which one was probably meant, then lists all."""
    choices = sorted(valid)
    near = get_close_matches(name, choices, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"unknown {what} {name!r}: {hint}choose from {', '.join(choices)}")
