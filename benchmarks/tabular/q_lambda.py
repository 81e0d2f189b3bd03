"""Q(lambda) with a bonus for what was seldom tried."""

from __future__ import annotations

import numpy as np

from benchmarks.tabular.agent import Tabular
from benchmarks.tabular.places import Places
from engram_rl.agents.agent import Transition


class QLambda(Tabular):
    """Watkins's Q(lambda) with replacing traces over (goal, state, action), and a count bonus.

    Watkins (1989); traces as in Sutton and Barto (2018, section 12.10), cut where an action was not greedy. To the
    reward of the n-th try of an action `bonus / sqrt(n)` is added (MBIE-EB, Strehl and Littman 2008). Where goals are
    shown, each step may teach what it is worth for every goal there could be (Kaelbling 1993).

    Args:
        places, num_actions, num_envs, seed, epsilon: As for `Tabular`.
        learning_rate: Of each step.
        trace: lambda.
        bonus: As above; 0 for none.
        discount: Per step.
        initial: Value of what was never tried.
        all_goals: Whether a step teaches of all goals, not of the present one alone, where goals are shown.
    """

    def __init__(
        self,
        places: Places,
        num_actions: int,
        num_envs: int,
        seed: int,
        *,
        learning_rate: float = 0.5,
        trace: float = 0.9,
        bonus: float = 0.1,
        discount: float = 0.95,
        epsilon: float = 0.0,
        initial: float = 0.0,
        all_goals: bool = True,
    ) -> None:
        super().__init__(places, num_actions, num_envs, seed, epsilon)
        self._rate, self._trace, self._bonus, self._discount = learning_rate, trace, bonus, discount
        self._all_goals = all_goals and places.shows_goal
        E, S, A = num_envs, places.num_states, num_actions
        G = places.num_goals if places.shows_goal else 1
        self.values = np.full((E, G, S, A), initial)
        self.tries = np.zeros((E, S, A), np.int64)
        self.eligible = np.zeros((E, G if self._all_goals else 1, S, A))  # in this episode

    def worth(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Their values. `[E, A]`."""
        return self.values[self.env, goals, states]

    def observe(self, transition: Transition) -> None:
        """One step of Q(lambda), of all environments."""
        env, action = self.env, transition.action
        states, goals, following = self._read(transition)
        self.tries[env, states, action] += 1
        bonus = self._bonus / np.sqrt(self.tries[env, states, action])  # [E]
        learned, reward, ends = self._lessons(goals, following, transition)  # [E, K] each
        rows = env[:, None]
        values = self.values[rows, learned, states[:, None]]  # [E, K, A]
        taken = np.take_along_axis(values, action[:, None, None], axis=2)[..., 0]  # [E, K]
        ahead = self.values[rows, learned, following[:, None]].max(axis=2)
        error = reward + bonus[:, None] + self._discount * ahead * ~ends - taken
        greedy = taken >= values.max(axis=2) - 1e-9
        self.eligible *= (self._discount * self._trace * greedy)[..., None, None]
        self.eligible[env, :, states, action] = 1
        self.values[rows, learned] += (self._rate * error)[..., None, None] * self.eligible
        self.eligible[ends | transition.done[:, None]] = 0

    def _lessons(
        self, goals: np.ndarray, following: np.ndarray, transition: Transition
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of which goals it teaches, what the step gave towards them, and whether they were reached. `[E, K]`."""
        if not self._all_goals:
            return goals[:, None], transition.reward[:, None], transition.terminated[:, None]
        every = np.tile(np.arange(self.places.num_goals), (len(goals), 1))
        reached = self.places.goal_of[following][:, None] == every
        return every, reached.astype(float), reached

    @property
    def entries(self) -> int:
        """What was tried."""
        return int((self.tries > 0).sum())
