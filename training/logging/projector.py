"""An agent's memory for TensorBoard's embedding projector: its keys, coloured by value, strength, task and age."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engram_rl.agents.agent import Agent
from engram_rl.agents.episodic_control.action_memories import ActionMemories
from engram_rl.memory import DifferentiableNeuralDictionary, TransitionMemory
from engram_rl.memory.sharded import AnyMemory, ShardedMemory
from engram_rl.training.legacy import metrics_today
from engram_rl.training.logging.logger import read_metrics
from engram_rl.training.runs.folder import write_atomically

MOST = 5_000
"""Entries shown; of larger memories they are picked evenly."""
KEYS, METADATA, CONFIG = "memory_keys.tsv", "memory_metadata.tsv", "projector_config.pbtxt"


class Entries(NamedTuple):
    """What is shown of a memory.

    Attributes:
        keys: `[N, D]`
        columns: Numbers about each entry, by name. `[N]` each
        written: The environment step at which each was last written; None where the memory does not say. `[N]`
    """

    keys: np.ndarray
    columns: dict[str, np.ndarray]
    written: np.ndarray | None


def write_projector(agent: Agent, folder: Path, step: int) -> bool:
    """Write the entries of the agent's memory to its run folder, where the projector finds them.

    Returns:
        Whether the agent has a memory with at least two entries.
    """
    found = entries(agent)
    if found is None or len(found.keys) < 2:
        return False
    chosen = np.unique(np.linspace(0, len(found.keys) - 1, MOST).round().astype(int))
    columns = found.columns | _times(found.written, folder, step)
    table = np.stack([column[chosen] for column in columns.values()], axis=1)
    lines = ["\t".join(columns), *("\t".join(f"{value:.6g}" for value in row) for row in table)]
    vectors = ("\t".join(f"{value:.6g}" for value in row) for row in found.keys[chosen])
    write_atomically(folder / KEYS, "\n".join(vectors) + "\n")
    write_atomically(folder / METADATA, "\n".join(lines) + "\n")
    named = {"tensor_name": "memory", "tensor_path": KEYS, "metadata_path": METADATA}
    body = "".join(f'  {name}: "{value}"\n' for name, value in named.items())
    write_atomically(folder / CONFIG, f"embeddings {{\n{body}}}\n")
    return True


def entries(agent: Agent) -> Entries | None:
    """The entries of the first memory that the agent, or a part of it, holds; None if there is none."""
    for part in _parts(agent):
        if isinstance(part, ActionMemories):
            return _of_actions(part)
        if isinstance(part, TransitionMemory):
            return _of_transitions(part)
        if isinstance(part, DifferentiableNeuralDictionary | ShardedMemory):
            return Entries(*_of_dictionary(part), None)
    return None


def _parts(owner: Any, depth: int = 2) -> Iterator[Any]:
    """What an object holds, down to the parts of its parts."""
    held = [item for value in vars(owner).values() for item in (value if isinstance(value, list | tuple) else [value])]
    yield from held
    for item in held:
        if depth > 1 and hasattr(item, "__dict__"):
            yield from _parts(item, depth - 1)


def _of_actions(memories: ActionMemories) -> Entries:
    parts = [_of_dictionary(memory) for memory in memories.per_action]
    keys = np.concatenate([keys for keys, _ in parts])
    columns = {name: np.concatenate([columns[name] for _, columns in parts]) for name in parts[0][1]}
    columns["action"] = np.repeat(np.arange(len(parts)), [len(keys) for keys, _ in parts])
    written = [-memories.age(a, memory.slots, 0).numpy() for a, memory in enumerate(memories.per_action)]
    return Entries(keys, columns, np.concatenate(written))


def _of_dictionary(memory: AnyMemory) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    held = memory.to_arrays()
    keys = np.concatenate([np.nan_to_num(held[part.name].astype(np.float64)) for part in memory.space], axis=1)
    return keys, {"value": held["value"][:, 0], "strength": held["strength"], "hits": held["hits"]}


def _of_transitions(memory: TransitionMemory) -> Entries:
    """States; a state's value is the highest reward that was had there, its strength that of its best known action."""
    held, ids = memory.state_dict(), memory.ids()
    table = memory.table
    known = memory.known(ids)
    columns = {
        "value": np.where(known, table.reward[ids], 0).max(axis=1),
        "strength": np.where(known, memory.strengths(ids), 0).max(axis=1),
        "actions_known": known.sum(axis=1),
        "owner": memory.states.owners[ids],
    }
    return Entries(memory.states.vectors[ids], columns, held["seen"].numpy())


def _times(written: np.ndarray | None, folder: Path, step: int) -> dict[str, np.ndarray]:
    """How old each entry is, in environment steps, and at which task of the environment it was last written."""
    if written is None:
        return {}
    rows = [row for row in map(metrics_today, read_metrics(folder)) if "env/task_index" in row]
    if not rows:
        return {"age": step - written}
    at = np.searchsorted([row["step"] for row in rows], written).clip(max=len(rows) - 1)
    return {"age": step - written, "task_index": np.array([row["env/task_index"] for row in rows])[at]}
