"""Evaluating agents: whole episodes that leave the agent, and the world it lives in, as they were.

Three questions may be asked of an agent, and every figure says which one it answers:

- `online`: how it fares as it lives on. A copy of it goes on in a copy of its world, explores what it has left to
  explore and writes to its memory, while its weights rest. All of it is discarded.
- `frozen`: what it knows. Nothing is written, nothing is explored.
- `fresh`: how fast it adapts. As `online`, from an empty memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from engram_rl.agents.agent import Agent, Observation
from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.intake.rewards import paid
from engram_rl.training.rollout import Episodes, act, allowed, step

ONLINE, FROZEN, FRESH = "online", "frozen", "fresh"
MODES = {
    ONLINE: "a copy of it lived on and went on writing, its weights at rest",
    FROZEN: "nothing was written or explored",
    FRESH: "as online, from an empty memory",
}


def evaluate(
    agent: Agent,
    environments: VectorEnv,
    episodes: int,
    seed: int | list[int],
    *,
    remember: bool = False,
    max_steps: int | None = None,
    going_on_from: Observation | None = None,
    uncounted: int = 0,
) -> Episodes:
    """Play `episodes` episodes without exploring or changing the agent.

    Each environment plays a fixed share, so that short episodes are not over-counted.

    Args:
        agent: Plays.
        environments: Where; they are reset first.
        episodes: How many, of all environments together.
        seed: Of the environments.
        remember: Whether the agent goes on writing to its memory. It then acts as in training, with what exploration
            is left, but its weights rest: it is left frozen.
        max_steps: Environment steps after which it ends in any case; None for no limit. Episodes that are then open
            count with what they got so far, and `Episodes.cut` says how many these are.
        going_on_from: What the environments show now; they are not reset, and the agent is in the middle of episodes,
            which are played to their end and not counted.
        uncounted: Episodes of each environment that are played first and not counted.
    """
    if going_on_from is None:
        player: Any = rested(agent) if remember else player_of(agent, environments)
        observation, info = environments.reset(seed=seed)  # type: ignore[arg-type]
    else:
        player, observation, info = agent, going_on_from, environments.info  # type: ignore[attr-defined]
        _rest(agent)
        uncounted += 1
    remaining = shares(episodes, environments.num_envs)
    before = np.full(environments.num_envs, uncounted)
    mask, steps = allowed(environments, info), 0
    gained, length = np.zeros(environments.num_envs), np.zeros(environments.num_envs, np.int64)
    returns: list[float] = []
    lengths: list[float] = []
    while remaining.any():
        if max_steps is not None and steps >= max_steps:
            still = remaining > 0
            return Episodes(np.append(returns, gained[still]), np.append(lengths, length[still]), int(still.sum()))
        transition = step(environments, observation, act(player, observation, mask, explore=remember), mask)
        if player is not agent or remember:
            player.observe(transition)
        steps += environments.num_envs
        gained, length, done = gained + paid(transition.reward, transition.info), length + 1, transition.done
        counted = done & (remaining > 0) & (before == 0)
        if counted.any():
            returns.extend(gained[counted])
            lengths.extend(length[counted])
            remaining[counted] -= 1
        before[done & (before > 0)] -= 1
        gained[done], length[done] = 0, 0
        observation, mask = transition.reset_observation, transition.reset_mask
    return Episodes(np.array(returns), np.array(lengths))


def shares(episodes: int, num_envs: int) -> np.ndarray:
    """How many episodes each environment plays. `[E]`."""
    share = np.full(num_envs, episodes // num_envs)
    share[: episodes % num_envs] += 1
    return share


def rested(agent: Agent) -> Agent:
    """The agent itself, at the beginning of its episodes, where it has such; from here on it only remembers."""
    if hasattr(agent, "begin_episodes"):
        agent.begin_episodes()
    return _rest(agent)


def _rest(agent: Agent) -> Agent:
    if hasattr(agent, "frozen"):
        agent.frozen = True
    return agent


def player_of(agent: Agent, environments: VectorEnv) -> Any:
    """Who plays for an agent under evaluation: its `player`, which observes what follows its actions, or itself.

    An agent that remembers over the steps of an episode has a player, so that evaluation leaves it as it is.
    """
    return agent.player(environments.num_envs) if hasattr(agent, "player") else agent


def fitting(agent: Agent) -> str:
    """The mode that says what an agent is for: one that adapts by its memory is judged living on, others frozen."""
    return ONLINE if memory_parts(agent) else FROZEN


def memory_parts(agent: Agent) -> tuple[str, ...]:
    """The parts of an agent's state that hold what it experienced, as it says itself."""
    return tuple(getattr(agent, "memory_parts", ()))


def forgotten(state: dict[str, Any], agent: Agent, untrained: Agent) -> dict[str, Any]:
    """The state of an agent, with nothing remembered.

    Raises:
        UsageError: The agent does not say what of its state is memory.
    """
    parts = memory_parts(agent)
    if not hasattr(agent, "memory_parts"):
        raise UsageError(
            f"{type(agent).__name__} does not say which parts of its state_dict are memory, so none can be fresh: give "
            f"it an attribute memory_parts, such as memory_parts = ('memory',), or () if it has none."
        )
    empty = untrained.state_dict()
    return state | {name: empty[name] for name in parts}


def require_mode(mode: str | None, place: str) -> None:
    """Raise unless this is a mode, or None for the one that fits."""
    if mode is not None and mode not in MODES:
        raise UsageError(f"{place} is {mode!r}. {did_you_mean(mode, MODES)}")
