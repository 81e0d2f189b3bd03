"""Dijkstra over tables of successors: least costs from states, and to sets of states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Ways:
    """What leads where, for least costs from states and to sets of states.

    Args:
        successor: Where each action leads. `[N, A]`
        cost: What it costs; inf where it leads nowhere. `[N, A]`
    """

    def __init__(self, successor: np.ndarray, cost: np.ndarray) -> None:
        self._onward = _graph(successor, cost)  # [N, N]
        self._back = self._onward.T.tocsr()

    def costs_from(self, starts: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Least cost from each of E states to every state; inf where there is no way.

        Args:
            starts: The states. `[E]`
            owners: Of all states; none can be reached from one of another. `[N]`

        Returns:
            `[E, N]`
        """
        return _cheapest(self._onward, starts, owners[starts], owners)

    def costs_to(self, goals: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Least cost from every state to the nearest of each set of goals: backwards, each set entered at its own node.

        Args:
            goals: G sets of states, each with its states first and -1 behind them. `[G, n]`
            owners: As in `costs_from`.

        Returns:
            `[G, N]`
        """
        from scipy.sparse import csr_array

        back, nodes, given = self._back, self._back.shape[0], goals >= 0
        indices = np.concatenate([back.indices, goals[given]])
        weights = np.concatenate([back.data, np.ones(len(indices) - back.nnz)])
        ends = back.indptr[-1] + np.cumsum(given.sum(1))
        shape = (nodes + len(goals), nodes + len(goals))
        entered = csr_array((weights, indices, np.concatenate([back.indptr, ends])), shape=shape)
        whose = owners[goals[:, 0]]  # [G]
        mixed = (given & (owners[goals] != whose[:, None])).any()
        return _cheapest(entered, nodes + np.arange(len(goals)), None if mixed else whose, owners) - 1


def _cheapest(graph: csr_array, starts: np.ndarray, whose: np.ndarray | None, owners: np.ndarray) -> np.ndarray:
    """Costs from each start `[G]` to the first N nodes, which are states of owners `[N]`. `[G, N]`.

    Where each start is known to be of another owner, `whose` `[G]`, one pass finds the costs from all of them: what a
    node costs is its way from the start of its owner.
    """
    from scipy.sparse.csgraph import dijkstra  # here and not above: not everyone who imports `memory` plans

    if whose is None or len(np.unique(whose)) < len(starts):
        return dijkstra(graph, indices=starts)[:, : len(owners)]
    costs = dijkstra(graph, indices=starts, min_only=True)[: len(owners)]
    return np.where(whose[:, None] == owners, costs, np.inf)


def _graph(successor: np.ndarray, cost: np.ndarray) -> csr_array:
    """From each state to those that an action leads to. `[N, N]` from `[N, A]`s."""
    from scipy.sparse import csr_array

    edge = np.isfinite(cost)
    starts = np.concatenate([[0], np.cumsum(edge.sum(1))])
    return csr_array((cost[edge], successor[edge], starts), shape=(len(successor),) * 2)
