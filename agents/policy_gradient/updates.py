"""From a full rollout to minibatches: what its steps turned out to be worth, and how they are dealt out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.agents.common.observations import map_observation
from engram_rl.agents.policy_gradient.policies import Policy
from engram_rl.agents.policy_gradient.rollouts import Rollout, shuffled_rows, shuffled_sequences
from engram_rl.memory.cores import State

AT_ONCE = 2**25
"""Bytes of observations that are judged at once: what the layers of a network make of pictures is many times that."""


def evaluated(
    policy: Policy, rollout: Rollout, last_value: np.ndarray, *, discount: float, gae_lambda: float, cut: bool
) -> dict[str, Any]:
    """The rollout with values, log-probabilities, advantages and the value's targets. `[T, E, ...]` by name.

    Args:
        policy: With the weights that acted: one batch says what acting did not pay for.
        rollout: Full.
        last_value: Of what is acted on next. `[E]`
        discount: gamma.
        gae_lambda: lambda of the advantages.
        cut: Whether what follows an episode's end does not count.
    """
    data = rollout.stacked()
    shape = (rollout.num_steps, rollout.num_envs)
    flat = map_observation(lambda part: part.flatten(0, 1), data)
    assert rollout.initial_state is not None
    log_prob, value = _judged(policy, flat, data["starts"], rollout.initial_state)
    data["log_prob"], value = log_prob.unflatten(0, shape), value.unflatten(0, shape)
    advantage = rollout.advantages(value.cpu().numpy(), last_value, discount, gae_lambda, cut)
    data["value"], data["advantage"] = value, torch.from_numpy(advantage).to(value.device)
    data["target"] = data["value"] + data["advantage"]
    return data


@torch.no_grad()
def _judged(policy: Policy, flat: dict[str, Any], starts: Tensor, initial_state: State) -> tuple[Tensor, Tensor]:
    """Log-probabilities and values of all steps, `[T E]` each; without a recurrent state not more at once than fits.

    Args:
        policy: With the weights that acted.
        flat: `[T E, ...]` by name.
        starts: `[T, E]`
        initial_state: Before the first step. `[E, ...]` by name
    """
    if policy.recurrent:
        judged = policy(flat["seen"], initial_state, starts, flat["extras"], flat.get("mask"))
        return judged.distribution.log_prob(flat["action"]), judged.value
    log_probs, values, at_once = [], [], _steps_at_once(flat["seen"])
    for first in range(0, len(flat["action"]), at_once):
        piece: Any = map_observation(lambda part: part[first : first + at_once], flat)  # noqa: B023
        judged = policy(piece["seen"], initial_state, piece["starts"], piece["extras"], piece.get("mask"))
        log_probs.append(judged.distribution.log_prob(piece["action"]))
        values.append(judged.value)
    return torch.cat(log_probs), torch.cat(values)


def _steps_at_once(seen: Any) -> int:
    """How many observations `[N, ...]` make `AT_ONCE` bytes."""
    sizes: list[int] = []
    map_observation(lambda part: sizes.append(part.nbytes // len(part)), seen)
    return max(1, AT_ONCE // max(1, sum(sizes)))


def minibatches(
    data: dict[str, Any], initial_state: State, size: int, generator: torch.Generator, *, recurrent: bool
) -> Iterator[tuple[dict[str, Any], State]]:
    """Flat minibatches, `[N, ...]` but for `starts`, and the state before each sequence, `[B, ...]` by name.

    Args:
        data: `[T, E, ...]` by name.
        initial_state: Before the first step. `[E, ...]` by name
        size: Steps of a minibatch; of a recurrent policy rounded down to whole sequences, at least one.
        generator: Of the order.
        recurrent: Whether sequences must stay whole.
    """
    if not recurrent:
        for batch in shuffled_rows(data, size, generator):
            yield batch, initial_state
        return
    for sequences, state in shuffled_sequences(data, initial_state, size, generator):
        batch = map_observation(lambda part: part.flatten(0, 1), sequences)
        yield batch | {"starts": sequences["starts"]}, state


def require_counts(**counts: int) -> None:
    """Raise a ValueError for a count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"PPO's {name} is {count}; it must be at least 1.")


def require_shares(**shares: float) -> None:
    """Raise a ValueError for a share outside 0 to 1."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"PPO's {name} is {share}; it must be within 0 and 1.")
