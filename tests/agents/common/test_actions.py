"""Actions are counted, and come back as the environment takes them."""

import numpy as np
import pytest
from gymnasium import spaces

from engram_rl.agents.common.actions import Actions, require_discrete, require_mask


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


def test_as_many_as_can_be_searched_in_a_step_are_taken():
    assert Actions(spaces.Discrete(512), "NEC").count == Actions(spaces.MultiDiscrete([8] * 3), "NEC").count == 512


def test_the_count_is_that_of_all_combinations():
    assert Actions(spaces.MultiDiscrete([2, 3, 2]), "NEC").count == 12


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, (2,)), "NEC chooses among Discrete or MultiDiscrete actions.*Box"),
        (spaces.MultiDiscrete([50, 50]), "2500, at most 512"),
        (spaces.Discrete(513), "513, at most 512"),
    ],
)
def test_what_cannot_be_counted_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        Actions(space, "NEC")


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([2, 3, 2])])
def test_a_combination_is_allowed_where_all_its_parts_are(space):
    actions, sizes = Actions(space, "NEC"), [space.n] if isinstance(space, spaces.Discrete) else space.nvec.tolist()
    rng, envs = np.random.default_rng(0), 20
    parts = [rng.random((envs, size)) < 0.5 for size in sizes]
    for part in parts:
        part[:, 0] = True
    named = actions.named(np.arange(actions.count)).reshape(actions.count, -1)
    allowed = actions.allowed(np.concatenate(parts, axis=1), envs)
    for env in range(envs):
        expected = [all(part[env, code] for part, code in zip(parts, one, strict=True)) for one in named]
        assert allowed[env].tolist() == expected
    assert actions.allowed(None, envs) is None


@pytest.mark.parametrize("mask", [np.ones((2, 3), bool), np.ones((3, 4), bool), np.ones(4, bool)])
def test_a_mask_of_another_shape_is_refused_with_both_shapes(mask):
    shape = str(mask.shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=rf"The action mask has shape {shape}; it must be \(2, 4\)"):
        require_mask(mask, 2, 4)


def test_a_mask_that_allows_nothing_is_refused_by_its_environment_also_where_one_part_alone_allows_nothing():
    with pytest.raises(ValueError, match="action mask of environment 1 allows no action at all"):
        require_mask(np.array([[1, 0], [0, 0], [0, 0]]), 3, 2)
    with pytest.raises(ValueError, match="action mask of environment 0 allows no action at all"):
        Actions(spaces.MultiDiscrete([2, 2]), "NEC").allowed(np.array([[1, 1, 0, 0]]), 1)
    assert require_mask([[1, 0], [0, 2]], 2, 2).tolist() == [[True, False], [False, True]]


def test_agents_that_count_from_zero_take_only_discrete_actions_that_do():
    assert require_discrete(spaces.Discrete(4), "Episodic planning") == 4
    for start in (1, -1):
        with pytest.raises(ValueError, match=f"counts actions from 0, but this environment's start at {start}"):
            require_discrete(spaces.Discrete(4, start=start), "Episodic planning")
    with pytest.raises(ValueError, match="chooses among Discrete actions, but this environment has MultiDiscrete"):
        require_discrete(spaces.MultiDiscrete([2, 2]), "Episodic planning")
