"""A memory in one file: its tensors, and a header that says how to build it again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engram_rl.memory.checks import whole
from engram_rl.memory.forgetting.policy import FORGETTING, Forgetting
from engram_rl.memory.indexes.exact import Index
from engram_rl.memory.kernels import KERNELS, Kernel
from engram_rl.memory.keys.space import KeySpace, Modality
from engram_rl.memory.persistence.state import state_of
from engram_rl.memory.persistence.tensorfile import TensorFile, write_tensors
from engram_rl.memory.writing.rules import WRITE_RULES, WriteRule

if TYPE_CHECKING:
    from engram_rl.memory.dictionary import DifferentiableNeuralDictionary

SCHEMA = 1
"""Version of the header and of what the tensors mean."""

DAMAGED = (KeyError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError, json.JSONDecodeError)
"""What reading a header that is not ours ends in, beside the errors that say what is wrong."""

MOST_BYTES = 16 * 2**30
"""Memory that a file may claim by the capacity it states, unless told otherwise."""


def save(memory: DifferentiableNeuralDictionary, path: str | Path) -> None:
    """Write the memory to one file that safetensors can open, without a copy of its large tensors."""
    tensors, values = _flat(state_of(memory, copy=False))
    note = {"schema": SCHEMA, "settings": _settings(memory), "values": values}
    write_tensors(path, tensors, json.dumps(note))


def load(
    path: str | Path,
    *,
    index: Index | str = "exact",
    device: torch.device | str = "cpu",
    capacity: int | None = None,
    kernel: Kernel | None = None,
    write_rule: WriteRule | None = None,
    forgetting: Forgetting | None = None,
    most_bytes: int = MOST_BYTES,
) -> DifferentiableNeuralDictionary:
    """Build the memory that a file holds.

    Args:
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
    from engram_rl.memory.dictionary import DifferentiableNeuralDictionary  # which offers this function as a method

    whole("most_bytes", most_bytes, most=2**62)
    if capacity is not None:
        whole("capacity", capacity)
    with TensorFile(path) as file:
        try:
            note = json.loads(file.note)
            settings = note["settings"]
            if note["schema"] > SCHEMA:
                raise ValueError(f"it has schema {note['schema']}, this version reads up to {SCHEMA}; update engram")
            space = KeySpace([Modality(**m) for m in settings["space"]])
            capacity = settings["capacity"] if capacity is None else capacity
            _check_size(file, space, settings["value_dim"], capacity, most_bytes)
            memory = DifferentiableNeuralDictionary(
                space,
                settings["value_dim"],
                capacity,
                settings["k"],
                index=index,
                kernel=kernel or _part("kernel", KERNELS, settings["kernel"]),
                write_rule=write_rule or _part("write_rule", WRITE_RULES, settings["write_rule"]),
                forgetting=forgetting or _part("forgetting", FORGETTING, settings["forgetting"]),
                match_within=settings["match_within"],
                links_per_entry=settings["links_per_entry"],
                device=device,
                dtype=file.shapes["values"][1],
            )
            memory.load_state_dict(_nested({name: file.read(name) for name in file.shapes} | note["values"]))
        except DAMAGED as error:
            raise ValueError(f"{path} is no memory file, or is damaged: {error!r}") from error
    return memory


def _settings(memory: DifferentiableNeuralDictionary) -> dict[str, Any]:
    return {
        "space": [asdict(m) for m in memory.space],
        "value_dim": memory.value_dim,
        "capacity": memory.capacity,
        "k": memory.k,
        "kernel": _named(memory.kernel, KERNELS),
        "write_rule": _named(memory.write_rule, WRITE_RULES),
        "forgetting": _named(memory.forgetting, FORGETTING),
        "match_within": memory.match_within,
        "links_per_entry": memory.links.per_source,
    }


def _named(part: Any, kinds: dict[str, Any]) -> dict[str, Any]:
    """How to make this part again; one of a class of your own is named, and has to be given when loading."""
    name = next((name for name, kind in kinds.items() if type(part) is kind), None)
    if name is None:
        return {"own": type(part).__name__}
    return {"name": name, "arguments": part.settings() if isinstance(part, Forgetting) else asdict(part)}


def _part(argument: str, kinds: dict[str, Any], saved: dict[str, Any]) -> Any:
    if "own" in saved:
        raise ValueError(f"it was saved with a {argument} of the class {saved['own']}; pass {argument}=... to load it")
    return kinds[saved["name"]](**saved["arguments"])


def _check_size(file: TensorFile, space: KeySpace, value_dim: int, capacity: int, most_bytes: int) -> None:
    row = file.shapes["rows"][0][1] if len(file.shapes["rows"][0]) == 2 else -1
    used = file.shapes["rows"][0][0]
    whole("its capacity", capacity)
    if used > capacity:
        raise ValueError(f"it has {used} used slots and a capacity of {capacity}; give a larger capacity")
    if row < space.vector_size or file.shapes["values"][0] != (used, value_dim):
        raise ValueError(f"its rows of {row} and values {file.shapes['values'][0]} are not those of {space}")
    links = file.shapes["links.target"][0]
    linked = 13 * links[1] + 4 if len(links) == 2 and links[0] else 0
    claimed = capacity * (8 * row + 8 * value_dim + 8 * space.code_size + len(space) + 64 + linked)
    claimed = max(claimed, file.path.stat().st_size)  # which may be a promise too, of a file with holes
    if claimed > most_bytes:
        raise ValueError(
            f"a capacity of {capacity} would take up to {claimed / 2**30:.1f} GiB; give a smaller capacity=..., or "
            f"most_bytes={claimed} if you trust the file"
        )


def _flat(state: dict[str, Any], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain values by dotted name."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            inner = _flat(value, f"{prefix}{name}.")
            tensors |= inner[0]
            values |= inner[1]
        elif isinstance(value, Tensor):
            tensors[prefix + name] = value
        else:
            values[prefix + name] = value
    return tensors, values


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for dotted, value in flat.items():
        *path, name = dotted.split(".")
        inner = state
        for step in path:
            inner = inner.setdefault(step, {})
        inner[name] = value
    return state
