"""Dyna-Q+ and prioritised sweeping: a learned model, from which values are learned between steps."""

from __future__ import annotations

from typing import Literal

import numpy as np

from benchmarks.tabular.agent import Tabular
from benchmarks.tabular.places import Places
from engram_rl.agents.agent import Transition


class Dyna(Tabular):
    """Dyna-Q+ (Sutton and Barto 2018, section 8.3), and with `order="priority"` prioritised sweeping (8.4).

    The model holds what came last of each state and action; what was never tried leads nowhere. In planning, what was
    not tried for n steps is worth `bonus * sqrt(n)` more. Nothing is sampled for planning: an update of Dyna-Q+ is one
    of all actions in all states that were seen, at once; one of prioritised sweeping is of the largest error there is.
    Of a goal that is shown the model is told: reaching it gives 1 and ends the episode, so movements are shared by all
    goals.

    Args:
        places, num_actions, num_envs, seed, epsilon: As for `Tabular`.
        learning_rate: Of steps and of planning.
        bonus: kappa above.
        updates: Planned after each step.
        order: Whether an update is of all that was seen, or of the largest error.
        discount: Per step.
    """

    def __init__(
        self,
        places: Places,
        num_actions: int,
        num_envs: int,
        seed: int,
        *,
        learning_rate: float = 0.5,
        bonus: float = 1e-3,
        updates: int = 5,
        order: Literal["all", "priority"] = "all",
        discount: float = 0.95,
        epsilon: float = 0.0,
    ) -> None:
        super().__init__(places, num_actions, num_envs, seed, epsilon)
        self._rate, self._bonus, self._updates = learning_rate, bonus, updates
        self._order, self._discount = order, discount
        E, S, A = num_envs, places.num_states, num_actions
        self.values = np.zeros((E, places.num_goals if places.shows_goal else 1, S, A))  # [E, G, S, A]
        self.next = np.tile(np.arange(S)[:, None], (E, 1, A))  # [E, S, A]
        self.reward = np.zeros((E, S, A))
        self.ends = np.zeros((E, S, A), bool)
        self.tried = np.zeros((E, S, A), np.int64)  # the step of the last try
        self.seen = np.zeros((E, S), bool)
        self._step = 0

    def worth(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Their values. `[E, A]`."""
        return self.values[self.env, goals, states]

    def observe(self, transition: Transition) -> None:
        """Learn from the step, remember it, and plan."""
        env, action = self.env, transition.action
        states, goals, following = self._read(transition)
        self._step += 1
        self.seen[env, states] = True
        self.next[env, states, action], self.tried[env, states, action] = following, self._step
        self.reward[env, states, action] = transition.reward
        self.ends[env, states, action] = transition.terminated
        ahead = self.values[env, goals, following].max(axis=1) * ~transition.terminated
        self._learn(goals, states, action, transition.reward + self._discount * ahead)
        for _ in range(self._updates):
            self._plan(goals)

    @property
    def entries(self) -> int:
        """What was tried."""
        return int((self.tried > 0).sum())

    def _plan(self, goals: np.ndarray) -> None:
        """One update from the model, for the goals of the present episodes. `[E]`."""
        targets = self.targets(goals)
        change = (targets - self.values[self.env, goals]) * self.seen[:, :, None]  # [E, S, A]
        if self._order == "all":
            self.values[self.env, goals] += self._rate * change
            return
        states, action = np.divmod(np.abs(change).reshape(len(goals), -1).argmax(axis=1), self.num_actions)
        self._learn(goals, states, action, targets[self.env, states, action])

    def targets(self, goals: np.ndarray) -> np.ndarray:
        """What the model says that actions are worth. `[E]` -> `[E, S, A]`."""
        reward, ends = self.reward, self.ends
        if self.places.shows_goal:
            ends = self.places.goal_of[self.next] == goals[:, None, None]
            reward = ends.astype(float)
        ahead = self.values[self.env, goals].max(axis=2)[self.env[:, None, None], self.next]
        bonus = self._bonus * np.sqrt(self._step - self.tried)
        return reward + bonus + self._discount * ahead * ~ends

    def _learn(self, goals: np.ndarray, states: np.ndarray, action: np.ndarray, target: np.ndarray) -> None:
        at = self.env, goals, states, action
        self.values[at] += self._rate * (target - self.values[at])
