"""ShiftWall follows the published protocol to the letter, and other layouts its distribution."""

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)
from engram_rl.envs.grid import Geometry
from engram_rl.envs.paths import UNREACHABLE, distance_fields
from engram_rl.envs.shift_wall import shortest_path, wall_layouts

LEFT, UP, RIGHT, DOWN = range(4)


def published_walls(n: int, episode: int) -> set[tuple[int, int]]:
    half = n // 2
    if episode < 50:
        return {(x, half) for x in range(n) if x != half}
    return {(half, y) for y in range(n) if y != half}


def published_ends(n: int, episode: int) -> tuple[int, ...]:
    """The protocol, transcribed."""
    walls = published_walls(n, episode)
    random = np.random.RandomState(episode)
    start = (random.randint(0, n), random.randint(0, n))
    goal = (random.randint(0, n), random.randint(0, n))
    while start in walls:
        start = (random.randint(0, n), random.randint(0, n))
    while goal in walls or goal == start:
        goal = (random.randint(0, n), random.randint(0, n))
    return (*start, *goal)


def shift_wall(**options):
    return gymnasium.make("engram/ShiftWall-v0", **options).unwrapped


@pytest.mark.parametrize("n", [10, 20, 7])
def test_starts_and_goals_are_the_published_ones(n):
    environment = shift_wall(n=n)
    assert [tuple(environment.reset()[0]) for _ in range(100)] == [published_ends(n, i) for i in range(100)]


def test_shortest_paths_of_the_published_run_sum_to_755():
    environment = shift_wall(n=10)
    assert sum(environment.reset()[1]["oracle_steps"] for _ in range(100)) == 755


def test_manhattan_distances_of_the_published_run_sum_to_683():
    environment = shift_wall(n=10)
    seen = np.array([environment.reset()[0] for _ in range(100)])
    assert np.abs(seen[:, :2] - seen[:, 2:]).sum() == 683


@pytest.mark.parametrize("n", [3, 4, 10, 11])
@pytest.mark.parametrize("task_index", [0, 1])
def test_the_shortest_path_is_that_of_a_breadth_first_search(n, task_index):
    geometry, walls = Geometry(n), wall_layouts(n)[task_index]
    free = np.flatnonzero(~walls)
    start, goal = (ends.ravel() for ends in np.meshgrid(free, free, indexing="ij"))
    searched = distance_fields(np.tile(walls, (len(free), 1)), free, geometry.width)[:, free].T.ravel()
    assert searched.max() < UNREACHABLE
    assert np.array_equal(shortest_path(geometry, np.full(len(start), task_index), start, goal), searched)


def test_moves_walls_and_edges():
    environment = shift_wall(n=10)
    environment.reset(seed=0)
    core = environment.core

    def after(x, y, action):
        core.cell[0], core.goal[0] = core.geometry.cell(x, y), core.geometry.cell(9, 0)
        environment._running = True
        return tuple(environment.step(action)[0][:2])

    assert [after(3, 3, action) for action in (LEFT, UP, RIGHT, DOWN)] == [(2, 3), (3, 2), (4, 3), (3, 4)]
    assert [after(0, 0, LEFT), after(0, 0, UP), after(9, 9, RIGHT), after(9, 9, DOWN)] == [(0, 0)] * 2 + [(9, 9)] * 2
    assert after(3, 4, DOWN) == (3, 4)  # the wall, row 5
    assert after(5, 4, DOWN) == (5, 5)  # its gap


def test_the_goal_rewards_and_terminates():
    environment = shift_wall()
    environment.reset()
    environment.core.cell[0] = environment.core.goal[0] = environment.core.geometry.cell(2, 2)
    environment.core.goal[0] -= 1
    _, reward, terminated, truncated, _ = environment.step(LEFT)
    assert (reward, terminated, truncated) == (1.0, True, False)


def test_an_episode_is_cut_after_n_squared_steps():
    environment = shift_wall(n=10)
    environment.reset()
    environment.core.cell[0], environment.core.goal[0] = (environment.core.geometry.cell(x, 0) for x in (0, 5))
    ends = [environment.step(LEFT)[1:4] for _ in range(100)]
    assert ends == [(0.0, False, False)] * 99 + [(0.0, False, True)]


def test_the_wall_shifts_at_episode_50_and_the_run_starts_over_after_100():
    environment = shift_wall()
    infos = [environment.reset()[1] for _ in range(201)]
    assert [info["task_index"] for info in infos] == ([0] * 50 + [1] * 50) * 2 + [0]
    assert [i for i, info in enumerate(infos) if info["shifted"]] == [50, 100, 150, 200]
    assert [info["episode_index"] for info in infos] == [*range(100), *range(100), 0]


def test_the_shift_is_hidden_unless_asked_for():
    environment = shift_wall(tell_shift=True)
    announced = [environment.reset()[0][4] for _ in range(52)]
    assert announced == [0] * 50 + [1, 0]
    assert shift_wall().observation_space.shape == (4,)
    assert shift_wall(show_goal=False).observation_space.shape == (2,)


def test_layout_seeds_draw_uniformly_from_the_free_cells():
    vector = gymnasium.make_vec("engram/ShiftWall-v0", 3000, n=4, layout_seed=list(range(3000)))
    seen = np.concatenate([vector.reset(seed=0)[0], *(vector.reset()[0] for _ in range(2))])
    assert not (seen[:, :2] == seen[:, 2:]).all(axis=1).any()
    for ends in (seen[:, :2], seen[:, 2:]):
        cells, counts = np.unique(ends, axis=0, return_counts=True)
        assert {tuple(cell) for cell in cells} == {(x, y) for x in range(4) for y in range(4)} - published_walls(4, 0)
        expected = len(seen) / 13
        assert ((counts - expected) ** 2 / expected).sum() < 32.9  # chi-squared, 12 degrees of freedom, p = 0.001


def test_a_grid_too_small_for_a_wall_is_refused():
    with pytest.raises(ValueError, match="at least 3"):
        shift_wall(n=2)
