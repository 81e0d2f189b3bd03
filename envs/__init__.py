"""Environments whose targets shift, their limits, and a wrapper that makes any target shift.

Importing this package registers the suite with Gymnasium as `engram/<Name>-v0`, single and vectorised, and some
third-party environments whose targets shift.
"""

from gymnasium import register

from envs.schedules import Abrupt, Drifting, OnSuccess, Periodic, Random, Recurring, Schedule
from envs.shifting import Attribute, Call, ConstructorArgument, Mover, ResetOption, ShiftingTarget

__all__ = [
    "SUITE",
    "Abrupt",
    "Attribute",
    "Call",
    "ConstructorArgument",
    "Drifting",
    "Mover",
    "OnSuccess",
    "Periodic",
    "Random",
    "Recurring",
    "ResetOption",
    "Schedule",
    "ShiftingTarget",
]

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

_MINIGRID = {
    "EmptyShift": {"base": "MiniGrid-Empty-8x8-v0"},
    "FourRoomsShift": {"base": "MiniGrid-FourRooms-v0"},
    "DoorKeyShift": {"base": "MiniGrid-DoorKey-8x8-v0", "what": "key"},
}

for _name, _options in _MINIGRID.items():
    register(f"engram/{_name}-v0", entry_point="envs.minigrid_targets:minigrid_shift", kwargs=_options)
register("engram/CartPoleShift-v0", entry_point="envs.classic_control:cartpole_shift")
register(
    "engram/CornerGoal-v0",  # a benchmark's own, so not of the suite
    entry_point="envs.corner_goal:CornerGoal",
    vector_entry_point="envs.corner_goal:CornerGoalVector",
)
