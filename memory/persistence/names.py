"""What the first version called things in memory files and states: they load with today's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.checks import RENAMED
from engram_rl.memory.keys.space import KeySpace
from engram_rl.memory.keys.store import KeyStore

ARGUMENTS = {"doubt": "lost_decay"}
"""Arguments of such parts that had another name."""


def settings_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a dictionary, its parts and their arguments with today's names."""
    today = {name: _part_today(value) for name, value in settings.items()}
    if today.get("write_rule", {}).get("name") == "append":
        today["match_within"] = None  # which it had no effect on
    return today


def state_today(state: Any, own: Mapping[str, Any], store: KeyStore) -> Any:
    """The state of a dictionary as it would be saved today.

    Entries whose writes were not counted have been written once; of rows the keys are kept, and what the first versions
    had beside them is worked out anew; entries were written, and used, in the order of their slots or scores.

    Args:
        state: As it was saved.
        own: A state of the memory that is to take it over, of no entries.
        store: Of that memory.
    """
    if not isinstance(state, Mapping) or not all(isinstance(state.get(n), Mapping) for n in ("slots", "forgetting")):
        return state
    today, slots, forgetting = dict(state), dict(state["slots"]), dict(state["forgetting"])
    if isinstance(slots.get("alive"), Tensor):
        slots.setdefault("writes", slots["alive"].to(torch.int32))
    rows = state.get("rows")
    if isinstance(rows, Tensor) and rows.dim() == 2:
        if rows.shape[1] == first_width(store.space) != store.space.vector_size:
            today["rows"] = rows[:, : store.space.vector_size]
        if "written" in own:
            today.setdefault("written", torch.arange(len(rows)))
    if isinstance(spread := state.get("spread"), Mapping) and isinstance(spread.get("mean"), Tensor):
        kept = {name: value for name, value in spread.items() if name != "longest"}
        today["spread"] = {"centre": spread["mean"], "until_centred": 0} | kept
    score = forgetting.get("score")
    if "level" in forgetting and isinstance(score, Tensor):
        forgetting.setdefault("since", score.argsort(stable=True).argsort().to(torch.float64))
        forgetting.setdefault("rate", own["forgetting"].get("rate", 0.0))
    return today | {"slots": slots, "forgetting": forgetting}


def first_width(space: KeySpace) -> int:
    """Numbers that a row of several modalities, or of codes, had in the first versions."""
    if len(space) == 1 and not space.code_size:
        return space.vector_size
    discrete = sum(part.kind == "discrete" for part in space)
    return -(-(space.vector_size + 16 * discrete + (len(space) - discrete) + len(space) + 1) // 16) * 16


def _part_today(saved: Any) -> Any:
    if not isinstance(saved, Mapping) or "name" not in saved:
        return saved
    arguments = {ARGUMENTS.get(name, name): value for name, value in saved["arguments"].items()}
    return {**saved, "name": RENAMED.get(saved["name"], saved["name"]), "arguments": arguments}
