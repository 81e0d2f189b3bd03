"""Runs that this user began on this machine: what such a run names was chosen by the user, so it may be built again.

A run folder from elsewhere may name any code. The names in a folder that was begun here are signed with a key that
never leaves the user's own files; a stranger's folder cannot bear that signature.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SIGNATURE = "begun_here"
"""The file of a run folder that holds the signature."""


def named_code(config: Any) -> set[str]:
    """What a configuration, plain dicts and lists, names that decides which code runs.

    That is every `_target_`, and every id of an environment that has a module before a colon.
    """
    return {value for key, value in _named_values(config) if key == "_target_" or (key == "id" and ":" in value)}


def sign(folder: Path, names: Iterable[str]) -> None:
    """Mark a run folder as begun here; without a key, as where the user's files may not be written to, it is not."""
    key = _key(make=True)
    if key is not None:
        (folder / SIGNATURE).write_text(_signature(key, names), encoding="ascii")


def begun_here(folder: Path, names: Iterable[str]) -> bool:
    """Whether a run folder bears this user's signature of exactly these names."""
    path, key = folder / SIGNATURE, _key(make=False)
    if key is None or not path.is_file():
        return False
    return hmac.compare_digest(path.read_bytes().strip(), _signature(key, names).encode())


def _named_values(node: Any) -> Iterator[tuple[str, str]]:
    """Words of a configuration with the key they stand under, at any depth."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(value, str):
                yield str(key), value
            yield from _named_values(value)
    elif isinstance(node, list):
        for item in node:
            yield from _named_values(item)


def _signature(key: bytes, names: Iterable[str]) -> str:
    return hmac.new(key, json.dumps(sorted(set(names))).encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """The user's key, made at the first run; None where there is none and none can be made."""
    try:
        path = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "engram" / "key"
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{path.name}.{os.getpid()}")
            unfinished.touch(mode=0o600)
            unfinished.write_bytes(secrets.token_bytes(32))
            try:
                os.link(unfinished, path)
            except FileExistsError:
                pass  # of two runs that begin at once the first key stays
            except OSError:
                unfinished.replace(path)
            unfinished.unlink(missing_ok=True)
        return path.read_bytes() if path.is_file() else None
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
