"""What `--help` teaches: the comments of the YAML files, beside the places that they stand at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"
PACKAGE = re.compile(r"# @package (?P<place>[\w.]+)\n")
KEY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?P<rest>.*)")


def explained(*names: str) -> str:
    """The values that YAMLs of ours comment on, one a line: its place and the comment.

    Args:
        names: Of the files, below `conf`, without their endings: `train`, or `agent/nec` for a choice of a group.
    """
    found = [pair for name in names for pair in _comments_of(name)]
    width = max((len(place) for place, _ in found), default=0)
    return "\n".join(f"  {place:{width}}  {comment}" for place, comment in found)


def _comments_of(name: str) -> Iterator[tuple[str, str]]:
    group, _, _ = name.rpartition("/")
    path = CONF / f"{name}.yaml"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        elsewhere = PACKAGE.match(text)
        yield from _comments(text, elsewhere["place"] if elsewhere else group)


def _comments(text: str, place: str) -> Iterator[tuple[str, str]]:
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not (found := KEY.match(line)):
            continue
        indent, name = len(found["indent"]), found["name"]
        above = [(depth, one) for depth, one in above if depth < indent]
        _, mark, comment = found["rest"].partition("  # ")
        if mark:
            yield ".".join([*([place] if place else []), *(one for _, one in above), name]), comment.strip()
        above.append((indent, name))
