"""How well an agent follows targets that shift: pure functions of what each episode cost.

Every array has episodes on its last axis, `[..., E]`, and any axes before it (runs). A *cost* is what an episode took,
mostly its steps; the *optimum* is what the same episode takes at best, so both may differ from episode to episode.
`shifts` are the episodes at which a new task begins, in order, the first episode of all not among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike


def regret(cost: ArrayLike, optimum: ArrayLike) -> np.ndarray:
    """What the whole run cost above the optimum (the shortest path with obstacles). `[...]`."""
    return dynamic_regret(cost, optimum)[..., -1]


def solve_rate(solved: ArrayLike) -> np.ndarray:
    """The share of episodes solved. `[...]`."""
    return np.asarray(solved, dtype=np.float64).mean(axis=-1)


def dynamic_regret(cost: ArrayLike, optimum: ArrayLike) -> np.ndarray:
    """The cost so far above the optimum of each moment, which moves with the target. `[..., E]`."""
    costs, optima = _aligned(cost, optimum)
    return np.cumsum(costs - optima, axis=-1)


def regret_after_shift(cost: ArrayLike, optimum: ArrayLike, shifts: Sequence[int], window: int = 5) -> np.ndarray:
    """The cost above the optimum in the first `window` episodes after the first shift. `[...]`, NaN without a shift."""
    costs, optima = _aligned(cost, optimum)
    if not len(shifts):
        return np.full(costs.shape[:-1], np.nan)
    after = slice(shifts[0], shifts[0] + window)
    return (costs - optima)[..., after].sum(axis=-1)


def post_shift_area(
    cost: ArrayLike, random: ArrayLike, limit: ArrayLike, shifts: Sequence[int], window: int = 10
) -> np.ndarray:
    """How much of what can be gained over random was gained just after the shifts: 1 at the limit, 0 at random.

    `(random - cost) / (random - limit)`, each summed over the first `window` episodes after every shift (fewer where
    the next shift comes sooner); summed before dividing, since a single episode may start beside its goal.

    Returns:
        `[...]`, NaN without a shift.
    """
    costs, bad, good = _aligned(cost, random, limit)
    after = np.zeros(costs.shape[-1], dtype=bool)
    for start, end in _tasks(shifts, costs.shape[-1])[1:]:
        after[start : min(start + window, end)] = True
    gained = (bad - costs)[..., after].sum(axis=-1)
    possible = (bad - good)[..., after].sum(axis=-1)
    return np.divide(gained, possible, out=np.full_like(gained, np.nan), where=possible != 0)


def recovery(
    cost: ArrayLike, limit: ArrayLike, shifts: Sequence[int], *, tolerance: float = 1.25, streak: int = 3
) -> np.ndarray:
    """How many episodes pass after each shift before `streak` episodes in a row cost at most `tolerance` x the limit.

    0 means recovered at once. The measure is absolute, not relative to the level before the shift: a flat bad curve
    never recovers. The streak has to end before the next shift; otherwise the recovery is censored.

    Returns:
        `[..., S]`, `inf` where censored, NaN where the task is shorter than a streak, so that nobody could recover.
    """
    costs, limits = _aligned(cost, limit)
    within = costs <= tolerance * limits  # [..., E]
    found = [_first_streak(within[..., start:end], streak) for start, end in _tasks(shifts, costs.shape[-1])[1:]]
    return np.stack(found, axis=-1) if found else np.empty((*costs.shape[:-1], 0))


def savings(cost: ArrayLike, optimum: ArrayLike, task_index: Sequence[int], window: int = 5) -> np.ndarray:
    """What knowing a target from before saves when it returns: 1 - regret on return / regret when it was new.

    Ebbinghaus' savings, over the first `window` episodes of the tasks. 1: nothing is relearned. 0: as if it were new.

    Args:
        cost: `[..., E]`
        optimum: `[..., E]`
        task_index: Which target each episode has; an earlier number that comes back is a return. `[E]`
        window: Episodes from the start of a task that are compared.

    Returns:
        One number per return, `[..., returns]`; NaN where learning it the first time cost nothing.
    """
    costs, optima = _aligned(cost, optimum)
    above = costs - optima  # [..., E]
    targets = np.asarray(task_index)
    first_cost: dict[int, np.ndarray] = {}
    saved = []
    for start, end in _tasks(shift_episodes(targets), len(targets)):
        paid = above[..., start : min(start + window, end)].mean(axis=-1)
        before = first_cost.setdefault(int(targets[start]), paid)
        if before is not paid:
            saved.append(1 - np.divide(paid, before, out=np.full_like(paid, np.nan), where=before != 0))
    return np.stack(saved, axis=-1) if saved else np.empty((*costs.shape[:-1], 0))


def first_on_return(cost: ArrayLike, targets: Sequence[int], task_index: Sequence[int]) -> np.ndarray:
    """What the first episode costs after the target has shifted back to where it was under an earlier task, on average.

    Args:
        cost: `[..., E]`
        targets: Where the target is, by number. `[E]`
        task_index: How often it has shifted. `[E]`

    Returns:
        `[...]`, NaN where it never came back.
    """
    costs, numbers = np.asarray(cost, dtype=np.float64), list(targets)
    returns = [shift for shift in shift_episodes(task_index) if numbers[shift] in numbers[:shift]]
    return costs[..., returns].mean(axis=-1) if returns else np.full(costs.shape[:-1], np.nan)


def after_find(cost: ArrayLike, optimum: ArrayLike, solved: ArrayLike, shifts: Sequence[int]) -> float:
    """What the episode after the first one solved since a shift costs, over what it costs at best; all shifts together.

    Near 1, finding the target once was enough to know where it is.

    Args:
        cost: Of one run. `[E]`
        optimum: `[E]`
        solved: Whether the task was done. `[E]`
        shifts: Episodes at which a task begins.

    Returns:
        NaN if no task but the first has an episode after a solved one.
    """
    costs, optima = _aligned(cost, optimum)
    done, following = np.asarray(solved, dtype=bool), []
    for start, end in _tasks(shifts, len(costs))[1:]:
        found = start + np.flatnonzero(done[start : end - 1])[:1]
        following += (found + 1).tolist()
    return float(costs[following].sum() / optima[following].sum()) if following else np.nan


def plateau(cost: ArrayLike, limit: ArrayLike, shifts: Sequence[int], tail: int = 10) -> np.ndarray:
    """The level that each task settles at: cost / limit over its last `tail` episodes; 1 is the limit.

    Returns:
        `[..., S + 1]`: before the first shift, and after each.
    """
    costs, limits = _aligned(cost, limit)
    ends = [slice(max(start, end - tail), end) for start, end in _tasks(shifts, costs.shape[-1])]
    return np.stack([costs[..., end].sum(axis=-1) / limits[..., end].sum(axis=-1) for end in ends], axis=-1)


def shift_episodes(task_index: ArrayLike) -> list[int]:
    """The episodes whose task differs from the one before. `[E]` -> `[S]`."""
    return (np.flatnonzero(np.diff(np.asarray(task_index))) + 1).tolist()


def _tasks(shifts: Sequence[int], episodes: int) -> list[tuple[int, int]]:
    """(first episode, one past the last) of each task."""
    edges = [0, *shifts, episodes]
    if any(later <= earlier for earlier, later in pairwise(edges)):
        raise ValueError(
            f"shifts {list(shifts)}: give episodes in rising order, above 0 and below the {episodes} played"
        )
    return list(pairwise(edges))


def _first_streak(within: np.ndarray, streak: int) -> np.ndarray:
    """Where the first `streak` trues in a row begin. `[..., E]` -> `[...]`, inf if nowhere, NaN if E < `streak`."""
    if within.shape[-1] < streak:
        return np.full(within.shape[:-1], np.nan)
    full = sliding_window_view(within, streak, axis=-1).all(axis=-1)  # [..., E - streak + 1]
    return np.where(full.any(axis=-1), full.argmax(axis=-1), np.inf)


def _aligned(*arrays: ArrayLike) -> list[np.ndarray]:
    """The arrays in float64, broadcast against each other, episodes last."""
    given = [np.asarray(array, dtype=np.float64) for array in arrays]
    episodes = {array.shape[-1] if array.ndim else 0 for array in given}
    if len(episodes) != 1 or 0 in episodes:
        shapes = ", ".join(str(array.shape) for array in given)
        raise ValueError(f"arrays of shapes {shapes}: give each as [..., episodes] with the same number of episodes")
    return list(np.broadcast_arrays(*given))
