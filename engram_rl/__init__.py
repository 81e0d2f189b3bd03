"""Reinforcement-learning agents with an episodic memory that learn where the targets shift.

`train`, `evaluate`, `make_agent` and `load_agent` are the command line from Python. `engram_rl.memory` is the memory,
usable alone; `engram_rl.agents`, `engram_rl.envs` and `engram_rl.training` are what surrounds it. Names are imported
when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

LAZY = {
    "DifferentiableNeuralDictionary": "engram_rl.memory",
    "KeySpace": "engram_rl.memory",
    "MemoryWrapper": "engram_rl.memory.gymnasium",
    "Modality": "engram_rl.memory",
    "Run": "engram_rl.training.api",
    "SingleAgent": "engram_rl.training.single",
    "evaluate": "engram_rl.training.api",
    "load_agent": "engram_rl.training.api",
    "make_agent": "engram_rl.training.api",
    "make_env": "engram_rl.training.api",
    "train": "engram_rl.training.api",
}
"""Where each name of the face lives."""

__all__ = list(LAZY)


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *LAZY])
