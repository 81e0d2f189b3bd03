"""What is checked where a policy has a memory core: its losses by name, and a state that is to be restored."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from engram_rl.agents.policy_gradient.policies import Policy
from engram_rl.memory.checks import number, unknown
from engram_rl.memory.cores import Core, State


def require_losses(policy: Policy, weights: Mapping[str, float]) -> Mapping[str, float]:
    """The weights, if the policy's core has losses of these names and none is negative.

    Raises:
        ValueError: One is not.
    """
    if not weights:
        return weights
    core = policy.core
    if core is None:
        raise ValueError(f"core_losses weighs {', '.join(weights)}, but there is no core: give one, such as core=gru.")
    with torch.no_grad():
        nothing = torch.zeros(1, 1, core.input_size, device=policy.device)
        _, _, losses = core(nothing, core.initial_state(1))
    kind = type(core).__name__
    for name, weight in weights.items():
        if not losses:
            raise ValueError(f"core_losses weighs {name!r}, but {kind} has no loss of its own: leave it out.")
        if name not in losses:
            raise unknown(f"loss of {kind}", name, losses)
        number(f"core_losses.{name}", weight, 0)
    return weights


def require_same_leaves(saved: State, own: State, core: Core | None) -> None:
    """Raise unless a saved state has the leaves that an agent's has, each of the same shape.

    Raises:
        ValueError: It was of another core, of another size or number of environments; what differs is named.
    """
    kind = "a policy without a core" if core is None else type(core).__name__
    if saved.keys() != own.keys():
        raise ValueError(
            f"the saved recurrent state holds {', '.join(saved) or 'nothing'}, and that of {kind} holds "
            f"{', '.join(own) or 'nothing'}: keep agent.core and agent.recurrent as they were"
        )
    for name, leaf in own.items():
        if saved[name].shape != leaf.shape:
            raise ValueError(
                f"the saved recurrent state {name!r} has shape {list(saved[name].shape)}, and that of {kind} has "
                f"{list(leaf.shape)}: keep agent.core, agent.recurrent and env.num_envs as they were"
            )
