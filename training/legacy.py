"""What the first version called things: its runs, checkpoints and stored rows load; a command line takes today's words.

Four tables say it: `MODULES` (classes and functions by dotted name), `KEYS` (values of a configuration by place),
`VALUES` (values that are names) and `STATES` (parts of an agent's state by place). Memory files have a table of their
own, in `engram_rl.memory.persistence.names`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Place: TypeAlias = tuple[str, ...]

ROOMS = ("agents", "conf", "envs", "memory", "training")
"""Packages of the first version, which lie below `engram_rl` now."""

MODULES: dict[str, str] = {
    "memory.Trust": "engram_rl.memory.Confidence",
    "memory.KeptIndex": "engram_rl.memory.CachedIndex",
    "memory.abstraction.RandomProjection": "engram_rl.memory.RandomProjection",
    "memory.abstraction.RecursivePooling": "engram_rl.memory.RecursivePooling",
    "memory.abstraction.Reencoder": "engram_rl.memory.Reencoder",
    "memory.abstraction.SlowCopy": "engram_rl.memory.SlowCopy",
    "memory.auto.AutoIndex": "engram_rl.memory.AutoIndex",
    "memory.branches.RandomBranches": "engram_rl.memory.RandomBranches",
    "memory.forgetting.Trust": "engram_rl.memory.Confidence",
    "memory.identity.identify": "engram_rl.memory.identify",
    "memory.index.ExactIndex": "engram_rl.memory.ExactIndex",
    "memory.ivf.IVFIndex": "engram_rl.memory.IVFIndex",
    "memory.kept.KeptIndex": "engram_rl.memory.CachedIndex",
    "memory.kernels.Gaussian": "engram_rl.memory.Gaussian",
    "memory.kernels.InverseDistance": "engram_rl.memory.InverseDistance",
    "memory.kernels.Uniform": "engram_rl.memory.Uniform",
    "memory.keys.KeySpace": "engram_rl.memory.KeySpace",
    "memory.keys.Modality": "engram_rl.memory.Modality",
    "memory.planning.Planner": "engram_rl.memory.Planner",
    "memory.transitions.TransitionMemory": "engram_rl.memory.TransitionMemory",
    "memory.writing.Append": "engram_rl.memory.Append",
    "memory.writing.Blend": "engram_rl.memory.Blend",
    "memory.writing.Last": "engram_rl.memory.Last",
    "memory.writing.Max": "engram_rl.memory.Max",
    "memory.writing.SurpriseGated": "engram_rl.memory.SurpriseGated",
}
"""Dotted names of the first version that did more than move below `engram_rl`, by what they are today."""

KEYS: dict[str, str] = {
    "agent.memory.forgetting.doubt": "agent.memory.forgetting.lost_decay",
    "agent.planner.doubt_cost": "agent.planner.refused_cost",
}
"""Places of values in a configuration, or of whole branches, by where they are today."""

VALUES: dict[tuple[str, str], str] = {
    ("agent.memory.forgetting", "trust"): "confidence",
    ("agent.memory.index", "kept"): "cached",
}
"""Names that are values of a configuration, by place and name in the first version, by what they are today."""

STATES: dict[str, str] = {}
"""Places in the state of an agent of ours, by where they are today; `*` is any name, the same on both sides."""


def named_today(dotted: str) -> str:
    """Where a class, a function or a module of the first version is now; other names as they are."""
    if dotted in MODULES:
        return MODULES[dotted]
    room, _, rest = dotted.partition(".")
    return f"engram_rl.{dotted}" if room in ROOMS and rest else dotted


def config_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, plain dicts and lists, with today's names and places.

    An agent that was not ours keeps the places of its own values.
    """
    moved: dict[str, Any] = {}
    ours = _is_first_versions(config.get("agent"))
    for place, value in _leaves(config, ()):
        if ours or place[0] != "agent":
            value = VALUES.get((".".join(map(str, place)), str(value)), value)
            place = _moved(place, KEYS)
        _put(moved, place, value)
    return {name: _renamed(part) for name, part in moved.items()}


def state_today(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an agent of ours, its parts where they are today."""
    moved: dict[str, Any] = {}
    for place, value in _leaves(state, ()):
        _put(moved, _moved(place, STATES), value)
    return moved


def _is_first_versions(agent: Any) -> bool:
    return isinstance(agent, Mapping) and str(agent.get("_target_", "")).partition(".")[0] in ROOMS


def _leaves(node: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Everything that holds nothing further by name, with its place."""
    if not isinstance(node, Mapping) or not node:
        yield place, node
        return
    for name, value in node.items():
        yield from _leaves(value, (*place, name))


def _moved(place: Place, table: Mapping[str, str]) -> Place:
    """Where a place is today: the longest beginning of it that the table knows is replaced."""
    for length in range(len(place), 0, -1):
        for old, new in table.items():
            pattern = old.split(".")
            if len(pattern) == length and all(p in ("*", str(name)) for p, name in zip(pattern, place, strict=False)):
                wild = [name for p, name in zip(pattern, place, strict=False) if p == "*"]
                return (*(wild.pop(0) if part == "*" else part for part in new.split(".")), *place[length:])
    return place


def _put(node: dict[str, Any], place: Place, value: Any) -> None:
    for name in place[:-1]:
        node = node.setdefault(name, {})
    node[place[-1]] = value


def _renamed(node: Any) -> Any:
    """The same, with today's name of everything that is to be built."""
    if isinstance(node, Mapping):
        return {
            key: named_today(value) if key == "_target_" and isinstance(value, str) else _renamed(value)
            for key, value in node.items()
        }
    return [_renamed(item) for item in node] if isinstance(node, list) else node
