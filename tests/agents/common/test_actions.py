"""Actions are counted, and come back as the environment takes them."""

import numpy as np
import pytest
from gymnasium import spaces

from engram_rl.agents.common.actions import Actions


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3, 2]),
        spaces.MultiDiscrete([3]),
        spaces.MultiDiscrete([[2, 3], [2, 2]], start=[[0, -1], [5, 0]]),
    ],
)
def test_every_action_has_one_number_and_comes_back(space):
    actions = Actions(space, "NEC")
    named = actions.named(np.arange(actions.count))
    assert all(space.contains(np.asarray(action, dtype=space.dtype)) for action in named)
    assert len(np.unique(named.reshape(actions.count, -1), axis=0)) == actions.count
    assert actions.numbered(named).tolist() == list(range(actions.count))


def test_the_count_is_that_of_all_combinations():
    assert Actions(spaces.MultiDiscrete([2, 3, 2]), "NEC").count == 12


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, (2,)), "NEC chooses among Discrete or MultiDiscrete actions.*Box"),
        (spaces.MultiDiscrete([50, 50]), "2500, at most 512"),
    ],
)
def test_what_cannot_be_counted_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        Actions(space, "NEC")
