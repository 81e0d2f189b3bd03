"""Least costs over tables of successors, from states and to sets of states: breadth first where all ways cost 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Ways:
    """What leads where, for least costs from states and to sets of states.

    Dijkstra's search is one for each state or set. Where every way costs 1, and each is another owner's, one that goes
    breadth first finds what all of them reach, at a quarter of the price.

    Args:
        successor: Where each action leads. `[N, A]`
        cost: What it costs; inf where it leads nowhere. `[N, A]`
    """

    def __init__(self, successor: np.ndarray, cost: np.ndarray) -> None:
        self._onward = _graph(successor, cost)  # [N, N]
        self._back = self._onward.T.tocsr()
        self._even = bool((self._onward.data == 1).all())

    def reached_from(self, starts: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What can be reached from each of E states, itself included, and at which least cost.

        Args:
            starts: The states. `[E]`
            owners: Of all states; none can be reached from one of another. `[N]`

        Returns:
            From which of the starts, which state, and the cost; by start, then by state. `[R]` each
        """
        from scipy.sparse.csgraph import dijkstra  # here and not above: not everyone who imports `memory` plans

        if self._even and _differ(owners[starts]):
            states, steps = _breadth_first(self._onward, starts)
            row = _which(owners[starts])[owners[states]]
            order = np.lexsort((states, row))
            return row[order], states[order], steps[order]
        costs = dijkstra(self._onward, indices=starts)
        row, states = np.nonzero(np.isfinite(costs))
        return row, states, costs[row, states]

    def costs_to(self, goals: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Least cost from every state to the nearest of each set of goals; inf where there is no way.

        Args:
            goals: G sets of states, each with its states first and -1 behind them. `[G, n]`
            owners: As in `reached_from`.

        Returns:
            `[G, N]`
        """
        given, whose = goals >= 0, owners[goals[:, 0]]  # [G, n], [G]
        if self._even and _differ(whose) and (~given | (owners[goals] == whose[:, None])).all():
            states, steps = _breadth_first(self._back, goals[given])
            costs = np.full((len(goals), len(owners)), np.inf)
            costs[_which(whose)[owners[states]], states] = steps
            return costs
        return self._each_entered(goals, given)

    def _each_entered(self, goals: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Costs backwards by a search for each set, which is entered at a node of its own. `[G, N]`."""
        from scipy.sparse.csgraph import dijkstra

        back, nodes = self._back, self._back.shape[0]
        indices = np.concatenate([back.indices, goals[given]])
        weights = np.concatenate([back.data, np.ones(len(indices) - back.nnz)])
        ends = back.indptr[-1] + np.cumsum(given.sum(1))
        entered = _sparse(weights, indices, np.concatenate([back.indptr, ends]))
        return dijkstra(entered, indices=nodes + np.arange(len(goals)))[:, :nodes] - 1


def _breadth_first(graph: csr_array, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What can be reached from any of states `[E]`, and in how many steps from the nearest. `[R]`, `[R]` of float64."""
    from scipy.sparse.csgraph import breadth_first_order

    nodes, ways = graph.shape[0], graph.nnz + len(starts)  # and a node that leads to all starts
    indices, ends = np.concatenate([graph.indices, starts]), np.concatenate([graph.indptr, [ways]])
    order, came_from = breadth_first_order(_sparse(np.ones(ways), indices, ends), nodes)
    position = np.empty(nodes + 1, np.int64)
    position[order] = np.arange(len(order))
    parents = position[came_from[order[1:]]]  # ascending
    waves = [1]  # where each begins that is a step farther
    while waves[-1] < len(order):
        waves.append(1 + int(np.searchsorted(parents, waves[-1])))
    return order[1:], np.repeat(np.arange(len(waves) - 1.0), np.diff(waves))


def _differ(owners: np.ndarray) -> bool:
    return len(np.unique(owners)) == len(owners)


def _which(owners: np.ndarray) -> np.ndarray:
    """By owner, which of these distinct ones it is. `[E]` -> `[O]`."""
    which = np.zeros(owners.max(initial=-1) + 1, np.int64)
    which[owners] = np.arange(len(owners))
    return which


def _graph(successor: np.ndarray, cost: np.ndarray) -> csr_array:
    """From each state to those that an action leads to. `[N, N]` from `[N, A]`s."""
    edge = np.isfinite(cost)
    return _sparse(cost[edge], successor[edge], np.concatenate([[0], np.cumsum(edge.sum(1))]))


def _sparse(costs: np.ndarray, successors: np.ndarray, ends: np.ndarray) -> csr_array:
    """A graph by rows, of `[W]` ways in all; of 32-bit numbers, as graph searches before SciPy 1.15 take no others."""
    from scipy.sparse import csr_array

    nodes = len(ends) - 1
    return csr_array((costs, successors.astype(np.int32), ends.astype(np.int32)), shape=(nodes, nodes))
