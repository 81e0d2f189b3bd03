"""Least costs of many at once, beside one search for each."""

import numpy as np
import pytest

from engram_rl.memory.transitions.shortest_paths import Ways

ACTIONS = 3


def world(rng, owners, costs):
    """Random ways, none of which leads from one owner to another."""
    successor = np.full((len(owners), ACTIONS), -1)
    cost = np.full(successor.shape, np.inf)
    for state, action in zip(*np.nonzero(rng.random(successor.shape) < 0.6), strict=True):
        successor[state, action] = rng.choice(np.flatnonzero(owners == owners[state]))
        cost[state, action] = rng.choice(costs)
    return successor, cost


def slow_costs(successor, cost, goals):
    """Least cost from every state to the nearest goal, by improving all until nothing improves."""
    least = np.where(np.isin(np.arange(len(successor)), goals), 0.0, np.inf)
    for _ in range(len(successor)):
        onward = np.where(successor >= 0, cost + least[successor], np.inf)
        least = np.minimum(least, onward.min(1))
    return least


@pytest.mark.parametrize("costs", [[1.0], [1.0, 1.5, 4.0]])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_costs_are_those_of_each_search_alone(costs, alone, seed):
    rng = np.random.default_rng(seed)
    num_owners = int(rng.integers(1, 5))
    owners = rng.permutation(np.repeat(np.arange(num_owners), rng.integers(1, 9)))
    ways = Ways(*(tables := world(rng, owners, costs)))
    whose = rng.permutation(num_owners) if alone else rng.integers(0, num_owners, 3)
    starts = np.array([rng.choice(np.flatnonzero(owners == owner)) for owner in whose])
    row, states, least = ways.reached_from(starts, owners)
    assert (np.diff(row * len(owners) + states) > 0).all()
    reached = np.full((len(starts), len(owners)), np.inf)
    reached[row, states] = least
    there = np.arange(len(owners))
    assert np.allclose(reached, [[slow_costs(*tables, [goal])[start] for goal in there] for start in starts])
    goals = np.stack([starts, np.full(len(starts), -1)], 1)
    goals[0, 1] = rng.choice(np.flatnonzero(owners == whose[0]) if alone else there)
    assert np.allclose(ways.costs_to(goals, owners), [slow_costs(*tables, of[of >= 0]) for of in goals])


def test_where_nothing_is_known_only_the_start_is_reached():
    ways = Ways(np.full((3, 2), -1), np.full((3, 2), np.inf))
    row, states, costs = ways.reached_from(np.array([2]), np.zeros(3, int))
    assert (row.tolist(), states.tolist(), costs.tolist()) == ([0], [2], [0])
    assert ways.costs_to(np.array([[1]]), np.zeros(3, int)).tolist() == [[np.inf, 0, np.inf]]
    assert [len(part) for part in ways.reached_from(np.zeros(0, int), np.zeros(3, int))] == [0, 0, 0]
