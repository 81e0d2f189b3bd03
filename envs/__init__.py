"""Environments whose targets shift, their limits, and a wrapper that makes any target shift.

Importing this package registers the suite with Gymnasium as `engram/<Name>-v0`, single and vectorised, and some
third-party environments whose targets shift.
"""

from gymnasium import register

from engram_rl.envs.shifting import Attribute, Call, ConstructorArgument, Mover, ResetOption, ShiftingTarget
from engram_rl.envs.shifting.schedules import Abrupt, Drifting, OnSuccess, Periodic, Random, Recurring, Schedule

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
    "ShiftWall": "engram_rl.envs.shift_wall",
    "ScatterShift": "engram_rl.envs.scatter_shift",
    "HiddenGoal": "engram_rl.envs.hidden_goal",
    "RecurringGoal": "engram_rl.envs.hidden_goal",
    "NewGoal": "engram_rl.envs.hidden_goal",
    "DriftGoal": "engram_rl.envs.hidden_goal",
    "ContextGoal": "engram_rl.envs.context_goal",
    "MaskedKey": "engram_rl.envs.masked_key",
    "MemoryPlan": "engram_rl.envs.memory_plan",
    "TMaze": "engram_rl.envs.tmaze",
    "TimedTMaze": "engram_rl.envs.timed_tmaze",
    "MemoryChain": "engram_rl.envs.memory_chain",
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
    register(f"engram/{_name}-v0", entry_point="engram_rl.envs.minigrid_targets:minigrid_shift", kwargs=_options)
register("engram/CartPoleShift-v0", entry_point="engram_rl.envs.classic_control:cartpole_shift")
register("engram/AtariShift-v0", entry_point="engram_rl.envs.atari:atari_shift")
register("engram/PointMassShift-v0", entry_point="engram_rl.envs.point_mass:point_mass_shift")
register(
    "engram/CornerGoal-v0",  # a benchmark's own, so not of the suite
    entry_point="engram_rl.envs.corner_goal:CornerGoal",
    vector_entry_point="engram_rl.envs.corner_goal:CornerGoalVector",
)
