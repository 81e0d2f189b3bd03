"""Dijkstra over tables of successors: least costs from states, and to sets of states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def costs_from(successor: np.ndarray, cost: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Least cost from each of E states to every state; inf where there is no way.

    Args:
        successor: Where each action leads. `[N, A]`
        cost: What it costs; inf where it leads nowhere. `[N, A]`
        starts: The states. `[E]`

    Returns:
        `[E, N]`
    """
    return _cheapest(_graph(successor, cost), starts)


def costs_to(successor: np.ndarray, cost: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Least cost from every state to the nearest of each set of goals: backwards, each set entered at its own node.

    Args:
        successor: See `costs_from`. `[N, A]`
        cost: See `costs_from`. `[N, A]`
        goals: G sets of states, each with its states first and -1 behind them. `[G, n]`

    Returns:
        `[G, N]`
    """
    from scipy.sparse import csr_array

    nodes = len(successor)
    graph = _graph(successor, cost).T.tocsr()  # the ways back
    given = goals >= 0
    indices = np.concatenate([graph.indices, goals[given]])
    weights = np.concatenate([graph.data, np.ones(len(indices) - graph.nnz)])
    ends = graph.indptr[-1] + np.cumsum(given.sum(1))
    shape = (nodes + len(goals), nodes + len(goals))
    entered = csr_array((weights, indices, np.concatenate([graph.indptr, ends])), shape=shape)
    return _cheapest(entered, nodes + np.arange(len(goals)))[:, :nodes] - 1


def _cheapest(graph: csr_array, starts: np.ndarray) -> np.ndarray:
    """Costs from each start to every node. `[G, N]`."""
    from scipy.sparse.csgraph import dijkstra  # here and not above: not everyone who imports `memory` plans

    return dijkstra(graph, indices=starts)


def _graph(successor: np.ndarray, cost: np.ndarray) -> csr_array:
    """From each state to those that an action leads to. `[N, N]` from `[N, A]`s."""
    from scipy.sparse import csr_array

    edge = np.isfinite(cost)
    starts = np.concatenate([[0], np.cumsum(edge.sum(1))])
    return csr_array((cost[edge], successor[edge], starts), shape=(len(successor),) * 2)
