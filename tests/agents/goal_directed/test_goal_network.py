"""What the fast half learns from: rows, each once, of states beside goals; and the steps of episodes that are open."""

import numpy as np
import pytest

from engram_rl.agents.goal_directed.goal_network import EpisodeTrace, GoalNetwork
from engram_rl.agents.goal_directed.perceptron import Perceptron
from engram_rl.agents.goal_directed.visits import EpisodeVisits
from engram_rl.memory import checks


class Noting:
    """Notes what it is to learn; the loss of a minibatch is its first number."""

    def __init__(self) -> None:
        self.learned: list[tuple[np.ndarray, np.ndarray]] = []

    def learn(self, inputs, classes):
        self.learned.append((inputs, classes))
        return float(inputs[0, 0])


@pytest.mark.parametrize(("number", "batches"), [(1, [1]), (8, [4, 4]), (10, [4, 4, 2])])
def test_each_row_is_learned_once_in_a_random_order_and_the_loss_is_the_mean_of_all(number, batches):
    noting, rng = Noting(), np.random.default_rng(0)
    states, goals, actions = rng.normal(size=(number, 2)), rng.normal(size=(number, 2)), np.arange(number)
    goals[::2, 1] = np.nan
    loss = GoalNetwork(noting, 4, rng).learn(states, goals, actions)
    assert [len(classes) for _, classes in noting.learned] == batches
    order = np.concatenate([classes for _, classes in noting.learned])
    assert sorted(order) == list(range(number)) and (number < 8 or order.tolist() != sorted(order))
    expected = np.concatenate([states, np.nan_to_num(goals)], 1)[order]
    assert np.concatenate([inputs for inputs, _ in noting.learned]) == pytest.approx(expected)
    firsts = [inputs[0, 0] for inputs, classes in noting.learned for _ in classes]
    assert loss == pytest.approx(np.mean(firsts))


def test_what_a_goal_leaves_open_counts_as_nothing():
    network = GoalNetwork(Perceptron([4, 3], np.random.default_rng(0), 1e-3), 4, np.random.default_rng(0))
    states, goals = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, np.nan], [np.nan, np.nan]])
    expected = network.network.probabilities(np.array([[1, 2, 5, 0], [3, 4, 0, 0]], np.float32))
    assert network.probabilities(states, goals).tolist() == expected.tolist()


def test_a_restored_network_shuffles_and_learns_on_as_it_would_have():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(9, 2)), rng.normal(size=(9, 2)), rng.integers(0, 3, 9)
    one, other = (
        GoalNetwork(Perceptron([4, 3], np.random.default_rng(seed), 1e-2), 4, np.random.default_rng(seed))
        for seed in (0, 1)
    )
    one.learn(*rows)
    other.load_state_dict(one.state_dict())
    assert [one.learn(*rows) for _ in range(3)] == [other.learn(*rows) for _ in range(3)]


def test_a_trace_holds_the_steps_of_the_open_episodes_however_long_they_are():
    rng, trace, kept = np.random.default_rng(0), EpisodeTrace(3, 2), [[], [], []]
    for number in range(300):
        states, actions = rng.normal(size=(3, 2)).astype(np.float32), rng.integers(0, 5, 3)
        trace.add(states, actions)
        for env in range(3):
            kept[env].append((env, *states[env], actions[env]))
        if number % 90 == 70:
            trace.clear(np.array([1, 2]))
            kept[1:] = [[], []]
        if number % 50 == 40:
            saved, copied = trace.state_dict(), EpisodeTrace(3, 2)
            copied.load_state_dict(saved)
            trace.add(states, actions)
            trace = copied
            assert (saved["states"].shape, saved["actions"].shape) == ((3, len(kept[0]), 2), (3, len(kept[0])))
            assert saved["length"].tolist() == list(map(len, kept))
        for envs in ([0, 1, 2], [2, 0]) if number % 7 == 0 else []:
            row, earlier, taken = trace.rows(np.array(envs))
            assert [*zip(row, *earlier.T, taken, strict=True)] == [step for env in envs for step in kept[env]]
    assert len(kept[0]) == 300


def test_an_empty_trace_has_no_rows_and_comes_back_empty():
    trace = EpisodeTrace(2, 3)
    for _ in range(2):
        env, states, actions = trace.rows(np.arange(2))
        assert (env.shape, states.shape, actions.shape) == ((0,), (0, 3), (0,))
        trace.load_state_dict(trace.state_dict())
    trace.add(np.ones((2, 3)), np.array([1, 0]))
    assert trace.rows(np.arange(2))[2].tolist() == [1, 0]


def test_visits_are_counted_by_environment_episode_state_and_action():
    rng, visits, counts = np.random.default_rng(0), EpisodeVisits(5, 2, 3), np.zeros((3, 5, 2), int)
    for number in range(200):
        states, actions = rng.integers(0, 5, 3), rng.integers(0, 2, 3)
        assert visits.of(states).tolist() == counts[np.arange(3), states].tolist()
        visits.count(states, actions)
        counts[np.arange(3), states, actions] += 1
        ended = np.flatnonzero(rng.random(3) < 0.1)
        visits.begin_episodes(ended)
        counts[ended] = 0
        if number % 20 == 10:
            saved, visits = visits.state_dict(), EpisodeVisits(5, 2, 3)
            visits.count(np.array([4, 4, 4]), np.array([0, 0, 0]))  # nothing of this is left
            visits.load_state_dict(saved)


def test_what_was_visited_before_a_state_was_restored_does_not_count():
    visits = EpisodeVisits(3, 2, 1)
    fresh = visits.state_dict()
    visits.count(np.array([1]), np.array([0]))
    visits.load_state_dict(fresh)
    assert visits.of(np.array([1])).tolist() == [[0, 0]] and not len(visits.state_dict()["env"])


def test_visits_are_counted_where_four_bytes_for_each_action_and_four_more_fit(monkeypatch):
    visits = EpisodeVisits(100, 5, 3)
    taken = visits._counts.nbytes + visits._counted_in.nbytes
    monkeypatch.setattr(checks, "ram", lambda device: taken)
    EpisodeVisits(100, 5, 3)
    monkeypatch.setattr(checks, "ram", lambda device: taken - 1)
    with pytest.raises(ValueError, match=r"5 actions in 100 states of 3 env.*; lower agent.memory.capacity or"):
        EpisodeVisits(100, 5, 3)
