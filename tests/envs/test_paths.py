"""Shortest paths, against a search that is slow and naive."""

from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_rl.envs.grid import Geometry
from engram_rl.envs.paths import UNREACHABLE, distance_fields, path_lengths


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


@settings(deadline=None)
@given(boards=st.integers(1, 20), density=st.floats(0, 0.6), seed=st.integers(0, 2**31))
def test_path_lengths_are_read_off_those_fields(boards, density, seed):
    random, geometry = np.random.default_rng(seed), Geometry(6)
    walls = geometry.border | (random.random((boards, len(geometry.border))) < density)
    start, goal = random.choice(np.flatnonzero(~geometry.border), size=(2, boards))
    walls[np.arange(boards), start] = walls[np.arange(boards), goal] = False
    expected = distance_fields(walls, goal, geometry.width)[np.arange(boards), start]
    assert path_lengths(walls, start, goal, geometry.width).tolist() == expected.tolist()


def test_a_field_may_end_where_it_is_no_longer_needed():
    geometry = Geometry(6)
    walls, goal, until = geometry.border[None], geometry.cell(0, 0)[None], geometry.cell(2, 0)[None]
    field = distance_fields(walls, goal, geometry.width, until)[0]
    assert [field[geometry.cell(x, 0)] for x in range(3)] == [0, 1, 2]
    assert field[geometry.cell(5, 5)] == UNREACHABLE
