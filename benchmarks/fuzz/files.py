"""Memory files and checkpoints with flipped, lost and added bytes: loaded, or refused with a documented error."""

from __future__ import annotations

import resource
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis.strategies import DataObject

from benchmarks.fuzz.calls import check_promises
from benchmarks.fuzz.outcome import CrashError, attempt
from engram_rl.memory import Decay, DifferentiableNeuralDictionary, Modality
from engram_rl.training.errors import UsageError
from engram_rl.training.runs.checkpoint import load_checkpoint, save_checkpoint

MOST_GROWTH = 512 * 2**20
"""Bytes by which the process may grow while it reads a file of a few thousand."""


@cache
def memory_file() -> bytes:
    """A small memory's file with everything in it."""
    torch.manual_seed(0)
    parts = [Modality("view", 3), Modality("cell", 2, kind="discrete")]
    memory = DifferentiableNeuralDictionary(parts, 2, 12, k=3, write_rule="blend", forgetting=Decay(9.0))
    keys = {"view": torch.randn(9, 3), "cell": torch.randint(0, 3, (9, 2))}
    slots = memory.write(keys, torch.randn(9, 2), identity=torch.arange(9))
    memory.link(slots[:3], slots[3:6])
    memory.forget(slots[7:])
    with TemporaryDirectory() as folder:
        memory.save(Path(folder) / "memory")
        return (Path(folder) / "memory").read_bytes()


@cache
def checkpoint_files() -> dict[str, bytes]:
    """The files of a small checkpoint, by name."""
    state = {"step": 5, "agent": {"weights": torch.randn(4, 3), "names": ["a", None, True], "counts": np.arange(3)}}
    with TemporaryDirectory() as folder:
        save_checkpoint(Path(folder) / "step", state)
        return {path.name: path.read_bytes() for path in (Path(folder) / "step").iterdir()}


def spoil_memory_file(data: DataObject) -> dict[str, int]:
    """Load a memory file with something wrong in it."""
    return _loaded(data, {"memory": memory_file()}, _load_memory)


def spoil_checkpoint(data: DataObject) -> dict[str, int]:
    """Load a checkpoint with something wrong in one of its files."""
    return _loaded(data, checkpoint_files(), load_checkpoint)


def _load_memory(folder: Path) -> None:
    check_promises(DifferentiableNeuralDictionary.load(folder / "memory"))


def _loaded(data: DataObject, files: dict[str, bytes], load: Any) -> dict[str, int]:
    spoiled = data.draw(st.sampled_from(sorted(files)), label="file")
    content = files | {spoiled: spoil(data, files[spoiled])}
    with TemporaryDirectory() as folder:
        for name, text in content.items():
            (Path(folder) / name).write_bytes(text)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome = attempt(lambda: load(Path(folder)), (ValueError, TypeError, UsageError))
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > MOST_GROWTH:
        raise CrashError(f"reading {len(content[spoiled])} bytes took {grown / 2**20:.0f} MiB")
    refused = isinstance(outcome, Exception)
    return {"done": int(not refused), "refused": int(refused)}


def spoil(data: DataObject, text: bytes) -> bytes:
    """Bytes flipped, cut off, doubled or put in; or a number or a word of the header replaced."""
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "word", "length", "leave"]), label="how")
    at = data.draw(st.integers(0, len(text) - 1), label="at")
    if how == "flip":
        count = data.draw(st.integers(1, 8))
        array = bytearray(text)
        for _ in range(count):
            array[data.draw(st.integers(0, min(len(text), 4000) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        return bytes(array)
    if how == "cut":
        return text[:at]
    if how == "insert":
        return text[:at] + data.draw(st.binary(max_size=9)) + text[at:]
    if how == "word":
        return _word_replaced(data, text)
    if how == "length":
        return data.draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little") + text[8:]
    return text


WORDS = [
    b"0",
    b"-1",
    b"1e400",
    b"99999999999999999999",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'"x"',
    b"1000000000",
    b"[" * 3000,
]
"""What takes the place of a number in a header."""


def _word_replaced(data: DataObject, text: bytes) -> bytes:
    """One number of the JSON header replaced, the length of a memory file's header kept true."""
    start = 0 if text[:1] == b"{" else 8
    end = len(text) if start == 0 else 8 + int.from_bytes(text[:8], "little")
    header = text[start:end]
    numbers = [i for i in range(1, len(header)) if header[i : i + 1].isdigit() and not header[i - 1 : i].isalnum()]
    if not numbers:
        return text
    first = data.draw(st.sampled_from(numbers), label="number")
    last = first
    while header[last : last + 1].isdigit():
        last += 1
    header = header[:first] + data.draw(st.sampled_from(WORDS), label="word") + header[last:]
    if start:
        return len(header).to_bytes(8, "little") + header + text[end:]
    return header
