"""What a batch of experience must look like before a transition memory takes it in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engram_rl.memory.checks import whole
from engram_rl.memory.transitions.states import ABSENT, StateTable
from engram_rl.memory.transitions.table import Outcome

MOST_DECIMALS = 30
"""Places behind the point that a float32 has numbers for."""


def checked_states(
    states: np.ndarray, owners: np.ndarray | None, table: StateTable, num_owners: int
) -> tuple[np.ndarray, np.ndarray]:
    """States `[B, D]` as the table compares them, and their owners `[B]`: 0 where none are given."""
    states = np.asarray(states)
    if states.ndim != 2 or states.shape[1] != table.dim:
        raise ValueError(f"states must be [B, {table.dim}], got {list(states.shape)}")
    if states.dtype.kind not in "biufO":
        raise ValueError(f"states must be real numbers, got {states.dtype}")
    given, states = states, table.canonical(states)
    if given.dtype.kind in "iu":
        with np.errstate(invalid="ignore"):  # what is rounded up to what the type cannot hold differs too
            rounded = given[states.astype(given.dtype) != given]
        if len(rounded):
            raise ValueError(
                f"states hold the integer {rounded[0]}, which {states.dtype} would round, so that it would be taken "
                "for others; take away what all have in common, or give it as two numbers"
            )
    if not np.isfinite(states).all():
        raise ValueError("states hold NaN or infinite numbers: such a state could never be found again")
    owners = np.zeros(len(states), np.int64) if owners is None else np.asarray(owners)
    if owners.shape != (len(states),) or not _within(owners, num_owners):
        raise ValueError(f"owners must be [{len(states)}] integers below {num_owners}, got {owners}")
    return states, owners


def checked_owners(owners: np.ndarray | Sequence[int], num_owners: int) -> np.ndarray:
    """Owners `[N]`."""
    owners = np.asarray(owners)
    if owners.size and (owners.ndim != 1 or not _within(owners, num_owners)):
        raise ValueError(f"owners must be [N] integers below {num_owners}, got {owners}")
    return owners.astype(np.int64)


def checked_ids(name: str, ids: np.ndarray, capacity: int, *, nobody: bool = False) -> np.ndarray:
    """Ids of states `[N]`, as `TransitionMemory.name` gives them; `nobody` says whether -1 may stand for none."""
    ids = np.asarray(ids)
    if ids.ndim != 1 or (ids.size and not _within(ids, capacity, ABSENT if nobody else 0)):
        raise ValueError(f"{name} must be [N] ids of states, integers below {capacity}, got {ids}")
    return ids.astype(np.int64, copy=False)


def checked_actions(actions: np.ndarray, batch: int, num_actions: int) -> np.ndarray:
    """Actions `[B]`."""
    actions = np.asarray(actions)
    if actions.shape != (batch,) or not _within(actions, num_actions):
        raise ValueError(f"actions must be [{batch}] integers below {num_actions}, got {actions}")
    return actions


def checked_outcome(
    batch: int, rewards: np.ndarray | float, terminals: np.ndarray | bool, harms: np.ndarray | float
) -> Outcome:
    """What came of B experiences, all but the next state."""
    ends = np.asarray(terminals)
    if ends.dtype.kind not in "biuf" or np.isnan(ends.astype(np.float64)).any():
        raise ValueError(f"terminal must be one truth value or [{batch}] of them, got {terminals!r}")
    outcome = {
        "reward": np.asarray(rewards, np.float32),
        "terminal": ends.astype(bool),
        "harm": np.asarray(harms, np.float32),
    }
    for name, value in outcome.items():
        if value.shape not in ((), (batch,)) or not np.isfinite(value).all():
            raise ValueError(f"{name} must be one finite number or [{batch}] of them, got {value}")
    return {name: np.broadcast_to(value, (batch,)) for name, value in outcome.items()}


def _within(numbers: np.ndarray, limit: int, least: int = 0) -> bool:
    """Whether all are integers from the least to below the limit."""
    return numbers.dtype.kind in "iu" and bool(((numbers >= least) & (numbers < limit)).all())


def check_settings(half_life: float, keep_refuted: float, same_within: float, decimals: int | None) -> None:
    """Raise what is wrong with the settings of a transition memory."""
    if decimals is not None:
        whole("decimals", decimals, -(2**31))
    if not half_life > 0:
        raise ValueError(f"half_life must be above 0 ticks (infinite: nothing fades), got {half_life}")
    if not 0 <= keep_refuted < 1:
        raise ValueError(f"keep_refuted must be in [0, 1), got {keep_refuted}")
    if not 0 <= same_within < np.inf:
        raise ValueError(f"same_within must be a distance >= 0, got {same_within}")
    if decimals is not None and not 0 <= decimals <= MOST_DECIMALS:
        raise ValueError(f"decimals must be None, or from 0 to {MOST_DECIMALS}, got {decimals}")
