"""Putting an agent and its environments where a checkpoint was taken, or saying why that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from engram_rl.agents.agent import Agent
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import Worlds
from engram_rl.training.runs.naming import shell
from engram_rl.training.seeding import set_generators

MISFITS = (AttributeError, IndexError, KeyError, MemoryError, OverflowError, RuntimeError, TypeError, ValueError)
"""What a state of another shape makes the parts of an agent raise."""

ELSEWHERE = (
    "the environments did not come back to where they were, so this run will differ from one that was never "
    "interrupted. They draw from a generator that neither reset(seed=...) nor the run's seed sets."
)


def restore_agent(agent: Agent, checkpoint: dict[str, Any], origin: Path) -> None:
    """Give the agent the state that it had.

    Raises:
        UsageError: The state does not fit this agent.
    """
    try:
        agent.load_state_dict(checkpoint["agent"])
    except MISFITS as error:
        raise UsageError(_misfit("agent", origin, error)) from error


def restore_environments(environments: Worlds, checkpoint: dict[str, Any], origin: Path) -> Any:
    """Bring the environments to where they were; returns what they show there.

    Raises:
        UsageError: The state does not fit these environments.
    """
    try:
        observation = environments.load_state_dict(checkpoint["environments"])
    except UsageError:
        raise
    except MISFITS as error:
        raise UsageError(_misfit("environments", origin, error)) from error
    if "observation" in checkpoint and not same_shown(observation, checkpoint["observation"]):
        print(f"{origin}: {ELSEWHERE}", file=sys.stderr)
    if "generators" in checkpoint:
        set_generators(checkpoint["generators"])
    return observation


def say_if_done(step: int, steps: int, origin: Path) -> None:
    """Tell who resumes a run that has nothing left to do."""
    if step >= steps:
        print(
            f"{origin} has done {step} steps already, of steps={steps}: it is not trained, only judged anew. To go on, "
            f"give more: {shell(f'resume={origin}', f'steps={2 * step}')}",
            file=sys.stderr,
        )


def same_shown(one: Any, other: Any) -> bool:
    """Whether two observations are the same."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same_shown(one[k], other[k]) for k in one)
    return np.array_equal(one, other)


def _misfit(what: str, origin: Path, error: Exception) -> str:
    return (
        f"The {what} saved in {origin} do not fit those that its config.yaml describes ({type(error).__name__}: "
        f"{error}). Leave out what changes their shape beside resume=; where there is no such value, the configuration "
        f"was edited, or another version of the code wrote them."
    )
