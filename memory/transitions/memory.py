"""What an action led to where: remembered transitions, recalled by state and action or by action alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from engram_rl.memory.checks import require_ram, whole
from engram_rl.memory.keys.identity import occurrence
from engram_rl.memory.transitions.checks import (
    check_settings,
    checked_actions,
    checked_outcome,
    checked_owners,
    checked_states,
)
from engram_rl.memory.transitions.movements import MovementMemory
from engram_rl.memory.transitions.outcomes import Expansion, Written
from engram_rl.memory.transitions.states import ABSENT, StateTable, first_of_each
from engram_rl.memory.transitions.table import FAINTEST, Outcome, TransitionTable

_SHARE_EVICTED = 16


class TransitionMemory:
    """(state, action) -> (next state, reward, end, harm) for vectors and discrete actions, as tables over state ids.

    One outcome is kept for each action in each state: a world that is deterministic until it shifts. Experience that
    agrees with it makes it stronger by 1. What disagrees (another next state, or the task ends or no longer ends there)
    refutes it: only the share `keep_refuted` of its strength is left, and unless that exceeds the strength of a new
    experience, 1, the new one takes its place. 0 is the rule of the fast/slow agent (arXiv 2301.13758): drop what was
    stored. Strength halves every `half_life` ticks of a clock that the caller advances (each step, each episode, or by
    a leap when surprised); what falls below 1/2 is not known any more.

    Arrays are NumPy's: looking ahead is many small integer operations, which cost several times as much in torch, and
    nothing here has a gradient. A write touches only the rows it names. When the table is full, the weakest sixteenth
    of the states goes, the least recently seen of equals, with every transition from or to them: O(S A) every S / 16
    new states, 23 ms of one core at 100,000 states of 4 numbers with 4 actions.

    Args:
        dim: Numbers in a state, D.
        num_actions: Number of actions, A.
        capacity: Largest number of states, S. Memory: about `4 D + 41 + 33 A` bytes each.
        owners: Number of partitions that know nothing of each other (one per environment), or 1 to share everything.
        half_life: Ticks in which strength halves; infinite: nothing fades.
        keep_refuted: Share of its strength that a refuted transition keeps, in [0, 1).
        same_within: A vector never seen before is the nearest stored one if that is at most this far (Euclidean), at
            the price of a search over all states. 0: states are equal or different.
        movement_context: Numbers of the state on which what an action does depends (see `MovementMemory`).
        decimals: Places behind the point to which numbers of states, and movements between them, are rounded: where
            steps are fractions, what should be equal differs in the last bits. None: as they are.
    """

    def __init__(
        self,
        dim: int,
        num_actions: int,
        capacity: int = 10_000,
        *,
        owners: int = 1,
        half_life: float = np.inf,
        keep_refuted: float = 0.0,
        same_within: float = 0.0,
        movement_context: Sequence[int] = (),
        decimals: int | None = None,
    ) -> None:
        sizes = {"dim": dim, "num_actions": num_actions, "capacity": capacity, "owners": owners}
        dim, num_actions, capacity, owners = (whole(name, size, most=2**62) for name, size in sizes.items())
        check_settings(half_life, keep_refuted, same_within, decimals)
        what = f"capacity={capacity} states of {dim} numbers and {num_actions} actions"
        require_ram(what, capacity * (4 * dim + 41 + 33 * num_actions), "lower the capacity")
        self.states = StateTable(dim, capacity, decimals=decimals)
        self.table = TransitionTable(capacity, num_actions, half_life, keep_refuted)
        self.movements = MovementMemory(owners, num_actions, dim, context=movement_context, decimals=decimals)
        self.movement_changes = self.support_changes = 0
        self.times_cleared = np.zeros(owners, np.int64)  # [O]
        self.same_within = same_within
        self.clock = np.zeros(owners, np.float64)  # [O], in ticks
        self._seen = np.zeros(capacity, np.int64)  # [S], the write that last met a state
        self._writes = 0

    def __len__(self) -> int:
        """Number of transitions known now. O(S A)."""
        return int(self.known(self.ids()).sum())

    def __repr__(self) -> str:
        table, names, owners = self.table, self.states, self.num_owners
        partitions = "" if owners == 1 else f" of {owners} owners that share nothing"
        clock = f"{self.clock.min():g}" if owners == 1 else f"{self.clock.min():g} to {self.clock.max():g}"
        return "\n".join(
            (
                f"{type(self).__name__}: {len(names)} of {names.capacity} states{partitions}",
                f"  states of {names.dim} numbers, {self.num_actions} actions; {self._writes} writes; tick {clock}",
                f"  half_life {table.half_life:g}, keep_refuted {table.keep_refuted:g}, "
                f"same_within {self.same_within:g}",
            )
        )

    @property
    def num_actions(self) -> int:
        """Number of actions, A."""
        return self.table.num_actions

    @property
    def num_owners(self) -> int:
        """Number of partitions, O."""
        return len(self.clock)

    def write(
        self,
        states: np.ndarray,
        actions: np.ndarray,
        next_states: np.ndarray,
        *,
        rewards: np.ndarray | float = 0.0,
        terminals: np.ndarray | bool = False,
        harms: np.ndarray | float = 0.0,
        owners: np.ndarray | None = None,
    ) -> Written:
        """Remember transitions, as if one after another at the same tick.

        Args:
            states: Where each began. `[B, D]`
            actions: What was done, 0 to A - 1. `[B]` of integers
            next_states: Where it led. `[B, D]`
            rewards: What it paid. `[B]` or one for all
            terminals: Whether the task ended with it. `[B]` or one for all
            harms: How much it hurt, 0 for not at all. `[B]` or one for all
            owners: Whose experience each is; None means owner 0. `[B]` of integers

        Raises:
            ValueError: If a shape, an action or an owner does not fit, a number is not finite, or one batch has more
                states than the table; nothing is written then.
        """
        states, owners = self._checked_states(states, owners)
        if np.shape(next_states) != states.shape:
            raise ValueError(
                f"next_states must be {list(states.shape)} as states are, got {list(np.shape(next_states))}"
            )
        next_states, _ = self._checked_states(next_states, owners)
        actions = checked_actions(actions, len(states), self.num_actions)
        outcome = checked_outcome(len(states), rewards, terminals, harms)
        ids = self._name(np.concatenate([states, next_states]), np.concatenate([owners, owners]))
        ids, outcome["next"] = ids[: len(states)], ids[len(states) :]
        since = self.table.stamp[ids, actions]
        new, refuted = self._write_in_turn(ids, actions, outcome)
        self._writes += 1
        self._seen[ids] = self._seen[outcome["next"]] = self._writes
        self._learn_movements(owners, actions, ids, outcome["next"], np.flatnonzero(new | refuted))
        return Written(ids, outcome["next"], new, refuted, since)

    def expand(self, states: np.ndarray, owners: np.ndarray | None = None, *, imagine: bool = False) -> Expansion:
        """Look one step ahead from states `[B, D]` with each action; `imagine` recalls unknown ones by action alone."""
        states, owners = self._checked_states(states, owners)
        ids = self.states.find(states, owners)  # [B]
        known = self.known(ids) & (ids != ABSENT)[:, None]  # [B, A]
        following = np.where(known, self.table.next[ids], 0)
        next_states = np.where(known[..., None], self.states.vectors[following], states[:, None])  # [B, A, D]
        support = known.astype(np.float64)
        if imagine:
            row, action = np.nonzero(~known)
            moved, support[row, action] = self.movements.recall(owners[row], action, states[row])
            next_states[row, action] = self.states.canonical(next_states[row, action] + moved)
        table = self.table
        reward, harm = np.where(known, table.reward[ids], 0), np.where(known, table.harm[ids], 0)
        return Expansion(next_states, known, support, reward, known & table.terminal[ids], harm)

    def contradict(
        self, states: np.ndarray, actions: np.ndarray, owners: np.ndarray | None = None, *, factor: float = 0.0
    ) -> None:
        """Scale the strength of what is known about actions `[B]` in states `[B, D]` by `factor`; 0 drops it."""
        states, owners = self._checked_states(states, owners)
        actions = checked_actions(actions, len(states), self.num_actions)
        if not 0 <= factor < 1:
            raise ValueError(f"factor is {factor}; give 0 to drop, or less than 1 to weaken")
        ids = self.states.find(states, owners)
        self.table.weaken(np.unique((ids.astype(np.int64) * self.num_actions + actions)[ids != ABSENT]), factor)

    def tick(self, amount: float = 1, owners: np.ndarray | None = None) -> None:
        """Let time pass for owners `[N]` (None: all): strength fades; a leap makes everything old uncertain at once."""
        if not (amount >= 0 and np.isfinite(amount)):
            raise ValueError(f"time goes forward by a finite number of ticks >= 0, got {amount}")
        self.clock[slice(None) if owners is None else checked_owners(owners, self.num_owners)] += amount

    def clear(self, owners: np.ndarray) -> None:
        """Forget everything of owners `[N]`. O(S A)."""
        owners = checked_owners(owners, self.num_owners)
        self._evict(np.flatnonzero(self.states.used & np.isin(self.states.owners, owners)))
        self.movements.forget(owners)
        self.movement_changes += 1
        self.times_cleared[owners] += 1

    def known(self, ids: np.ndarray) -> np.ndarray:
        """Whether the outcome of each action in states `[N]` (ids) is remembered. `[N, A]` of bool."""
        return self.strengths(ids) >= FAINTEST

    def strengths(self, ids: np.ndarray) -> np.ndarray:
        """Strength now of every transition from states `[N]` (ids). `[N, A]`."""
        if np.isinf(self.table.half_life):
            return self.table.strength[ids]
        return self.table.strengths(ids, self.clock[self.states.owners[ids]])

    def ids(self) -> np.ndarray:
        """Every state that has a name, ascending. `[N]`."""
        return np.flatnonzero(self.states.used)

    @property
    def visited(self) -> np.ndarray:
        """Which states were met in experience, not only named. `[S]` of bool."""
        return self._seen > 0

    def frontier(self, owner: int = 0) -> np.ndarray:
        """Visited states in which the outcome of some action is unknown. `[N]`, ids."""
        ids = np.flatnonzero(self.visited & (self.states.owners == checked_owners([owner], self.num_owners)))
        return ids[~self.known(ids).all(1)]

    def predecessors(self, state: np.ndarray, owner: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Known ways into a state `[D]`: where from, `[N]` ids, and with which action `[N]`. O(S A)."""
        goal = self.states.find(*self._checked_states(np.asarray(state)[None], np.array([owner])))[0]
        ids = self.ids()
        row, actions = np.nonzero(self.known(ids) & (self.table.next[ids] == goal))
        return ids[row], actions

    def name(self, states: np.ndarray, owners: np.ndarray | None = None) -> np.ndarray:
        """Ids for states `[B, D]`, also for such as were never visited: goals, or what is only imagined. `[B]`."""
        return self._name(*self._checked_states(states, owners))

    @contextmanager
    def only_looking(self) -> Iterator[None]:
        """Take back the names given meanwhile, unless they had to displace others. O(S)."""
        used, free, changes = self.states.used.copy(), self.states.free_order(), self.table.changes
        try:
            yield
        finally:
            if not (used & ~self.states.used).any():
                self._evict(np.flatnonzero(self.states.used & ~used))
                self.states.reorder_free(free)
                self.table.changes = changes  # of what is known nothing has

    def state_dict(self) -> dict[str, Any]:
        """Everything remembered, as tensors of the used rows only, and the order in which ids will be given."""
        ids = self.ids()
        state: dict[str, Any] = {
            "ids": torch.from_numpy(ids),
            "vectors": torch.from_numpy(self.states.vectors[ids]),
            "owners": torch.from_numpy(self.states.owners[ids]),
            "free": torch.from_numpy(self.states.free_order()),
            "seen": torch.from_numpy(self._seen[ids]),
            "clock": torch.from_numpy(self.clock.copy()),
            "writes": torch.tensor(self._writes),
        }
        state |= {f"movements.{name}": value for name, value in self.movements.state_dict().items()}
        return state | self.table.rows(ids)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the memory that `state_dict` described.

        Raises:
            ValueError: If it does not fit this memory's dim, actions, owners or capacity; nothing is changed then.
        """
        arrays = {name: np.asarray(value) for name, value in state.items()}
        ids = arrays["ids"]
        self._check_fits(arrays, ids)
        self._evict(self.ids())
        self.states.restore(arrays["vectors"], arrays["owners"], ids)
        if len(ids) + len(arrays["free"]) == self.states.capacity:  # else it was saved with another capacity
            self.states.reorder_free(arrays["free"])
        self.table.restore(ids, arrays)
        self._seen[ids] = arrays["seen"]
        self.clock[:] = arrays["clock"]
        self._writes = int(arrays["writes"])
        prefix = "movements."
        self.movements.load_state_dict({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
        self.movement_changes += 1
        self.times_cleared += 1

    def _check_fits(self, arrays: dict[str, np.ndarray], ids: np.ndarray) -> None:
        if len(ids) and ids.max() >= self.states.capacity:
            raise ValueError(
                f"a saved state has id {ids.max()}, this memory has room for ids below {self.states.capacity}"
            )
        wanted = {
            "vectors": (len(ids), self.states.dim),
            "next": (len(ids), self.num_actions),
            "clock": self.clock.shape,
            "movements.displacements": self.movements.displacements.shape,
            "movements.begun": self.movements.begun.shape,
        }
        for name, shape in wanted.items():
            if arrays[name].shape != shape:
                raise ValueError(f"saved {name} has shape {arrays[name].shape}, this memory needs {shape}")

    def _write_in_turn(self, ids: np.ndarray, actions: np.ndarray, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
        """Write in rounds that name no cell twice; returns which were new and which refuted. `[B]`, `[B]`."""
        cells = ids.astype(np.int64) * self.num_actions + actions
        now = self.clock[self.states.owners[ids]]
        nth = occurrence(cells)
        new, refuted = np.zeros(len(cells), bool), np.zeros(len(cells), bool)
        for turn in range(nth.max(initial=-1) + 1):
            rows = np.flatnonzero(nth == turn)
            outcomes = {name: values[rows] for name, values in outcome.items()}
            new[rows], refuted[rows] = self.table.write(cells[rows], outcomes, now[rows])
        return new, refuted

    def _learn_movements(
        self, owners: np.ndarray, actions: np.ndarray, ids: np.ndarray, next_ids: np.ndarray, rows: np.ndarray
    ) -> None:
        """Remember the movements of the given rows `[N]`, and notice whether what they make one expect has changed."""
        if len(rows):
            owners, actions, states = owners[rows], actions[rows], self.states.vectors[ids[rows]]
            keys = self.movements.touched(owners, actions, states)
            before, agreed = self.movements.recall_by(keys)
            self.movements.store(owners, actions, states, self.states.vectors[next_ids[rows]])
            after, agree = self.movements.recall_by(keys)
            self.movement_changes += int((before != after).any())
            self.support_changes += int((agreed != agree).any())

    def _name(self, states: np.ndarray, owners: np.ndarray) -> np.ndarray:
        ids = self.states.find(states, owners)
        missing = np.flatnonzero(ids == ABSENT)
        if not len(missing):
            return ids
        if self.same_within > 0:
            states = states.copy()
            states[missing] = self.states.nearest_named(states[missing], owners[missing], self.same_within)
            ids = self.states.find(states, owners)
        missing = np.flatnonzero(ids == ABSENT)
        if len(missing) > self.states.num_free:
            needed = len(first_of_each(states[missing], owners[missing])[0])
            self._evict_for(needed, ids[ids != ABSENT])
        return self.states.add(states, owners)

    def _evict_for(self, needed: int, kept: np.ndarray) -> None:
        """If fewer places are free than needed evict the weakest sixteenth of the states, none of those kept `[N]`."""
        if needed <= self.states.num_free:
            return
        evictable = self.states.used.copy()
        evictable[kept] = False
        candidates = np.flatnonzero(evictable)
        if needed > len(candidates) + self.states.num_free:
            raise ValueError(
                f"one batch names {needed + len(np.unique(kept))} states, the memory has room for "
                f"{self.states.capacity}: raise capacity or write smaller batches"
            )
        strength = self._state_strengths()[candidates]
        weakest_first = candidates[np.lexsort((self._seen[candidates], strength))]
        self._evict(weakest_first[: max(needed - self.states.num_free, self.states.capacity // _SHARE_EVICTED)])

    def _state_strengths(self) -> np.ndarray:
        """Strength of the strongest known transition from or into each state. `[S]`."""
        ids = self.ids()
        strength = self.strengths(ids)  # [N, A]
        strength[strength < FAINTEST] = 0
        strongest = np.zeros(self.states.capacity)
        strongest[ids] = strength.max(1)
        np.maximum.at(strongest, self.table.next[ids][strength > 0], strength[strength > 0])
        return strongest

    def _evict(self, ids: np.ndarray) -> None:
        if len(ids):
            self.table.evict(ids)
            self._seen[ids] = 0
            self.states.remove(ids)

    def _checked_states(self, states: np.ndarray, owners: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return checked_states(states, owners, self.states, self.num_owners)
