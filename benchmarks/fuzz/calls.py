"""Random calls of the memory's public face, most of them good, many with one argument that is not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis.strategies import DataObject
from torch import Tensor

import engram_rl.memory as m
from benchmarks.fuzz.outcome import CrashError, attempt

Memory = m.DifferentiableNeuralDictionary

ODD: list[Any] = [
    None, -1, 0, 1, 2.5, float("nan"), float("inf"), 10**18, "x", "", [], {}, (), True, object(), np.zeros((2, 2)),
    torch.zeros(0), torch.zeros(0, 3), torch.tensor(1.0), torch.full((2, 3), torch.nan), torch.full((2, 3), 1e30),
    torch.zeros(2, 3, 4), torch.tensor([True, False]), torch.tensor([-5, 10**12]), torch.tensor([10**6]),
    torch.zeros(2, 3, dtype=torch.complex64), {"view": torch.zeros(2, 3)}, {"nothing": torch.zeros(2, 3)},
    {"view": None}, {3: torch.zeros(2, 3)}, [("view",)], [["nothing"]], [[]],
]  # fmt: skip
"""What arguments are replaced by."""

SPACES: list[Any] = [
    3,
    [m.Modality("view", 3)],
    [m.Modality("view", 3, kind="cosine")],
    [m.Modality("view", 3), m.Modality("place", 2, weight=2.0, penalty=0.5)],
    [m.Modality("view", 3), m.Modality("cell", 2, kind="discrete")],
    [m.Modality("cell", kind="discrete")],
    [m.Modality("view", 3), m.Modality("scent", 2, kind="cosine"), m.Modality("cell", kind="discrete")],
]
CHOICES: dict[str, list[Any]] = {
    "index": ["exact", "exact", "ivf", "auto", m.IVFIndex(lists=2, start=4), m.AutoIndex(start=4)],
    "kernel": ["inverse_distance", "gaussian", "uniform", m.Gaussian(1e-3)],
    "write_rule": ["append", "blend", "last", "max", "surprise_gated"],
    "forgetting": ["lru", "fifo", "priority", m.Decay(3.0), m.Decay(2.0, unit="ticks", threshold=0.3)],
    "match_within": [None, None, 0.0, 0.5],
    "links_per_entry": [1, 2, 8],
    "dtype": [torch.float32, torch.float32, torch.float64],
}


def one_example(data: DataObject) -> dict[str, int]:
    """Build a memory and call it some times; returns how many calls succeeded and how many were refused.

    Raises:
        CrashError: A call ended in something else, or changed the memory though it was refused, or broke what a memory
            promises.
    """
    counts = {"done": 0, "refused": 0}
    built = attempt(lambda: Memory(**spoiled(data, constructor(data))))
    if not isinstance(built, Memory):
        return counts | {"refused": 1}
    for name in data.draw(st.lists(st.sampled_from(sorted(CALLS)), min_size=2, max_size=8), label="calls"):
        before = fingerprint(built)
        arguments = spoiled(data, CALLS[name](data, built))
        outcome = attempt(lambda name=name, arguments=arguments: perform(built, name, arguments))  # type: ignore[misc]
        refused = isinstance(outcome, Exception)
        if refused and fingerprint(built) != before:
            raise CrashError(f"{name} refused ({outcome}) but changed the memory")
        counts["refused" if refused else "done"] += 1
        check_promises(built)
    return counts


def constructor(data: DataObject) -> dict[str, Any]:
    """Arguments that build a memory."""
    sizes = {name: data.draw(st.integers(1, 6), label=name) for name in ("value_dim", "capacity", "k")}
    chosen = {name: data.draw(st.sampled_from(values), label=name) for name, values in CHOICES.items()}
    return {"space": data.draw(st.sampled_from(SPACES), label="space")} | sizes | chosen


def spoiled(data: DataObject, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, one of them perhaps replaced by something odd."""
    if not arguments or not data.draw(st.integers(0, 2), label="spoil"):
        return arguments
    name = data.draw(st.sampled_from(sorted(arguments)), label="which")
    if data.draw(st.booleans(), label="spoil it"):
        return arguments | {name: data.draw(st.sampled_from(ODD), label="odd")}
    return arguments


def perform(memory: Memory, name: str, arguments: dict[str, Any]) -> Any:
    """One call."""
    if name == "reload":
        return memory.load_state_dict(**arguments)
    if name == "file":
        return through_file(memory, **arguments)
    if name == "spread":
        return memory.links.spread(**arguments)
    return getattr(memory, name)(**arguments)


def through_file(memory: Memory, capacity: Any, most_bytes: Any) -> None:
    """Save and load."""
    with tempfile.TemporaryDirectory() as folder:
        memory.save(Path(folder) / "memory")
        check_promises(Memory.load(Path(folder) / "memory", capacity=capacity, most_bytes=most_bytes))


def keys(data: DataObject, memory: Memory, rows: int) -> dict[str, Tensor]:
    """Some or all modalities by name."""
    names = data.draw(st.sets(st.sampled_from(memory.space.names), min_size=1), label="modalities")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99), label="numbers"))
    scale = data.draw(st.sampled_from([0.0, 1.0, 1e-20, 1e6]), label="scale")
    parts = {}
    for part in memory.space:
        if part.name in names:
            drawn = torch.randn(rows, part.size, generator=generator)
            parts[part.name] = (
                (drawn * 3).long() if part.kind == "discrete" else drawn * scale + (part.kind == "cosine")
            )
    return parts


def slots(data: DataObject, rows: int, lowest: int = 0) -> Tensor:
    """Slots, of which some hold an entry."""
    return torch.tensor(data.draw(st.lists(st.integers(lowest, 5), min_size=rows, max_size=rows)), dtype=torch.int64)


def _rows(data: DataObject) -> int:
    return data.draw(st.integers(0, 9), label="rows")


def _write(data: DataObject, memory: Memory) -> dict[str, Any]:
    rows = _rows(data)
    optional = {
        "priority": torch.rand(rows),
        "identity": torch.tensor(
            data.draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows)), dtype=torch.int64
        ),
        "present": None,
    }
    given = {name: value for name, value in optional.items() if data.draw(st.booleans(), label=name)}
    return {"keys": keys(data, memory, rows), "values": torch.randn(rows, memory.value_dim)} | given


def _lookup(data: DataObject, memory: Memory) -> dict[str, Any]:
    rows = _rows(data)
    given = {
        "k": data.draw(st.sampled_from([None, 1, 3, 20])),
        "touch": data.draw(st.booleans()),
        "exclude": data.draw(st.sampled_from([None, slots(data, rows, lowest=-1)])),
        "references": data.draw(st.sampled_from([None, None, "all"])),
    }
    return {"query": keys(data, memory, rows)} | given


def _link(data: DataObject, memory: Memory) -> dict[str, Any]:
    rows = data.draw(st.integers(0, 4))
    weight = data.draw(st.sampled_from([1.0, torch.rand(rows) + 0.1]))
    return {"source_slots": slots(data, rows), "target_slots": slots(data, rows), "weight": weight, "kind": 1}


def _move(data: DataObject, memory: Memory) -> dict[str, Any]:
    alive = memory.slots
    return {"slots": alive, "keys": torch.randn(len(alive), memory.space.vector_size), "values": None}


def _reload(data: DataObject, memory: Memory) -> dict[str, Any]:
    return {"state": spoiled_state(data, memory.state_dict())}


CALLS: dict[str, Callable[[DataObject, Memory], dict[str, Any]]] = {
    "write": _write,
    "lookup": _lookup,
    "link": _link,
    "move": _move,
    "reload": _reload,
    "follow": lambda data, _: {"slots": slots(data, 3, lowest=-1), "steps": data.draw(st.integers(1, 3)), "kind": None},
    "spread": lambda data, _: {"slots": slots(data, 4).reshape(2, 2), "steps": 2, "decay": 0.5},
    "forget": lambda data, _: {"slots": slots(data, 2, lowest=-1)},
    "contradict": lambda data, _: {"slots": slots(data, 2), "factor": data.draw(st.sampled_from([0.0, 0.5]))},
    "find": lambda data, _: {"identity": slots(data, 3)},
    "strength": lambda data, _: {"slots": slots(data, 2)},
    "tick": lambda data, _: {"amount": data.draw(st.sampled_from([0, 1, 2.5]))},
    "describe": lambda data, _: {"most_used": 3},
    "to_arrays": lambda *_: {},
    "file": lambda data, memory: {"capacity": data.draw(st.sampled_from([None, memory.capacity])), "most_bytes": 2**20},
}
"""Arguments of each call that are in order."""


def spoiled_state(data: DataObject, state: dict[str, Any]) -> dict[str, Any]:
    """A saved state, one leaf of it perhaps gone, odd, of another shape, or with other numbers in it."""
    if data.draw(st.integers(0, 1), label="leave the state"):
        return state
    inner, name = state, data.draw(st.sampled_from(sorted(state)), label="leaf")
    while isinstance(inner[name], dict) and inner[name] and data.draw(st.booleans(), label="deeper"):
        inner = inner[name]
        name = data.draw(st.sampled_from(sorted(inner)), label="leaf")
    how = data.draw(st.sampled_from(["gone", "odd", "shorter", "numbers"]), label="how")
    leaf = inner[name]
    if how == "gone":
        del inner[name]
    elif how == "odd" or not isinstance(leaf, Tensor):
        inner[name] = data.draw(st.sampled_from(ODD), label="odd")
    elif how == "shorter":
        inner[name] = leaf[:-1] if leaf.dim() else leaf.reshape(1)
    elif leaf.numel():
        leaf.reshape(-1)[data.draw(st.integers(0, leaf.numel() - 1))] = _other_number(data, leaf)
    return state


def _other_number(data: DataObject, leaf: Tensor) -> Any:
    if leaf.dtype == torch.bool:
        return data.draw(st.booleans())
    if leaf.is_floating_point():
        return data.draw(st.sampled_from([-1.0, 0.0, 1e30, torch.nan, torch.inf, -torch.inf]))
    limits = torch.iinfo(leaf.dtype)
    return data.draw(st.sampled_from([0, 1, 3, limits.min, limits.max]))


def fingerprint(memory: Memory) -> list[Any]:
    """Everything a memory is, for comparison."""
    return list(_leaves(memory.state_dict()))


def _leaves(node: Any) -> Any:
    if isinstance(node, dict):
        for name, value in node.items():
            yield name
            yield from _leaves(value)
    elif isinstance(node, Tensor):
        yield tuple(node.shape)
        yield node.numpy().tobytes()
    else:
        yield node


def check_promises(memory: Memory) -> None:
    """Raise unless the memory keeps what it says of itself."""
    held = memory.slots
    found = memory.lookup(_any_query(memory), k=4, touch=False)
    promises = {
        "it holds at most its capacity": len(held) == len(memory) <= memory.capacity,
        "what it stores is finite": bool(
            torch.isfinite(memory.values[held]).all() & memory.key_vectors[held].isfinite().all()
        ),
        "what it finds is there": bool(memory.alive[found.slots[found.valid]].all()),
        "where nothing is found all is 0": bool((found.weights[~found.valid] == 0).all()),
        "weights sum to 1": bool(
            torch.isclose(found.weights.sum(1), found.valid.any(1).to(found.weights), atol=1e-4).all()
        ),
        "what it gives is finite": bool(found.value.isfinite().all() & found.distances.isfinite().all()),
        "it finds something where there is something": not len(held)
        or memory.space.code_size > 0
        or bool(found.valid.any()),
    }
    broken = [promise for promise, kept in promises.items() if not kept]
    if broken:
        raise CrashError(f"a memory broke its promise that {', '.join(broken)}")


def _any_query(memory: Memory) -> dict[str, Tensor]:
    return {
        part.name: torch.zeros(2, part.size, dtype=torch.int64) if part.kind == "discrete" else torch.ones(2, part.size)
        for part in memory.space
    }
