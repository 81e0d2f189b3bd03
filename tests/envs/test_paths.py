"""Shortest paths, against a search that is slow and obvious."""

from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.grid import Geometry
from envs.paths import UNREACHABLE, distance_fields


def one_by_one(walls: np.ndarray, goal: int, width: int) -> list[int]:
    """Textbook breadth-first search."""
    steps = [UNREACHABLE] * len(walls)
    steps[goal] = 0
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for beside in (cell - 1, cell + 1, cell - width, cell + width):
            if not walls[beside] and steps[beside] == UNREACHABLE:
                steps[beside] = steps[cell] + 1
                queue.append(beside)
    return steps


@settings(deadline=None)
@given(n=st.integers(2, 9), density=st.floats(0, 0.6), seed=st.integers(0, 2**31))
def test_distance_fields_are_those_of_a_textbook_search(n, density, seed):
    random, geometry = np.random.default_rng(seed), Geometry(n)
    walls = geometry.border | (random.random((5, len(geometry.border))) < density)  # [5, C]
    inside = np.flatnonzero(~geometry.border)
    goal = random.choice(inside, size=5)
    walls[np.arange(5), goal] = False
    fields = distance_fields(walls, goal, geometry.width)
    assert fields.tolist() == [one_by_one(w, g, geometry.width) for w, g in zip(walls, goal, strict=True)]
