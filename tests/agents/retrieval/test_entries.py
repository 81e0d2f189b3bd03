"""What is written of episodes, row by row, and which entries are one and the same."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.episodic_control.returns import Returns
from engram_rl.agents.retrieval.entries import Entries, key_space, value_size
from engram_rl.agents.retrieval.situations import PlaceSituations, ProjectionSituations

PLACE = PlaceSituations(spaces.Box(-9, 9, (2,), np.float32), 0)


def entries(situations=PLACE, actions=3, **changes):
    settings = {"separate": True, "sites": True, "by_action": False, "site_size": 0.0}
    return Entries(situations, actions, **(settings | changes))


def episode(places, actions, streams):
    """Steps as they are held until their episodes end; what followed the n-th was n."""
    place, stream = np.array(places, np.float32), np.array(streams)
    held = {
        "view": place,
        "place": place,
        "name": PLACE.identities(place),
        "action": np.eye(3, dtype=np.float32)[actions],
        "stream": stream,
    }
    return Returns(held, np.zeros(len(stream), np.int64), np.arange(len(stream), dtype=float))


def names_of(keys):
    return {name: part.tolist() for name, part in keys.items()}


@pytest.mark.parametrize("places", [0, 1, 2, 3])
@pytest.mark.parametrize("actions", [spaces.Discrete(2), spaces.Discrete(4), spaces.MultiDiscrete([2, 3])])
def test_a_value_has_room_for_two_places_an_action_and_three_numbers(places, actions):
    space = spaces.Box(-9, 9, (places,), np.float32)
    situations = PlaceSituations(space, 0) if places else ProjectionSituations(spaces.Box(-9, 9, (2,)), 0)
    count = spaces.flatdim(actions)
    assert entries(situations, count).parts == (places, 1, 1, places, count, 1)
    assert value_size(situations, actions) == places + 1 + 1 + places + count + 1


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("sites", [False, True])
def test_keys_have_the_parts_that_questions_are_asked_by(separate, sites):
    made = entries(separate=separate, sites=sites)
    names = ["view"] + ["when", "kind"] * sites + ["stream"] * separate
    space = key_space(PLACE, separate, sites)
    assert [modality.name for modality in space.modalities] == names
    assert [modality.size for modality in space.modalities] == [2] + [1] * (len(names) - 1)
    assert list(made.context(np.array([4, 2]), 1)) == ["kind"] * sites + ["stream"] * separate
    steps = episode([[1, 2], [3, 4]], [0, 1], [0, 1])
    rows = made.steps(*made.latest(steps), np.zeros((2, 2), np.float32), np.zeros(2, bool), np.zeros(2))
    assert set(rows[0]) == set(names)


def test_the_rows_of_steps():
    made = entries()
    outcome, rewarded = np.array([[8, 9], [0, 0], [6, 7]], np.float32), np.array([True, False, False])
    steps = made.latest(episode([[1, 2], [3, 4], [1, 2]], [0, 1, 2], [0, 0, 2]))
    keys, values, names = made.steps(*steps, outcome, rewarded, np.array([5.0, 0.0, 12.5]))
    assert names_of(keys) == {
        "view": [[1, 2], [3, 4], [1, 2]],
        "kind": [[0], [0], [0]],
        "stream": [[0], [0], [2]],
        "when": [[0], [0], [0]],
    }
    assert values.tolist() == [
        [8, 9, 1, 0, 1, 2, 1, 0, 0, 5],
        [8, 9, 1, 1, 3, 4, 0, 1, 0, 5],
        [6, 7, 0, 2, 1, 2, 0, 0, 1, 12.5],
    ]
    assert values.dtype == torch.float32 and len(set(names.tolist())) == 3


def test_the_rows_of_reward_sites():
    where = np.array([[4, 3], [1, -2]], np.float32)
    keys, values, names = entries().sites(np.array([0, 2]), where, np.array([7.0, 250.0]))
    assert names_of(keys) == {
        "view": [[0, 0], [0, 0]],
        "when": [[pytest.approx(0.07)], [2.5]],
        "kind": [[1], [1]],
        "stream": [[0], [2]],
    }
    assert values.tolist() == [[4, 3, 1, 1, 4, 3, 0, 0, 0, 7], [1, -2, 1, 1, 1, -2, 0, 0, 0, 250]]
    assert torch.equal(names, entries().site_names(np.array([0, 2]), where))


def test_a_step_gives_the_view_and_a_reward_site_the_time():
    keys = {"kind": torch.tensor([[0], [1], [1], [0]])}
    given = entries().given(keys)
    assert names_of(given) == {"view": [True, False, False, True], "when": [False, True, True, False]}
    assert entries(sites=False).given({}) is None


@pytest.mark.parametrize(("by_action", "kept"), [(False, [1, 3, 4, 5]), (True, [0, 1, 3, 4, 5])])
def test_a_situation_met_again_is_kept_as_it_was_left_last(by_action, kept):
    steps = episode(
        [[1, 1], [1, 1], [2, 2], [2, 2], [1, 1], [3, 3]], actions=[0, 1, 2, 2, 0, 0], streams=[0, 0, 0, 0, 1, 1]
    )
    ended, names = entries(by_action=by_action).latest(steps)
    assert ended.target.tolist() == kept
    assert ended.observation["place"].tolist() == steps.observation["place"][kept].tolist()
    assert ended.observation["action"].tolist() == steps.observation["action"][kept].tolist()
    assert len(ended.action) == len(set(names.tolist())) == len(kept)


@pytest.mark.parametrize("separate", [False, True])
def test_in_a_shared_world_a_place_is_one_site_whoever_was_there(separate):
    envs, places = np.array([0, 1, 2, 2]), np.array([[4, 3], [4, 3], [4, 3], [3, 4]], np.float32)
    names = entries(separate=separate).site_names(envs, places).tolist()
    assert len(set(names)) == (4 if separate else 2)
    assert names[2] != names[3]


def test_a_step_and_a_site_at_one_place_are_two_entries():
    made, where = entries(), np.array([[4, 3]], np.float32)
    assert made.latest(episode(where, [0], [0]))[1] != made.site_names(np.array([0]), where)


@pytest.mark.parametrize(
    ("site_size", "one", "other", "same"),
    [
        (0.0, [1e-9, 0.0], [2e-9, 0.0], False),
        (0.0, [0.0, 4.0], [-0.0, 4.0], True),
        (0.5, [4.02, 0.0], [3.9, 0.1], True),
        (0.5, [4.0, 0.0], [4.5, 0.0], False),
        (0.5, [4.2, 0.0], [4.3, 0.0], False),
        (0.5, [-0.2, 0.2], [0.2, -0.2], True),
        (3.0, [1.4, 0.0], [-1.4, 0.0], True),
        (3.0, [1.6, 0.0], [1.4, 0.0], False),
        (3.0, [4.0, 0.0], [2.0, 0.0], True),
    ],
)
def test_places_of_one_cell_are_one_site_or_those_that_are_equal(site_size, one, other, same):
    names = entries(site_size=site_size).site_names(np.zeros(2, int), np.array([one, other], np.float32))
    assert (names[0] == names[1]) == same
