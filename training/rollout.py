"""Stepping environments: what truly followed an action, what episodes ended, and what to log of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from engram_rl.agents.agent import Observation, Transition
from engram_rl.training.errors import UsageError


def step(environments: VectorEnv, observation: Observation, action: np.ndarray) -> Transition:
    """Take one vector step and return what truly followed, also where an episode ended and the next has begun.

    Raises:
        UsageError: An observation or a reward is NaN or infinite.
    """
    following, reward, terminated, truncated, info = environments.step(action)
    done = terminated | truncated
    successor = _successor(following, done, info.get("final_obs"))
    require_finite("observation", following)
    if successor is not following:
        require_finite("final observation", successor)
    require_finite("reward", reward)
    return Transition(
        observation=observation,
        action=np.asarray(action),
        reward=np.asarray(reward, dtype=np.float64),
        terminated=terminated,
        truncated=truncated,
        next_observation=successor,
        reset_observation=following,
        info=info,
    )


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


def require_finite(what: str, value: Observation) -> None:
    """Raise if any environment produced NaN or infinity."""
    if isinstance(value, dict):
        for name, part in value.items():
            require_finite(f"{what} {name!r}", part)
        return
    if not np.issubdtype(value.dtype, np.floating) or np.isfinite(value).all():
        return
    at = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
    raise UsageError(
        f"The {what} of environment {at[0]} holds {value[at]} at {list(at[1:])}; agents and memories need finite "
        f"numbers. Mend the environment, or clip in a wrapper (env.wrappers)."
    )


@dataclass(frozen=True)
class Episodes:
    """Finished episodes: undiscounted returns `[N]` and lengths in steps `[N]`."""

    returns: np.ndarray
    lengths: np.ndarray

    def success_rate(self, above: float | None) -> float | None:
        """Share of episodes whose return exceeds `above`; None where no limit is known."""
        return None if above is None or not len(self.returns) else float(np.mean(self.returns > above))


def environment_metrics(info: dict[str, Any]) -> dict[str, float]:
    """The environments' mean task index, for those whose targets shift."""
    return {"env/task_index": float(np.mean(info["task_index"]))} if "task_index" in info else {}


def finished(info: dict[str, Any]) -> Episodes:
    """The episodes that ended in this vector step, from `engram_rl.training.environments.CountEpisodes`."""
    if "episode" not in info:
        return Episodes(np.empty(0), np.empty(0))
    done = info["_episode"]
    return Episodes(info["episode"]["r"][done], info["episode"]["l"][done])
