"""What `--help` teaches: the comments of the YAML files, beside the places that they stand at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig

CONF = Path(__file__).resolve().parents[2] / "conf"
PACKAGE = re.compile(r"# @package (?P<place>[\w.]+)\n")
KEY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?P<rest>.*)")


def explained(name: str) -> str:
    """The values of `conf/<name>.yaml` that it comments on, and those of everything chosen, one a line.

    What a YAML inherits from others of its group, or takes from another group, is explained with it.
    """
    hydra = HydraConfig.get().runtime
    folders = [CONF, *(Path(source.path) for source in hydra.config_sources if source.schema == "file")]
    comments = dict(_comments((CONF / f"{name}.yaml").read_text(encoding="utf-8"), ""))
    for choice, chosen in hydra.choices.items():
        if chosen is not None and not choice.startswith("hydra/"):
            group, _, package = choice.partition("@")
            comments |= _of_choice(folders, f"{group}/{chosen}", package or group.replace("/", "."))
    width = max(map(len, comments), default=0)
    return "\n".join(f"  {place:{width}}  {comment}" for place, comment in comments.items())


def _of_choice(folders: Sequence[Path], name: str, place: str) -> dict[str, str]:
    """The comments of a YAML and of those that it inherits from, its own in place of theirs."""
    path = next((found for folder in folders if (found := folder / f"{name}.yaml").is_file()), None)
    if path is None:
        return {}
    text = path.read_text(encoding="utf-8")
    if elsewhere := PACKAGE.match(text):
        place = "" if elsewhere["place"] == "_global_" else elsewhere["place"]
    own = dict(_comments(text, place))
    content: Any = yaml.safe_load(text)
    inherited: dict[str, str] = {}
    for parent in content.get("defaults", []) if isinstance(content, Mapping) else []:
        if isinstance(parent, str) and parent != "_self_":
            inherited |= _of_choice(folders, f"{name.rpartition('/')[0]}/{parent}", place)
    return inherited | own


def _comments(text: str, place: str) -> Iterator[tuple[str, str]]:
    """Places and comments; a comment goes on in lines below that are nothing else, and deeper."""
    above: list[tuple[int, str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not (found := KEY.match(line)):
            continue
        indent, name = len(found["indent"]), found["name"]
        above = [(depth, one) for depth, one in above if depth < indent]
        _, mark, comment = found["rest"].partition("  # ")
        if mark:
            more = takewhile(lambda one: re.match(rf" {{{indent + 1},}}# ", one), lines[number + 1 :])  # noqa: B023
            words = [comment.strip(), *(one.strip("# ") for one in more)]
            yield ".".join([*([place] if place else []), *(one for _, one in above), name]), " ".join(words)
        above.append((indent, name))
