"""Environments whose targets shift, their limits, and a wrapper that makes any target shift.

Importing this package registers the suite with Gymnasium as `engram/<Name>-v0`, single and vectorised.
"""

from gymnasium import register

SUITE = {
    "ShiftWall": "envs.shift_wall",
    "ScatterShift": "envs.scatter_shift",
    "HiddenGoal": "envs.hidden_goal",
    "RecurringGoal": "envs.hidden_goal",
    "NewGoal": "envs.hidden_goal",
    "DriftGoal": "envs.hidden_goal",
    "MaskedKey": "envs.masked_key",
    "MemoryPlan": "envs.memory_plan",
    "TMaze": "envs.tmaze",
}

for _name, _module in SUITE.items():
    register(
        f"engram/{_name}-v0",
        entry_point=f"{_module}:{_name}",
        vector_entry_point=f"{_module}:{_name}Vector",
    )
