"""R-max whose actions move by the same displacement wherever they are done."""

from __future__ import annotations

import numpy as np

from benchmarks.tabular.agent import Tabular
from benchmarks.tabular.places import Places
from engram_rl.agents.agent import Transition


class RMax(Tabular):
    """R-max (Brafman and Tennenholtz 2002) on a relocatable action model (Leffler, Littman and Edmunds 2007).

    1. What an action does is unknown until it has moved the agent once in this context, or has not in `tries` tries;
       an unknown action is worth the most that can be had, so it is done at once.
    2. From then on it is taken to do the same everywhere, but beyond the bounds or where it was refused. With `cells`
       a refusal counts for the cell, from wherever it is entered.
    3. Where no goal is shown, a place that was not visited since the world was last known to have changed is worth
       `optimism`, the place where reward was found last 1, any other nothing.
    4. With `forgets`, one contradiction is taken for a change of the world: refused where it had passed, all refusals
       are forgotten; no reward where it was found last, all places are unvisited but those of this episode.
    5. The action is greedy on the values of this model, which are computed exactly. Where no way is left, refusals, or
       visits, are forgotten.

    Args:
        places, num_actions, num_envs, seed: As for `Tabular`.
        tries, cells, forgets, optimism: As above.
        discount: Per step.
    """

    def __init__(
        self,
        places: Places,
        num_actions: int,
        num_envs: int,
        seed: int,
        *,
        tries: int = 3,
        cells: bool = True,
        forgets: bool = True,
        optimism: float = 0.1,
        discount: float = 0.95,
    ) -> None:
        super().__init__(places, num_actions, num_envs, seed, epsilon=0.0)
        self._tries, self._cells, self._forgets = tries, cells, forgets
        self._optimism, self._discount = optimism, discount
        E, S, G, A = num_envs, places.num_states, places.num_goals, num_actions
        C, D = int(places.context.max()) + 1, places.coordinates.shape[1]
        self.displacement = np.zeros((E, C, A, D), np.int64)
        self.known = np.zeros((E, C, A), bool)
        self.failed = np.zeros((E, C, A), np.int64)
        self.refused = np.zeros((E, S, A), bool)  # of edges
        self.passed = np.zeros((E, S, A), bool)
        self.blocked = np.zeros((E, G), bool)  # of cells
        self.walked = np.zeros((E, G), bool)
        self.site = np.full(E, -1)  # where reward was found last
        self.empty = np.zeros((E, G), bool)
        self.visited = np.zeros((E, G), bool)  # in this episode
        self.values = np.zeros((E, S, A))
        self._planned = np.full(E, -1)  # the goal that `values` are of, -1 where they are outdated

    @property
    def entries(self) -> int:
        """Refusals and empty places."""
        return int(self.blocked.sum() + self.refused.sum() + self.empty.sum())

    def worth(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Values of the model. `[E, A]`."""
        self._look_around(states, goals)
        outdated = np.flatnonzero(self._planned != goals)
        self._plan(outdated, goals)
        lost = outdated[self.values[outdated, states[outdated]].max(axis=1) <= 0]
        self._forget_refusals(lost)
        self.empty[lost] = self.visited[lost]
        self._plan(lost, goals)
        return self.values[self.env, states]

    def observe(self, transition: Transition) -> None:
        """Note what the step showed of its action and of its place."""
        states, _, following = self._read(transition)
        self._note_action(states, transition.action, following)
        if not self.places.shows_goal:
            self._note_place(self.places.goal_of[following], transition.reward > 0)
        self.visited[transition.done] = False
        self._planned[transition.done] = -1

    def _note_action(self, states: np.ndarray, action: np.ndarray, following: np.ndarray) -> None:
        env, context = self.env, self.places.context[states]
        moved = following != states
        fresh = moved & ~self.known[env, context, action]
        by = self.places.coordinates[following] - self.places.coordinates[states]
        self.displacement[env[fresh], context[fresh], action[fresh]] = by[fresh]
        self.known[env[fresh], context[fresh], action[fresh]] = True
        self.failed[env, context, action] += ~moved
        ahead = self.places.moved(states, self.displacement[env, context, action])  # [E]
        tells = self.known[env, context, action] & (ahead >= 0) & (ahead != states)
        cell = np.where(tells, self.places.goal_of[ahead], 0)
        passed = self.walked[env, cell] if self._cells else self.passed[env, states, action]
        self._forget_refusals(env[~moved & tells & passed & self._forgets])
        self.refused[env[~moved], states[~moved], action[~moved]] = True
        self.blocked[env[~moved & tells], cell[~moved & tells]] = self._cells
        self.passed[env[moved], states[moved], action[moved]] = True
        self.walked[env[moved], self.places.goal_of[following[moved]]] = True
        self._planned[fresh | ~moved] = -1

    def _note_place(self, place: np.ndarray, rewarded: np.ndarray) -> None:
        env = self.env
        in_vain = ~rewarded & (place == self.site)
        self.site[rewarded], self.site[in_vain] = place[rewarded], -1
        self.visited[env, place] |= ~rewarded
        news = ~rewarded & ~self.empty[env, place]
        self.empty[env, place] = ~rewarded
        if self._forgets:
            self.empty[in_vain] = self.visited[in_vain]
        self._planned[rewarded | in_vain | news] = -1

    def _look_around(self, states: np.ndarray, goals: np.ndarray) -> None:
        """The agent's own cell, and that of a goal that is shown, are free; an own cell gave no reward."""
        env, here = self.env, self.places.goal_of[states]
        freed = self.blocked[env, here]
        self.blocked[env, here] = False
        if self.places.shows_goal:
            freed |= self.blocked[env, goals]
            self.blocked[env, goals] = False
        else:
            self._note_place(here, np.zeros(len(env), bool))
        self._planned[freed] = -1

    def _forget_refusals(self, rows: np.ndarray) -> None:
        self.refused[rows] = self.passed[rows] = False
        self.blocked[rows] = self.walked[rows] = False
        self._planned[rows] = -1

    def _plan(self, rows: np.ndarray, goals: np.ndarray) -> None:
        """Bring values up to date. `[R]` of the environments, `[E]`."""
        if not len(rows):
            return
        following, unknown = self._model(rows)  # [R, S, A]
        gain = self._gains(rows, goals)[np.arange(len(rows))[:, None, None], self.places.goal_of[following]]
        still = following == np.arange(self.places.num_states)[:, None]
        gain = np.where(still, 0, gain)
        value = np.zeros(following.shape[:2])
        at = np.arange(len(rows))[:, None, None]
        while True:
            worth = np.where(unknown, 1.0, self._discount * np.maximum(gain, value[at, following]))
            updated = worth.max(axis=2)
            if (updated == value).all():
                break
            value = updated
        self.values[rows], self._planned[rows] = np.where(still & ~unknown, 0.0, worth), goals[rows]

    def _gains(self, rows: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """What it is worth to reach each place. `[R, G]`."""
        if self.places.shows_goal:
            return (np.arange(self.places.num_goals) == goals[rows, None]).astype(float)
        found = np.arange(self.places.num_goals) == self.site[rows, None]
        return np.where(found, 1.0, np.where(self.empty[rows], 0.0, self._optimism))

    def _model(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Successors, and which of them are unknown. `[R, S, A]` each."""
        context, every = self.places.context, np.arange(self.places.num_states)
        by = self.displacement[rows][:, context]  # [R, S, A, D]
        ahead = self.places.moved(np.broadcast_to(every[:, None], by.shape[:3]), by)
        at = np.arange(len(rows))[:, None, None]
        stays = self.refused[rows] | (ahead < 0)
        if self._cells:
            stays = (ahead < 0) | self.blocked[rows][at, self.places.goal_of[ahead]]
            stays |= self.refused[rows] & ~self.known[rows][:, context]
        unknown = ~self.known[rows] & (self.failed[rows] < self._tries)  # [R, C, A]
        return np.where(stays, every[:, None], ahead), unknown[:, context] & ~self.refused[rows]
