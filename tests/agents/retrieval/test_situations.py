"""What a situation is taken to be: a place by some columns of a part, or anything that is seen by a projection."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.retrieval.situations import PlaceSituations, ProjectionSituations

VECTOR = spaces.Box(-9, 9, (3,), np.float32)
WHOLE = spaces.MultiDiscrete([9, 9])
ROWS = np.array([[1.5, -2.0, 3.0], [4.0, 5.0, -6.0], [1.5, 0.0, 3.0]], np.float32)
NAMED = spaces.Dict({"place": VECTOR, "picture": spaces.Box(0, 255, (4, 4), np.uint8)})
SEEN = {"place": ROWS, "picture": np.zeros((3, 4, 4), np.uint8)}


@pytest.mark.parametrize(
    ("space", "part", "observation"),
    [
        (VECTOR, None, ROWS),
        (VECTOR, "place", ROWS),  # of an environment that shows nothing else
        (NAMED, "place", SEEN),
        (spaces.Tuple((spaces.Discrete(2), VECTOR)), "1", (np.zeros(3, int), ROWS)),
    ],
)
@pytest.mark.parametrize("columns", [None, [0], [2, 0]])
def test_a_place_is_some_columns_of_the_vector_that_is_named(space, part, observation, columns):
    made = PlaceSituations(space, 0, part=part, columns=columns)
    places = ROWS if columns is None else ROWS[:, columns]
    assert made.key_size == made.place_size == places.shape[1]
    assert np.array_equal(made.places(observation), places)
    assert made.places(observation).dtype == np.float32
    assert torch.equal(made.keys(observation), torch.from_numpy(places))
    names = made.identities(observation).tolist()
    assert len(set(names)) == len(np.unique(places, axis=0))


def test_whole_numbers_are_places_too():
    made = PlaceSituations(WHOLE, 0)
    assert made.places(np.array([[3, 8]])).tolist() == [[3, 8]]
    assert made.reach == 3.0


@pytest.mark.parametrize("reach", [0.25, 1, 8.0])
def test_any_reach_above_0_will_do(reach):
    assert PlaceSituations(WHOLE, 0, reach=reach).reach == reach


@pytest.mark.parametrize("reach", [0, 0.0, -1, float("nan")])
def test_a_reach_must_be_a_distance(reach):
    with pytest.raises(ValueError, match=f"reach is {reach}; it is a distance, above 0"):
        PlaceSituations(WHOLE, 0, reach=reach)


@pytest.mark.parametrize(
    ("space", "part"),
    [
        (spaces.Discrete(3), None),
        (spaces.MultiBinary(3), None),
        (spaces.Box(0, 1, ()), None),
        (spaces.Box(0, 1, (2, 2)), None),
        (spaces.MultiDiscrete([[2, 2], [2, 2]]), None),
        (NAMED, None),
        (NAMED, "picture"),
        (NAMED, "position"),
    ],
)
def test_places_are_numbers_of_a_vector(space, part):
    with pytest.raises(ValueError, match=rf"(?s)of a vector \(part={part}\); .*FlattenObservation"):
        PlaceSituations(space, 0, part=part)


@pytest.mark.parametrize("columns", [[], [2], [-1], [0, 2], [5], [0, -1]])
def test_columns_must_be_among_those_of_the_vector(columns):
    with pytest.raises(ValueError, match="are not among the 2 of"):
        PlaceSituations(WHOLE, 0, columns=columns)


@pytest.mark.parametrize("space", [VECTOR, NAMED])
def test_a_projection_tells_no_places(space):
    made, seen = ProjectionSituations(space, 0), ROWS if space is VECTOR else SEEN
    assert (made.key_size, made.place_size, made.reach) == (16, 0, 1.0)
    assert made.keys(seen).shape == (3, 16) and made.keys(seen).dtype == torch.float32
    assert made.places(seen).shape == (3, 0) and made.places(seen).dtype == np.float32
    assert len(set(made.identities(seen).tolist())) == 3
    assert torch.equal(made.keys(seen), ProjectionSituations(space, 0, size=16).keys(seen))
    assert not torch.equal(made.keys(seen), ProjectionSituations(space, 1).keys(seen))
