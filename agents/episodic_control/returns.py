"""Returns of unfinished and finished episodes, for many environments at once: n-step and Monte-Carlo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.observations import map_observation, put_rows, rows_of
from engram_rl.agents.episodic_control.tries import Tries
from engram_rl.memory.checks import number, require_ram, whole


@dataclass(frozen=True)
class Returns:
    """Transitions whose n-step return is complete, oldest first within each environment.

    Attributes:
        observation: `[B, ...]`
        action: `[B]`
        target: The n-step return. `[B]` of float64
    """

    observation: Observation
    action: np.ndarray
    target: np.ndarray


class NStepReturns:
    """Holds the last N transitions of E environments until their n-step returns are known.

    `Q^(N)_t = sum_{j<N} gamma^j r_{t+j} + gamma^N V(s_{t+N})` (Pritzel et al. 2017, equation 3). Where the episode
    ends after L < N more steps the sum ends there and the bootstrap is `gamma^L` times the value of the last
    observation: 0 if it terminated, an estimate if it was truncated.

    Args:
        steps: N, at least 1.
        discount: gamma in [0, 1].
        num_envs: E.
    """

    def __init__(self, steps: int, discount: float, num_envs: int):
        self._steps = steps = whole("n_step", steps)
        self._discount = discount = number("discount", discount, 0, most=1)
        require_ram(f"n_step={steps}", 8 * steps * (steps + 2 * num_envs), "lower n_step")
        lag = np.arange(steps)[None, :] - np.arange(steps)[:, None]  # [N, N] how far ahead a reward lies
        self._weights = np.triu(discount ** np.abs(lag).astype(np.float64))
        self._start = np.zeros(num_envs, dtype=np.int64)  # [E] ring position of the oldest transition held
        self._count = np.zeros(num_envs, dtype=np.int64)  # [E] transitions held
        self._reward = np.zeros((num_envs, steps))
        self._action = np.zeros((num_envs, steps), dtype=np.int64)
        self._observation: Observation | None = None  # [E, N, ...]

    def push(
        self,
        observation: Observation,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        value: np.ndarray,
        final_value: np.ndarray,
        rows: np.ndarray | None = None,
    ) -> Returns:
        """Add one vector step and return what it completes.

        Args:
            observation: What was acted on. `[B, ...]`
            action: `[B]`
            reward: `[B]`
            done: Whether the episode ended with this step. `[B]`
            value: Estimated value of `observation`, which completes the transition N steps before it. `[B]`
            final_value: Value of the episode's last observation, 0 where it terminated; read where `done`. `[B]`
            rows: Which environments stepped; None for all, B = E. `[B]`
        """
        if self._observation is None:
            self._observation = map_observation(self._room_for, observation)
        rows = np.arange(len(self._count)) if rows is None else rows
        full = self._count[rows] == self._steps
        complete = rows[full]
        matured = self._oldest(complete, value[full])
        self._start[complete] = (self._start[complete] + 1) % self._steps
        self._count[complete] -= 1
        self._append(rows, observation, action, reward)
        done = np.asarray(done, dtype=bool)
        return _concatenate(matured, self._flush(rows[done], final_value[done])) if done.any() else matured

    def going_on(self, reward: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """What follows if it goes on as the transitions held and the reward of this step, `[B]`, went. `[B]`."""
        rows = np.arange(len(self._count)) if rows is None else rows
        at_hand = np.arange(self._steps) < self._count[rows, None]  # [B, N]
        held = np.where(at_hand, np.take_along_axis(self._reward[rows], self._ring(rows), axis=1), 0.0)
        return as_it_went(held.sum(axis=1) + reward, self._count[rows] + 1, self._discount)

    def clear(self) -> None:
        """Forget the transitions held."""
        self._count[:] = 0

    def state_dict(self) -> dict[str, Any]:
        """The transitions held."""
        names = ("_start", "_count", "_reward", "_action", "_observation")
        return {name[1:]: _copy(getattr(self, name)) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the transitions held."""
        if state["reward"].shape != self._reward.shape:
            raise ValueError(
                f"These returns hold {self._reward.shape} (environments, steps), the state {state['reward'].shape}."
            )
        for name, value in state.items():
            setattr(self, f"_{name}", _copy(value))

    def _oldest(self, rows: np.ndarray, value: np.ndarray) -> Returns:
        """The oldest transition of each environment in `rows`, which holds N and sees the value after them `[R]`."""
        order = self._ring(rows)  # [R, N]
        rewards = np.take_along_axis(self._reward[rows], order, axis=1)
        target = rewards @ self._weights[0] + self._discount**self._steps * value
        return self._gather(rows, order[:, 0], target)

    def _flush(self, rows: np.ndarray, final_value: np.ndarray) -> Returns:
        """All transitions held by the environments in `rows`, whose episodes are over with `final_value` `[R]`."""
        order = self._ring(rows)  # [R, N]
        held = np.arange(self._steps)[None, :] < self._count[rows, None]  # [R, N]
        rewards = np.where(held, np.take_along_axis(self._reward[rows], order, axis=1), 0.0)
        ahead = self._count[rows, None] - np.arange(self._steps)[None, :]  # [R, N] steps to the end
        bootstrap = np.power(self._discount, np.abs(ahead)) * final_value[:, None]
        target = rewards @ self._weights.T + bootstrap  # [R, N]
        self._count[rows] = 0
        of_row, at = np.nonzero(held)
        return self._gather(rows[of_row], order[of_row, at], target[of_row, at])

    def _append(self, rows: np.ndarray, observation: Observation, action: np.ndarray, reward: np.ndarray) -> None:
        at = (self._start[rows] + self._count[rows]) % self._steps
        self._reward[rows, at] = reward
        self._action[rows, at] = action
        put_rows(self._observation, (rows, at), observation)
        self._count[rows] += 1

    def _ring(self, rows: np.ndarray) -> np.ndarray:
        return (self._start[rows, None] + np.arange(self._steps)[None, :]) % self._steps

    def _gather(self, rows: np.ndarray, at: np.ndarray, target: np.ndarray) -> Returns:
        return Returns(rows_of(self._observation, (rows, at)), self._action[rows, at], target)

    def _room_for(self, observation: np.ndarray) -> np.ndarray:
        num_envs, steps = self._reward.shape
        return np.zeros((num_envs, steps, *observation.shape[1:]), dtype=observation.dtype)


class MonteCarloReturns:
    """Holds the running episodes of E environments until they end and their discounted returns are known.

    `R_t = sum_j gamma^j r_{t+j}` (Blundell et al. 2016, section 3); where an episode was cut after L more steps,
    `gamma^L` times the value of its last observation is added. Room grows with the longest episode.

    Args:
        discount: gamma in [0, 1].
        num_envs: E.
    """

    def __init__(self, discount: float, num_envs: int):
        self._discount = number("discount", discount, 0, most=1)
        self._count = np.zeros(num_envs, dtype=np.int64)  # [E] transitions held
        self._reward = np.zeros((num_envs, 64))  # [E, T]
        self._action = np.zeros(self._reward.shape, dtype=np.int64)  # [E, T]
        self._observation: Observation | None = None  # [E, T, ...]
        self._tries: Tries | None = None  # of the running episodes, from when they are first asked for
        self._nothing: Returns | None = None  # what is returned where no episode ends

    def push(
        self,
        observation: Observation,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        final_value: np.ndarray,
        rows: np.ndarray | None = None,
    ) -> Returns:
        """Add one vector step and return the episodes it ended.

        Args:
            observation: What was acted on. `[B, ...]`
            action: `[B]`
            reward: `[B]`
            done: Whether the episode ended with this step. `[B]`
            final_value: Value of the episode's last observation, 0 where it terminated; read where `done`. `[B]`
            rows: Which environments stepped; None for all, B = E. `[B]`
        """
        if self._observation is None:
            self._observation = map_observation(self._room_for, observation)
        rows = np.arange(len(self._count)) if rows is None else rows
        if self._count.max() == self._reward.shape[1]:
            self._double()
        at = (rows, self._count[rows])
        self._reward[at], self._action[at] = reward, action
        put_rows(self._observation, at, observation)
        self._count[rows] += 1
        if self._tries:
            self._tries.add(observation["identity"], action)
        done = np.asarray(done, dtype=bool)
        return self._flush(rows[done], final_value[done])

    def tries(self, identity: np.ndarray, actions: int) -> np.ndarray:
        """How often each action was taken in these very situations during the running episodes. `[B]` -> `[B, A]`.

        All environments count together, so that episodes side by side search different ways. The observations pushed
        must have a part `identity`. The first call is a pass over the running episodes; from then on their steps are
        counted as they come.
        """
        if self._tries is None:
            self._tries = Tries(actions)
            if self._observation is not None:
                row, at = np.nonzero(np.arange(int(self._count.max())) < self._count[:, None])
                self._tries.add(self._observation["identity"][row, at], self._action[row, at])
        return self._tries.of(identity)

    def rewarded(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Whether the running episodes, all or these, have found any reward above 0. `[B]` of bool."""
        return np.asarray((self._held_rewards(rows) > 0).any(axis=1))

    def going_on(self, reward: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """What follows if it goes on as the running episodes and the reward of this step, `[B]`, went. `[B]`."""
        count = self._count if rows is None else self._count[rows]
        return as_it_went(self._held_rewards(rows).sum(axis=1) + reward, count + 1, self._discount)

    def clear(self) -> None:
        """Forget the running episodes."""
        self._count[:], self._tries = 0, None

    def state_dict(self) -> dict[str, Any]:
        """The transitions held."""
        return {name: _copy(getattr(self, f"_{name}")) for name in ("count", "reward", "action", "observation")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the transitions held."""
        if len(state["count"]) != len(self._count):
            raise ValueError(
                f"These returns are of {len(self._count)} environments, the state of {len(state['count'])}."
            )
        for name, value in state.items():
            setattr(self, f"_{name}", _copy(value))
        self._tries = None

    def _held_rewards(self, rows: np.ndarray | None) -> np.ndarray:
        """Of the running episodes, 0 after their last step. `[B, L]`."""
        count, reward = (part if rows is None else part[rows] for part in (self._count, self._reward))
        longest = int(count.max())
        return np.where(np.arange(longest) < count[:, None], reward[:, :longest], 0.0)

    def _flush(self, rows: np.ndarray, final_value: np.ndarray) -> Returns:
        if not len(rows):
            if self._nothing is None:
                observation = rows_of(self._observation, (rows, rows))
                self._nothing = Returns(observation, self._action[rows, rows], self._reward[rows, rows])
            return self._nothing
        length = int(self._count[rows].max())
        held = np.arange(length) < self._count[rows, None]  # [R, L]
        rewards = np.where(held, self._reward[rows, :length], 0.0)
        rewards[np.arange(len(rows)), self._count[rows] - 1] += self._discount * final_value
        for t in reversed(range(length - 1)):
            rewards[:, t] += self._discount * rewards[:, t + 1]  # R_t = r_t + gamma R_{t+1}
        self._count[rows] = 0
        of_row, at = np.nonzero(held)
        ended = Returns(
            rows_of(self._observation, (rows[of_row], at)), self._action[rows[of_row], at], rewards[of_row, at]
        )
        if self._tries:
            self._tries.add(ended.observation["identity"], ended.action, -1)
        return ended

    def _double(self) -> None:
        self._reward, self._action = _twice(self._reward), _twice(self._action)
        self._observation = map_observation(_twice, self._observation)

    def _room_for(self, observation: np.ndarray) -> np.ndarray:
        return np.zeros((*self._reward.shape, *observation.shape[1:]), dtype=observation.dtype)


def as_it_went(total: np.ndarray, steps: np.ndarray, discount: float) -> np.ndarray:
    """What follows an episode of which nothing is known but that: its mean reward for ever. `[E]`.

    Where steps cost, 0 would be a promise that nothing redeems. Without a discount, which would make it infinite, it is
    the mean reward for as many steps again.
    """
    return np.asarray(total if discount == 1 else total / steps / (1 - discount))


def _twice(held: np.ndarray) -> np.ndarray:
    return np.concatenate([held, np.zeros_like(held)], axis=1)


def _concatenate(first: Returns, second: Returns) -> Returns:
    observation = map_observation(lambda a, b: np.concatenate([a, b]), first.observation, second.observation)
    action = np.concatenate([first.action, second.action])
    return Returns(observation, action, np.concatenate([first.target, second.target]))


def _copy(value: Any) -> Any:
    return None if value is None else map_observation(np.copy, value)
