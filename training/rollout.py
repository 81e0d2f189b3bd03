"""Stepping environments: what truly followed an action, what episodes ended, and what to log of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.observations import map_observation
from engram_rl.training.errors import UsageError, say_once
from engram_rl.training.intake.environments import Intake
from engram_rl.training.intake.infos import MASK, STEPPED, action_masks, numbers


def step(
    environments: VectorEnv, observation: Observation, action: np.ndarray, mask: np.ndarray | None = None
) -> Transition:
    """Take one vector step and return what truly followed, also where an episode ended and the next has begun.

    Args:
        environments: Of `engram_rl.training.environments`, which check and copy what they give; of others that is
            checked and copied here.
        observation: What was acted on. `[E, ...]`
        action: `[E, ...]`; of those that wait for one, where workers are not in step. `[B, ...]`
        mask: Which actions were allowed; None for all. `[E, A]`
    """
    waiting = getattr(environments, "waiting", None)
    if waiting is not None:
        action = _spread(np.asarray(action), waiting, environments.num_envs)
    others = _of_others(environments)
    if others is None:
        following, reward, terminated, truncated, info = environments.step(action)
    else:
        observation = map_observation(np.array, observation)  # they may write the next one into the same array
        following, reward, terminated, truncated, info = others.stepped(*environments.step(action))
    rows = np.flatnonzero(info[STEPPED]) if STEPPED in info else None
    if rows is not None:
        action = environments.unwrapped.taken  # type: ignore[attr-defined]
    done = terminated | truncated
    reset_mask = allowed(environments, info)
    if mask is not None and reset_mask is not None and rows is not None:
        reset_mask = np.where(info[STEPPED][:, None], reset_mask, mask)
    return Transition(
        observation=observation,
        action=np.asarray(action),
        reward=np.asarray(reward, dtype=np.float64),
        terminated=terminated,
        truncated=truncated,
        next_observation=_successor(following, done, info.get("final_obs")),
        reset_observation=following,
        info=info,
        mask=mask,
        next_mask=_successor_mask(environments, reset_mask, done, info.get("final_info")),
        reset_mask=reset_mask,
        rows=rows,
    )


_INTAKE = "_engram_intake"
"""Under which vector environments of others hold what takes in their steps, so that it ends with them."""


def _of_others(environments: Any) -> Intake | None:
    """What takes in the steps of environments that `engram_rl.training.environments` has not made; None for its own."""
    layer = environments
    while isinstance(layer, VectorWrapper) and not isinstance(layer, Intake):
        layer = layer.env
    if isinstance(layer, Intake) or not isinstance(environments, VectorEnv):
        return None
    held = vars(environments)
    if _INTAKE not in held:
        held[_INTAKE] = Intake(environments, "the vector environment", checked=False)
    return held[_INTAKE]


class Worlds(Protocol):
    """What a run needs of its environments, wherever they are."""

    @property
    def num_envs(self) -> int:
        """E."""

    @property
    def single_observation_space(self) -> Any:
        """Of one."""

    @property
    def single_action_space(self) -> Any:
        """Of one."""

    @property
    def action_space(self) -> Any:
        """Of all."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Their own."""

    @property
    def unwrapped(self) -> Any:
        """What steps them."""

    @property
    def info(self) -> dict[str, Any]:
        """What the last reset or step said."""

    @property
    def waiting(self) -> np.ndarray | None:
        """Which wait for an action; None where all do. `[B]`."""

    def reset(self, *, seed: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes."""

    def state_dict(self) -> dict[str, Any]:
        """Where they are."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Go there; what they show."""

    def close(self) -> None:
        """End them."""


class Playing:
    """An agent in environments of this process: a source of steps to learn from.

    Args:
        environments: Of `engram_rl.training.environments`.
        observation: What they show. `[E, ...]`
    """

    def __init__(self, environments: Any, observation: Observation):
        self._environments, self._observation = environments, observation
        self._mask = allowed(environments, environments.info)

    def step(self, agent: Any) -> Transition:
        """Let the agent act, and take the step. `[E, ...]`."""
        action = act(agent, self._observation, self._mask, rows=self._environments.waiting)
        transition = step(self._environments, self._observation, action, self._mask)
        self._observation, self._mask = transition.reset_observation, transition.reset_mask
        return transition

    def metrics(self) -> dict[str, float]:
        """Nothing."""
        return {}


def allowed(environments: Any, info: dict[str, Any]) -> np.ndarray | None:
    """Which actions the environments allow next, as the infos of a reset or a step say; None for all. `[E, A]`."""
    if MASK not in info:
        return None
    return action_masks(info, environments.single_action_space, environments.num_envs)


def act(
    agent: Any,
    observation: Observation,
    mask: np.ndarray | None,
    *,
    explore: bool = True,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """What an agent, or who plays for it, does; one that takes no masks is not given any.

    Args:
        agent: Acts.
        observation: `[E, ...]`
        mask: Which actions are allowed; None for all. `[E, A]`
        explore: See `Agent.act`.
        rows: The environments to act for; None for all. `[B]`

    Returns:
        `[B, ...]`
    """
    given: dict[str, Any] = {}
    if rows is not None:
        observation, given["rows"] = _rows_of(observation, rows), rows
        mask = None if mask is None else mask[rows]
    if mask is not None and _takes(agent, "mask"):
        given["mask"] = mask
    elif mask is not None:
        say_once(f"The environments forbid actions (action_mask), but {type(agent).__name__}.act takes no mask.")
    return agent.act(observation, explore=explore, **given)


def require_turns(agent: Any, environments: Any) -> None:
    """Raise if workers are not in step and the agent acts for all of its environments or none.

    Raises:
        UsageError: So it is.
    """
    if environments.waiting is not None and not _takes(agent, "rows"):
        raise UsageError(
            f"{type(agent).__name__} acts for all of its environments at once, so it cannot go on with those that have "
            f"answered: leave cluster.asynchronous out, or choose an agent that can (agent=nec, agent=mfec)."
        )


def _takes(agent: Any, name: str) -> bool:
    """Whether an agent's `act` takes an argument of this name."""
    return name in _arguments(getattr(agent.act, "__func__", agent.act))


@cache
def _arguments(act: Callable[..., Any]) -> frozenset[str]:
    parameters = inspect.signature(act).parameters.values()
    anything = {"mask", "rows"} if any(one.kind is one.VAR_KEYWORD for one in parameters) else set()
    return frozenset(anything | {one.name for one in parameters})


def _spread(action: np.ndarray, rows: np.ndarray, num_envs: int) -> np.ndarray:
    """Actions `[B, ...]` of these rows among those of all environments, the others arbitrary. `[E, ...]`."""
    whole = np.zeros((num_envs, *action.shape[1:]), dtype=action.dtype)
    whole[rows] = action
    return whole


def _successor_mask(
    environments: VectorEnv, mask: np.ndarray | None, done: np.ndarray, final_info: Any
) -> np.ndarray | None:
    """Which actions the true successors allow: those of an ended episode's last observation, not of the next's."""
    if mask is None or not done.any():
        return mask
    space, count = environments.single_action_space, environments.num_envs
    final = action_masks(final_info, space, count, acting=False) if isinstance(final_info, dict) else None
    return np.where(done[:, None], True if final is None else final, mask)


def _successor(following: Observation, done: np.ndarray, final: Any) -> Observation:
    if not done.any():
        return following
    return _with_rows(following, done, list(final[done]) if isinstance(final, np.ndarray) else _rows_of(final, done))


def _rows_of(batch: Any, rows: np.ndarray) -> Any:
    if isinstance(batch, dict):
        return {name: _rows_of(part, rows) for name, part in batch.items()}
    return batch[rows]


def _with_rows(batch: Any, rows: np.ndarray, values: Any) -> Any:
    """Those rows replaced, by a list of observations or by one batch of them."""
    if isinstance(batch, dict):
        parts = {name: [v[name] for v in values] if isinstance(values, list) else values[name] for name in batch}
        return {name: _with_rows(part, rows, parts[name]) for name, part in batch.items()}
    result = batch.copy()
    result[rows] = np.stack(values) if isinstance(values, list) else values
    return result


@dataclass(frozen=True)
class Episodes:
    """Finished episodes: undiscounted returns `[N]` and lengths in steps `[N]`; the last `cut` had not ended."""

    returns: np.ndarray
    lengths: np.ndarray
    cut: int = 0

    def success_rate(self, above: float | None) -> float | None:
        """Share of episodes whose return exceeds `above`; None where no limit is known."""
        return None if above is None or not len(self.returns) else float(np.mean(self.returns > above))


def environment_metrics(info: dict[str, Any]) -> dict[str, float]:
    """The environments' mean task index, and their mean lesson, where they say these as numbers."""
    said = {name: numbers(info, name) for name in ("task_index", "lesson") if name in info}
    return {f"env/{name}": float(np.mean(each)) for name, each in said.items() if each}


def inspected(agent: Any) -> dict[str, float]:
    """What an agent tells of its inside when a point of a curve is due; one that tells nothing is not asked."""
    return agent.inspect() if hasattr(agent, "inspect") else {}


def lost_metrics(environments: Worlds) -> dict[str, float]:
    """How many open episodes were lost with workers that died, where environments are on workers and some were."""
    lost = getattr(environments.unwrapped, "lost", 0)
    return {"cluster/lost_episodes": float(lost)} if lost else {}


def finished(info: dict[str, Any]) -> Episodes:
    """The episodes that ended in this vector step, from `engram_rl.training.environments.CountEpisodes`."""
    if "episode" not in info:
        return Episodes(np.empty(0), np.empty(0))
    done = info["_episode"]
    return Episodes(info["episode"]["r"][done], info["episode"]["l"][done])
