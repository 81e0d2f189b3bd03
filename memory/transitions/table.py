"""The cells of a transition memory: for every state id and action one outcome, its strength and its history."""

from __future__ import annotations

import numpy as np
import torch

from engram_rl.memory.transitions.states import ABSENT

FAINTEST = 0.5
"""A transition is known while its strength is at least this: a single experience lasts one half-life."""
_LOG_SIZE = 4096
_SAVED = ("next", "strength", "stamp", "count", "tried", "reward", "terminal", "harm")

Outcome = dict[str, np.ndarray]
"""`next` (id of the next state), `reward`, `terminal`, `harm` of B experiences. `[B]` each"""


class TransitionTable:
    """One outcome per state and action; what experience makes of it is told in `TransitionMemory`.

    Attributes:
        next: Id of the next state. `[S, A]`
        strength: At the tick in `stamp`. `[S, A]`
        count: How often the stored outcome was experienced. `[S, A]`
        tried: How often the action was taken in the state, whatever came of it. `[S, A]`
        reward: Mean reward of the stored outcome, weighted by strength. `[S, A]`
        terminal: Whether the task ended with it. `[S, A]`
        harm: The harm it did when last experienced. `[S, A]`
        changes: How many changes there were of what is known, what it harms, or how soon it fades; see `changed_since`.
    """

    def __init__(self, capacity: int, num_actions: int, half_life: float, keep_refuted: float) -> None:
        self.half_life, self.keep_refuted = half_life, keep_refuted
        cells = (capacity, num_actions)
        self.next = np.full(cells, ABSENT, np.int32)
        self.strength = np.zeros(cells, np.float32)
        self.stamp = np.zeros(cells, np.float64)
        self.count = np.zeros(cells, np.int32)
        self.tried = np.zeros(cells, np.int32)
        self.reward = np.zeros(cells, np.float32)
        self.terminal = np.zeros(cells, bool)
        self.harm = np.zeros(cells, np.float32)
        self.changes = 0
        self._log = np.zeros(_LOG_SIZE, np.int64)  # ring of changed cells

    @property
    def num_actions(self) -> int:
        """Number of actions, A."""
        return self.next.shape[1]

    def strengths(self, ids: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Strength of every transition from states `[N]` at ticks `[N]`. `[N, A]`."""
        if np.isinf(self.half_life):
            return self.strength[ids]
        return self.strength[ids] * np.exp2((self.stamp[ids] - now[:, None]) / self.half_life)

    def known_until(self, ids: np.ndarray) -> np.ndarray:
        """The tick after which each transition from states `[N]` has faded; -inf where there is none. `[N, A]`."""
        if np.isinf(self.half_life):
            return np.where(self.strength[ids] >= FAINTEST, np.inf, -np.inf)
        with np.errstate(divide="ignore"):
            return self.stamp[ids] + self.half_life * np.log2(self.strength[ids] / FAINTEST)

    def write(self, cells: np.ndarray, outcome: Outcome, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Experience outcomes in distinct cells `[B]` at ticks `[B]`; which were unknown and which refuted. `[B]`s."""
        table = {name: getattr(self, name).reshape(-1) for name in _SAVED}  # views, `[S A]`
        strength = table["strength"][cells] * np.exp2((table["stamp"][cells] - now) / self.half_life)
        known = strength >= FAINTEST
        agrees = known & (table["next"][cells] == outcome["next"]) & (table["terminal"][cells] == outcome["terminal"])
        refuted = known & ~agrees
        survives = refuted & (strength * self.keep_refuted > 1)
        replaced = ~agrees & ~survives
        otherwise = replaced | survives | (agrees & (table["harm"][cells] != outcome["harm"]))
        table["tried"][cells] += 1
        table["stamp"][cells] = now
        table["strength"][cells] = np.where(agrees, strength + 1, np.where(survives, strength * self.keep_refuted, 1))
        table["count"][cells] = np.where(replaced, 1, table["count"][cells] + agrees)
        share = np.where(replaced, 1, np.where(agrees, 1 / (strength + 1), 0))
        table["reward"][cells] += share * (outcome["reward"] - table["reward"][cells])
        for name in ("next", "terminal", "harm"):
            table[name][cells] = np.where(survives, table[name][cells], outcome[name])
        self.note(cells[otherwise])
        return ~known, refuted

    def weaken(self, cells: np.ndarray, factor: float) -> None:
        """Scale the strength of distinct cells `[N]`."""
        self.strength.reshape(-1)[cells] *= factor
        self.note(cells)

    def evict(self, ids: np.ndarray) -> None:
        """Empty all cells of states `[N]` and all that lead into them. O(S A)."""
        gone = np.zeros(len(self.next) + 1, bool)  # the last stands for ABSENT
        gone[ids] = True
        emptied = gone[self.next]
        emptied[ids] = True
        for name in _SAVED:  # whole: what an emptied cell had left would outlive here, but not in a saved memory
            getattr(self, name)[emptied] = ABSENT if name == "next" else 0
        self.changes += _LOG_SIZE + 1  # more than the log can tell

    def changed_since(self, mark: int) -> np.ndarray | None:
        """Cells `id * A + action` `[N]` that changed since `changes` was `mark`; None if that was too long ago."""
        if self.changes - mark > _LOG_SIZE:
            return None
        return self._log[np.arange(mark, self.changes) % _LOG_SIZE]

    def rows(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """A copy of the cells of states `[N]`, by name. `[N, A]` each."""
        return {name: torch.from_numpy(getattr(self, name)[ids]) for name in _SAVED}

    def restore(self, ids: np.ndarray, rows: dict[str, np.ndarray]) -> None:
        """Set the cells of states `[N]` to what `rows` gave."""
        for name in _SAVED:
            getattr(self, name)[ids] = rows[name]
        self.changes += _LOG_SIZE + 1

    def note(self, cells: np.ndarray) -> None:
        """What is known in cells `[N]`, its harm, or how soon it fades, has changed."""
        ring = np.arange(self.changes, self.changes + len(cells)) % _LOG_SIZE
        self._log[ring[-_LOG_SIZE:]] = cells[-_LOG_SIZE:]
        self.changes += len(cells)
