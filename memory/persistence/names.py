"""What the first version called things in memory files and states: they load with today's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

NAMES = {"trust": "confidence"}
"""Parts of a memory that had another name."""

ARGUMENTS = {"doubt": "lost_decay"}
"""Arguments of such parts that had another name."""


def settings_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a dictionary, its parts and their arguments with today's names."""
    return {name: _part_today(value) for name, value in settings.items()}


def state_today(state: Any) -> Any:
    """The state of a dictionary; entries whose writes were not counted have been written once."""
    slots = state.get("slots") if isinstance(state, Mapping) else None
    if not isinstance(slots, Mapping) or "writes" in slots or not isinstance(slots.get("alive"), Tensor):
        return state
    return {**state, "slots": {**slots, "writes": slots["alive"].to(torch.int32)}}


def _part_today(saved: Any) -> Any:
    if not isinstance(saved, Mapping) or "name" not in saved:
        return saved
    arguments = {ARGUMENTS.get(name, name): value for name, value in saved["arguments"].items()}
    return {**saved, "name": NAMES.get(saved["name"], saved["name"]), "arguments": arguments}
