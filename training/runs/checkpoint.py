"""Checkpoints: tensors as safetensors, the rest as JSON, written whole or not at all. Loading one runs no code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engram_rl.training.errors import UsageError
from engram_rl.training.legacy import checkpoint_today
from engram_rl.training.runs.naming import shell

FORMAT = "engram-checkpoint"
VERSION = 3
READABLE = (1, 2, VERSION)
"""Versions that are read; states of earlier ones have parts that are called otherwise, or lie elsewhere, today."""
TENSORS, STRUCTURE = "state.safetensors", "state.json"
Plain = None | bool | int | float | str


class UnwritableError(UsageError):
    """A full disk, or a folder that may not be written to."""


class NewerVersionError(UsageError):
    """A checkpoint that is whole, but of a version that this code does not know yet."""


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a nested state (dicts, lists, tensors, arrays, plain values) to `folder`, replacing it by renaming.

    Raises:
        TypeError: The state holds something else; it is named with its place.
        UsageError: It cannot be written: a full disk, a folder that may not be written to. What was there stays.
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = flatten(state, "", tensors)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.parent.glob(".*.tmp"):  # by a process that was killed while saving
            shutil.rmtree(abandoned, ignore_errors=True)
        _write(unfinished, structure, tensors)
        _put_in_place(unfinished, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise UnwritableError(_unwritable(folder, error)) from error


def _write(folder: Path, structure: Any, tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    save_file(tensors, folder / TENSORS)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": _sha256(folder / TENSORS),
        "state_sha256": _digest(structure),
        "state": structure,
    }
    (folder / STRUCTURE).write_text(json.dumps(header), encoding="utf-8")
    _sync(folder / TENSORS, folder / STRUCTURE, folder)


def _put_in_place(unfinished: Path, folder: Path) -> None:
    """Rename; what stood there before is moved aside first and goes only when the new one stands."""
    replaced = unfinished.with_name(f".replaced{unfinished.name}")
    if folder.exists():
        folder.rename(replaced)
    unfinished.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _unwritable(folder: Path, error: Exception) -> str:
    rest = f"intact: {folders[-1]}" if (folders := whole_names(folder.parent)) else "none"
    return (
        f"The checkpoint {folder} could not be written: {error}. Earlier checkpoints are {rest}. Make room, or make "
        f"the folder writable, and continue with: {shell('engram', 'train', f'resume={folder.parent.parent}')}"
    )


def whole_names(folder: Path) -> list[str]:
    """The names of the checkpoints in a folder, oldest first; a checkpoint that has its name is whole."""
    return sorted(path.name for path in folder.glob("step_*") if re.fullmatch(r"step_\d{12}", path.name))


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        UsageError: The folder is no checkpoint, a foreign or newer one, or damaged.
    """
    header = _read_header(folder)
    if _was_changed(header):
        raise UsageError(_damaged(folder / STRUCTURE, "its content is not what was saved"))
    path = folder / TENSORS
    if not path.is_file() or _sha256(path) != header["sha256"]:
        raise UsageError(_damaged(path, "its content is not what was saved"))
    try:
        tensors = load_file(path)
        state = _unflatten(header["state"], tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(_damaged(path, str(error))) from error
    return checkpoint_today(state, header["version"]) if isinstance(state, dict) else state


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / STRUCTURE
    if not path.is_file():
        raise UsageError(f"{folder} holds no checkpoint: there is no {STRUCTURE} in it.")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(_damaged(path, str(error))) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or not {"sha256", "state"} <= header.keys():
        raise UsageError(f"{path} was not written by this project (its format is not {FORMAT!r}).")
    if (version := header.get("version")) not in READABLE:
        told = f"{path} has version {version!r}; this code reads versions up to {VERSION}."
        if isinstance(version, int) and version > VERSION:
            raise NewerVersionError(f"{told} Install the newer engram-rl that wrote it. Nothing was changed.")
        raise UsageError(told)
    return header


def _damaged(path: Path, why: str) -> str:
    others = [name for name in whole_names(path.parent.parent) if name != path.parent.name]
    rest = f"Remove {path.parent} to go on from {others[-1]}." if others else "No other checkpoint is beside it."
    return f"The checkpoint file {path} is damaged: {why}. Nothing was changed. {rest}"


def flatten(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The JSON skeleton of `value`; tensors and arrays move to `tensors` under their place.

    Raises:
        UsageError: It holds what a checkpoint cannot hold; it is named with its place.
    """
    while place in tensors:  # of a part "b" in "a" and a part "a/b"
        place += "'"
    if isinstance(value, torch.Tensor):
        tensors[place] = value.detach().cpu().contiguous().clone()
        return {"tensor": place}
    if isinstance(value, np.ndarray):
        tensors[place] = torch.from_numpy(np.ascontiguousarray(value))
        return {"array": place}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Plain):
        return value
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [flatten(item, f"{place}/{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, dict):
        pairs = [[_plain_key(key, place), flatten(item, f"{place}/{key}", tensors)] for key, item in value.items()]
        return {"dict": pairs}
    raise UsageError(f"A checkpoint cannot hold {type(value).__name__} (at {place or 'the top'}). {_HOLDS}")


def _plain_key(key: Any, place: str) -> str | int:
    if isinstance(key, str | int):
        return key
    raise UsageError(f"A checkpoint's keys are strings or integers, not {type(key).__name__} (at {place}). {_HOLDS}")


_HOLDS = "state_dict() gives dicts and lists of tensors, arrays and plain values."


def _unflatten(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "dict":
        return {key: _unflatten(item, tensors) for key, item in content}
    items = [_unflatten(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def _was_changed(header: dict[str, Any]) -> bool:
    """Whether the structure is not the one that was saved; earlier files do not say which that was."""
    try:
        return "state_sha256" in header and header["state_sha256"] != _digest(header["state"])
    except RecursionError:
        return True


def _digest(structure: Any) -> str:
    """Of the JSON skeleton of a state, as a file gives it back."""
    return hashlib.sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(*paths: Path) -> None:
    """Reach the disk before the rename does, so that a power cut cannot leave a name without its content.

    Folders are synced where the system lets a folder be opened; Windows does not.
    """
    for path in paths:
        if path.is_dir():
            with suppress(OSError):
                _sync_one(path, os.O_RDONLY)
        else:
            _sync_one(path, os.O_RDWR)


def _sync_one(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
