"""Evaluating agents: whole episodes, without exploring, that leave the agent as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from engram_rl.agents.agent import Agent
from engram_rl.training.rollout import Episodes, step


def evaluate(agent: Agent, environments: VectorEnv, episodes: int, seed: int, *, remember: bool = False) -> Episodes:
    """Play `episodes` episodes without exploring or changing the agent.

    Each environment plays a fixed share, so that short episodes are not over-counted.

    Args:
        agent: Plays.
        environments: Where; they are reset first.
        episodes: How many, of all environments together.
        seed: Of the environments.
        remember: Whether the agent goes on writing to its memory. It then acts as in training, with what exploration
            is left, but its weights rest: it is left frozen.
    """
    player: Any = rested(agent) if remember else player_of(agent, environments)
    share = np.full(environments.num_envs, episodes // environments.num_envs)
    share[: episodes % environments.num_envs] += 1
    returns: list[float] = []
    lengths: list[float] = []
    observation, _ = environments.reset(seed=seed)
    while share.any():
        transition = step(environments, observation, player.act(observation, explore=remember))
        if player is not agent or remember:
            player.observe(transition)
        counted = transition.done & (share > 0)
        if counted.any():
            returns.extend(transition.info["episode"]["r"][counted])
            lengths.extend(transition.info["episode"]["l"][counted])
            share[counted] -= 1
        observation = transition.reset_observation
    return Episodes(np.array(returns), np.array(lengths))


def rested(agent: Agent) -> Agent:
    """The agent itself, at the beginning of its episodes, where it has such; from here on it only remembers."""
    if hasattr(agent, "begin_episodes"):
        agent.begin_episodes()
    if hasattr(agent, "frozen"):
        agent.frozen = True
    return agent


def player_of(agent: Agent, environments: VectorEnv) -> Any:
    """Who plays for an agent under evaluation: its `player`, which observes what follows its actions, or itself.

    An agent that remembers over the steps of an episode has a player, so that evaluation leaves it as it is.
    """
    return agent.player(environments.num_envs) if hasattr(agent, "player") else agent
