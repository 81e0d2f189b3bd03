"""What environments say beside a step: each a function of the steps so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Thing:
    """An object that nothing can make an array of."""

    def __len__(self) -> int:
        raise RuntimeError("it has no length")


INFOS: dict[str, Callable[[int], Any]] = {
    "empty": lambda _: {},
    "none": lambda _: None,
    "mixed": lambda steps: {"note": None if steps % 3 else steps, "phase": "early" if steps < 9 else 2.5},
    "lengths": lambda steps: {"seen": np.arange(steps % 4), "path": [(1, 2)] * (steps % 3)},
    "episode": lambda steps: {"episode": {"r": "mine", "l": None}, "_episode": steps},
    "final_obs": lambda steps: {"final_obs": "mine", "final_info": steps, "_final_obs": True},
    "task_index": lambda steps: {"task_index": "kitchen" if steps % 2 else None, "success": "yes", "is_success": None},
    "objects": lambda steps: {"thing": Thing(), "more": {"deep": {"er": [steps, None, {}]}}, "kind": int},
    "whole_keys": lambda steps: {1: steps, (2, 3): "x", None: 0},
    "mask_of_another_kind": lambda _: {"action_mask": "all"},
}
