"""Targets that shift: schedules of when and to what, and a wrapper that makes any environment follow one."""

from engram_rl.envs.shifting.schedules import Abrupt, Drifting, Moment, OnSuccess, Periodic, Random, Recurring, Schedule
from engram_rl.envs.shifting.wrapper import Attribute, Call, ConstructorArgument, Mover, ResetOption, ShiftingTarget

__all__ = [
    "Abrupt",
    "Attribute",
    "Call",
    "ConstructorArgument",
    "Drifting",
    "Moment",
    "Mover",
    "OnSuccess",
    "Periodic",
    "Random",
    "Recurring",
    "ResetOption",
    "Schedule",
    "ShiftingTarget",
]
