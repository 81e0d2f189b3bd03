"""ScatterShift moves half of its obstacles, on schedule, and never walls anyone in."""

from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engram_rl.envs  # noqa: F401 (registers the suite)
from engram_rl.envs.grid import Geometry
from engram_rl.envs.paths import UNREACHABLE, distance_fields
from engram_rl.envs.scatter_shift import largest_component


def layouts(episodes: int, **options) -> list[np.ndarray]:
    environment = gymnasium.make("engram/ScatterShift-v0", **options).unwrapped
    core = environment.core
    boards = []
    for _ in range(episodes):
        environment.reset()
        boards.append((core.walls[0] & ~core.geometry.border).copy())
    return boards


@pytest.mark.parametrize("density", [0.0, 0.3, 0.5])
def test_the_stated_share_of_cells_is_blocked_throughout(density):
    boards = layouts(60, density=density, schedule="each", layout_seed=1)
    assert {int(board.sum()) for board in boards} == {round(density * 100)}


@pytest.mark.parametrize(("schedule", "shifts"), [("mid", {50}), ("each", set(range(1, 100))), (30, {30, 60, 90})])
def test_half_of_the_blocked_cells_move_exactly_on_schedule(schedule, shifts):
    boards = layouts(100, schedule=schedule, layout_seed=1)
    moved = [int((before & ~after).sum()) for before, after in pairwise(boards)]
    assert moved == [15 if episode in shifts else 0 for episode in range(1, 100)]


def test_the_run_starts_over_after_100_episodes():
    boards = layouts(151, layout_seed=1)
    assert np.array_equal(boards[0], boards[100])
    assert np.array_equal(boards[50], boards[150])
    assert not np.array_equal(boards[0], boards[50])


def test_start_and_goal_are_connected_distinct_and_oracle_steps_apart():
    vector = gymnasium.make_vec("engram/ScatterShift-v0", 50, density=0.5, schedule="each")
    vector.reset(seed=0)
    core = vector.core
    for _ in range(20):
        _, info = vector.reset()
        fields = distance_fields(core.walls, core.goal, core.geometry.width)
        steps = fields[np.arange(50), core.start]
        assert (steps < UNREACHABLE).all()
        assert (steps > 0).all()
        assert np.array_equal(steps, info["oracle_steps"])


def test_the_shares_of_connected_pairs_are_the_known_ones():
    """81 % at 30 % blocked, 28 % at 50 %: why start and goal are drawn from the largest component."""
    random, geometry = np.random.default_rng(0), Geometry(10)
    inside = np.flatnonzero(~geometry.border)
    for density, known in ((0.3, 0.81), (0.5, 0.28)):
        walls = np.tile(geometry.border, (2000, 1))
        blocked = random.random((2000, 100)).argsort(axis=1)[:, : int(density * 100)]
        np.put_along_axis(walls, inside[blocked], True, axis=1)
        ends = np.array([random.choice(np.flatnonzero(~board), 2, replace=False) for board in walls])
        steps = distance_fields(walls, ends[:, 1], geometry.width)[np.arange(2000), ends[:, 0]]
        assert (steps < UNREACHABLE).mean() == pytest.approx(known, abs=0.03)


@settings(deadline=None)
@given(n=st.integers(2, 8), density=st.floats(0, 0.8), seed=st.integers(0, 2**31))
def test_the_largest_component_is_connected_and_none_is_larger(n, density, seed):
    random, geometry = np.random.default_rng(seed), Geometry(n)
    walls = geometry.border | (random.random((4, len(geometry.border))) < density)
    walls[:, np.flatnonzero(~geometry.border)[0]] = False
    found = largest_component(walls, geometry.width)
    for board, component in zip(walls, found, strict=True):
        reached = [
            distance_fields(board[None], np.array([cell]), geometry.width)[0] < UNREACHABLE
            for cell in np.flatnonzero(~board)
        ]
        assert component.sum() == max(each.sum() for each in reached)
        assert any(np.array_equal(component, each) for each in reached)


@pytest.mark.parametrize(
    ("option", "value"), [("density", 0.9), ("density", -0.1), ("schedule", "often"), ("schedule", 0)]
)
def test_bad_options_are_refused_with_their_limits(option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        gymnasium.make("engram/ScatterShift-v0", **{option: value})
