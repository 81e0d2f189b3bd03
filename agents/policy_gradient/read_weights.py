"""What the heads of a policy's memory core read, step by step, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from engram_rl.agents.common.observations import map_observation, rows_of
from engram_rl.agents.policy_gradient.policies import Policy
from engram_rl.memory.cores import State


@dataclass(frozen=True)
class ReadWeights:
    """What was read in one environment over T steps.

    Attributes:
        weights: Of each of H heads at each step, on ages (0 first), slots or entries. `[T, H, N]`
        starts: Whether a step opens an episode. `[T]` of bool
        by: `age`, `slot`, or `entry`, the nearest first.
    """

    weights: np.ndarray
    starts: np.ndarray
    by: Literal["age", "slot", "entry"]


def first_environment(data: dict[str, Any], initial_state: State | None) -> tuple[dict[str, Any], State]:
    """What the first environment's policy was given over a rollout, `[T, 1, ...]` by name, and its state before it.

    Args:
        data: Of the rollout. `[T, E, ...]` by name
        initial_state: Before its first step. `[E, ...]` by name
    """
    assert initial_state is not None
    given = {name: data[name] for name in ("seen", "starts", "extras")}
    return map_observation(lambda part: part[:, :1].clone(), given), rows_of(initial_state, slice(0, 1))


@torch.no_grad()
def read_weights(policy: Policy, given: dict[str, Any], state: State) -> ReadWeights:
    """What the core's heads read with the weights that it has now.

    Args:
        policy: With a core whose heads read.
        given: Of `first_environment`.
        state: Before its first step. `[1, ...]` by name
    """
    core = policy.core
    assert core is not None and core.reads_by is not None
    flat = map_observation(lambda part: part.flatten(0, 1), {name: given[name] for name in ("seen", "extras")})
    xs = policy.inputs(flat["seen"], flat["extras"]).unflatten(0, given["starts"].shape)  # [T, 1, F]
    weights = core.attention(xs, state, given["starts"]).squeeze(1)  # [T, H, N]
    return ReadWeights(weights.cpu().numpy(), given["starts"].squeeze(1).cpu().numpy(), core.reads_by)
