"""A memory in one safetensors file: its tensors, and a note that says how to build it again. Loading runs no code."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engram_rl.memory.checks import shown, whole
from engram_rl.memory.forgetting import FORGETTING, Forgetting
from engram_rl.memory.indexes import Index
from engram_rl.memory.keys.space import KeySpace, Modality
from engram_rl.memory.persistence.names import settings_today
from engram_rl.memory.reading import KERNELS, Kernel
from engram_rl.memory.writing.rules import WRITE_RULES, WriteRule

SCHEMA = 2
"""Version of the note and of what the tensors mean."""

DAMAGED = (
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RuntimeError,
    RecursionError,
    json.JSONDecodeError,
)
"""What reading a file that is not ours ends in, beside the errors that say what is wrong."""

PARTS: dict[str, Mapping[str, type]] = {"kernel": KERNELS, "write_rule": WRITE_RULES, "forgetting": FORGETTING}
"""What is saved by its name and arguments: the classes of each argument of the dictionary, by name."""

DTYPES = {"F32": torch.float32, "F64": torch.float64}
"""Precisions of a memory, as safetensors calls them."""

MOST_BYTES = 16 * 2**30
"""Memory that a file may claim by the capacity it states, unless told otherwise."""


def write_file(path: str | Path, settings: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a memory to one file, to another first, so that a crash leaves the old one.

    Args:
        path: Where.
        settings: Arguments that build the memory; parts as `named` gives them.
        state: What the memory holds. Large tensors are written from where they are, on a CPU.

    Raises:
        OSError: There is no such folder, or it is one.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to save {path.name} in; make it first")
    tensors, values = _flat(state)
    note = json.dumps({"schema": SCHEMA, "settings": settings, "values": values}, default=_plain)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, partial, {"note": note})
        with partial.open("r+b") as written:  # Windows syncs what may be written to
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def named(argument: str, part: Any) -> dict[str, Any]:
    """How to make this part again; one of a class of your own is named, and has to be given when loading."""
    name = next((name for name, kind in PARTS[argument].items() if type(part) is kind), None)
    if name is None:
        return {"own": type(part).__name__}
    return {"name": name, "arguments": part.settings() if isinstance(part, Forgetting) else asdict(part)}


class Loadable(Protocol):
    """What a file is loaded into."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what was saved."""


M = TypeVar("M", bound=Loadable)


def load(
    build: Callable[..., M],
    path: str | Path,
    *,
    index: Index | str = "exact",
    device: torch.device | str = "cpu",
    capacity: int | None = None,
    kernel: Kernel | None = None,
    write_rule: WriteRule | None = None,
    forgetting: Forgetting | None = None,
    most_bytes: int = MOST_BYTES,
) -> M:
    """Build the memory that a file holds.

    Args:
        build: The class of the memory.
        path: From `save`.
        index: Any kind; an index is not saved.
        device: Where it shall live.
        capacity: Another than it had.
        kernel: In place of the saved one; needed if that was a class of your own. The same holds for the next two.
        write_rule: See `kernel`.
        forgetting: See `kernel`.
        most_bytes: What its tensors may take up; a file that claims more is refused before anything is allocated.

    Raises:
        ValueError: It is no memory file, or a damaged one, or of a later version, or claims too much.
    """
    whole("most_bytes", most_bytes, most=2**62)
    if capacity is not None:
        whole("capacity", capacity)
    own = {"kernel": kernel, "write_rule": write_rule, "forgetting": forgetting}
    with opened(path) as file:
        memory = build(**file.arguments(capacity, most_bytes, own), index=index, device=device)
        memory.load_state_dict(file.state())
    return memory


@contextmanager
def opened(path: str | Path) -> Iterator[MemoryFile]:
    """The file to read from; whatever its damage makes go wrong meanwhile is said in one way.

    Raises:
        ValueError: It is no memory file, or a damaged one, or of a later version.
        OSError: It cannot be read.
    """
    Path(path).open("rb").close()  # says what is wrong with the path itself
    try:
        with safe_open(path, framework="pt") as file:
            yield MemoryFile(Path(path), file)
    except SafetensorError as error:
        raise ValueError(f"{path} is no memory file, or is damaged or cut short: {error}") from error
    except DAMAGED as error:
        raise ValueError(f"{path} is no memory file, or is damaged: {error!r}") from error


class MemoryFile:
    """An open file, read a tensor at a time; safetensors has compared its header with its size.

    Attributes:
        settings: Arguments that build the memory, with today's names.
    """

    def __init__(self, path: Path, file: safe_open) -> None:
        self._path, self._file = path, file
        note = json.loads(file.metadata()["note"])
        if note["schema"] > SCHEMA:
            raise ValueError(f"it has schema {note['schema']}, this version reads up to {SCHEMA}; update engram")
        self.settings: dict[str, Any] = settings_today(note["settings"])
        self._values: dict[str, Any] = note["values"]

    def arguments(self, capacity: int | None, most_bytes: int, own: Mapping[str, Any]) -> dict[str, Any]:
        """What to build the memory with.

        Args:
            capacity: Another than it had.
            most_bytes: What its tensors may take up.
            own: Parts to use in place of the saved ones; None for those.

        Raises:
            ValueError: It claims too much, or was saved with a part of a class of your own, which is not given.
        """
        settings = self.settings
        space = KeySpace([Modality(**m) for m in settings["space"]])
        capacity = settings["capacity"] if capacity is None else capacity
        self._check_size(space, settings["value_dim"], capacity, most_bytes)
        parts = {name: own[name] or remade(name, settings[name]) for name in PARTS}
        dtype = DTYPES[self._file.get_slice("values").get_dtype()]
        return settings | parts | {"space": space, "capacity": capacity, "dtype": dtype}

    def state(self) -> dict[str, Any]:
        """What the memory held."""
        state = self.everything()
        if "level" in state["forgetting"]:  # the first version left how fast it fades to the settings
            half_life = self.settings["forgetting"].get("arguments", {}).get("half_life", math.inf)
            state["forgetting"].setdefault("rate", 1 / half_life)
        return state

    def everything(self) -> dict[str, Any]:
        """The state as it was written."""
        return _nested({name: self._file.get_tensor(name) for name in self._file.keys()} | self._values)  # noqa: SIM118

    def _check_size(self, space: KeySpace, value_dim: int, capacity: int, most_bytes: int) -> None:
        rows, values, links = (self._file.get_slice(n).get_shape() for n in ("rows", "values", "links.target"))
        used, width = rows[0], rows[1] if len(rows) == 2 else -1
        whole("its capacity", capacity)
        if used > capacity:
            raise ValueError(f"it has {used} used slots and a capacity of {capacity}; give a larger capacity")
        if width < space.vector_size or values != [used, value_dim]:
            raise ValueError(f"its rows of {width} and values {values} are not those of {space}")
        linked = 13 * links[1] + 4 if len(links) == 2 and links[0] else 0
        claimed = capacity * (8 * width + 8 * value_dim + 8 * space.code_size + len(space) + 64 + linked)
        claimed = max(claimed, self._path.stat().st_size)  # which may be a promise too, of a file with holes
        if claimed > most_bytes:
            raise ValueError(
                f"a capacity of {capacity} would take up to {claimed / 2**30:.1f} GiB; give a smaller capacity=..., or "
                f"most_bytes={claimed} if you trust the file"
            )


def read_state(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and state of a file of `write_file`, as they were given.

    Raises:
        ValueError: It is no such file, or a damaged one.
        OSError: It cannot be read.
    """
    with opened(path) as file:
        return file.settings, file.everything()


def remade(argument: str, saved: dict[str, Any]) -> Any:
    """The part that `named` named.

    Raises:
        ValueError: It is of a class of your own.
    """
    if "own" in saved:
        raise ValueError(f"it was saved with a {argument} of the class {saved['own']}; pass {argument}=... to load it")
    return PARTS[argument][saved["name"]](**saved["arguments"])


def _flat(state: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, dense on the CPU, and plain values by dotted name."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Mapping):
            inner = _flat(value, f"{prefix}{name}.")
            tensors |= inner[0]
            values |= inner[1]
        elif isinstance(value, Tensor):
            tensors[prefix + name] = value.detach().cpu().contiguous()
        else:
            values[prefix + name] = value
    return tensors, values


def _plain(value: Any) -> Any:
    """A number of NumPy's, as sizes and settings often are, as one of Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a setting is {shown(value)}, which a memory file cannot hold; give a number or a text")


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for dotted, value in flat.items():
        *path, name = dotted.split(".")
        inner = state
        for step in path:
            inner = inner.setdefault(step, {})
        inner[name] = value
    return state
