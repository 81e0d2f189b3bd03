"""Seeds and actions of environments that go their own ways, for as long as they go."""

import numpy as np
import pytest

from engram_rl.training.distributed.history import History


def test_each_environment_has_its_own_number_of_actions_since_its_reset():
    history = History(np.zeros((3, 2), np.float32))
    assert history.seeds == [None] * 3 and history.counts.tolist() == [0, 0, 0] and history.actions.shape == (0, 3, 2)
    history.begin(np.array([0, 2]), [7, None])
    history.add(np.array([0, 2]), np.array([[1, 2], [3, 4]]))
    history.add(np.array([2]), np.array([[5, 6]]))
    assert history.seeds == [7, None, None] and history.counts.tolist() == [1, 0, 2]
    assert history.actions.dtype == np.float32 and history.actions.shape == (2, 3, 2)
    assert history.last().tolist() == [[1, 2], [0, 0], [5, 6]]
    history.begin(np.array([2]), [9])
    assert history.seeds == [7, None, 9] and history.counts.tolist() == [1, 0, 0]
    history.add(np.array([2]), np.array([[8, 9]]))
    assert history.last()[2].tolist() == [8, 9]


def test_as_many_seeds_as_environments_are_begun():
    with pytest.raises(ValueError, match="shorter"):
        History(np.zeros(3)).begin(np.arange(2), [1])


@pytest.mark.parametrize("steps", [1023, 1024, 1025, 2049, 5000])
def test_it_holds_any_number_of_actions(steps):
    history = History(np.zeros(2, np.int64))
    for number in range(steps):
        history.add(np.array([0, 1]), np.array([number, -number]))
    assert history.actions.tolist() == [[number, -number] for number in range(steps)]


@pytest.mark.parametrize("steps", [0, 3, 1024, 3000])
def test_what_was_saved_goes_on_elsewhere_and_changes_neither(steps):
    history = History(np.zeros((2, 1), np.int64))
    history.begin(np.arange(2), [3, 4])
    for number in range(steps):
        history.add(np.arange(2), np.array([[number], [number + 1]]))
    state = history.state_dict()
    other = History(np.ones((2, 1), np.int64))
    other.load_state_dict(state)
    for one in (history, other):
        one.begin(np.array([1]), [5])
        for number in range(7):
            one.add(np.array([0]), np.array([[-number]]))
    assert history.seeds == other.seeds == [3, 5] and state["seeds"] == [3, 4]
    assert history.counts.tolist() == other.counts.tolist() == [steps + 7, 0]
    assert state["counts"].tolist() == [steps, steps] and state["actions"].shape == (steps, 2, 1)
    assert history.actions[:, 0].tolist() == other.actions[:, 0].tolist()
    assert len(other._actions) >= 1024  # so many more before it has to grow


@pytest.mark.parametrize("shape", [(3, 2), (2,), (2, 3), (2, 2, 1)])
def test_the_history_of_others_is_refused(shape):
    other = History(np.zeros(shape))
    with pytest.raises(
        ValueError, match=rf"took actions of shape \({', '.join(map(str, shape))},?\), these take \(2, 2\)"
    ):
        History(np.zeros((2, 2))).load_state_dict(other.state_dict())
