"""How the fast/slow agent reads observations: states, goals, and places seen to be empty."""

import minigrid.wrappers
import numpy as np
import pytest
from gymnasium import spaces

import engram_rl.envs  # noqa: F401
from engram_rl.agents.goal_directed.minigrid_views import PartialGrid, SymbolGrid
from engram_rl.agents.goal_directed.views import Columns, decimal_places
from engram_rl.envs.dead_reckoning import DeadReckoning
from engram_rl.training.environments import make_environments


def test_the_symbol_grid_reads_place_heading_and_goal():
    environments = make_environments(
        "MiniGrid-Empty-5x5-v0", 2, vectorization="sync", wrappers=[minigrid.wrappers.FullyObsWrapper]
    )
    view = SymbolGrid(environments.single_observation_space)
    observation, _ = environments.reset(seed=0)
    assert view.states(observation).tolist() == [[1, 1, 0]] * 2
    assert view.goals(observation)[:, :2].tolist() == [[3, 3]] * 2 and np.isnan(view.goals(observation)[:, 2]).all()
    observation, *_ = environments.step(np.array([1, 2]))  # one turns right, one goes ahead
    assert view.states(observation).tolist() == [[1, 1, 1], [2, 1, 0]]


def test_what_is_in_sight_is_put_where_it_is():
    environments = make_environments("engram/FourRoomsShift-v0", 2, vectorization="sync", wrappers=[DeadReckoning])
    view, rng = PartialGrid(environments.single_observation_space), np.random.default_rng(0)
    observation, _ = environments.reset(seed=0)
    grids, seen_goals = [env.unwrapped for env in environments.unwrapped.envs], 0
    for _ in range(150):
        rows, places = view.empty_places(observation)
        kinds = [
            getattr(grids[row].grid.get(*map(int, place[:2])), "type", None)
            for row, place in zip(rows, places, strict=True)
        ]
        assert set(kinds) <= {None, "wall"} and kinds.count("wall") < len(kinds)
        for grid, goal in zip(grids, view.goals(observation), strict=True):
            seen_goals += not np.isnan(goal[0])
            assert np.isnan(goal[0]) or grid.grid.get(*map(int, goal[:2])).type == "goal"
        observation, *_ = environments.step(rng.choice([0, 1, 2, 2, 2], 2))
    assert seen_goals > 5


def test_a_partial_view_without_a_place_is_refused():
    environments = make_environments("MiniGrid-Empty-5x5-v0", 1, vectorization="sync")
    with pytest.raises(ValueError, match="DeadReckoning"):
        PartialGrid(environments.single_observation_space)


def test_columns_that_do_not_exist_are_refused():
    space = spaces.Box(0, 9, (4,), np.float32)
    with pytest.raises(ValueError, match="4 numbers"):
        Columns(space, [0, 7], [2, 3])
    with pytest.raises(ValueError, match="as many for the goal"):
        Columns(space, [0, 1], [2])
    for state, goal in (([0, -1], [2, 3]), ([0, 1], [-2, 3])):
        with pytest.raises(ValueError, match="name existing ones"):
            Columns(space, state, goal)


def test_an_image_without_an_agent_is_refused_rather_than_read_as_a_corner():
    environments = make_environments("MiniGrid-Empty-5x5-v0", 2, vectorization="sync")
    view = SymbolGrid(environments.single_observation_space)
    observation, _ = environments.reset(seed=0)
    with pytest.raises(ValueError, match=r"environment 0 shows 0 agents.*FullyObsWrapper"):
        view.states(observation)


@pytest.mark.parametrize("wrapper", [minigrid.wrappers.RGBImgObsWrapper, minigrid.wrappers.RGBImgPartialObsWrapper])
def test_a_picture_is_refused_rather_than_read_as_symbols(wrapper):
    environments = make_environments("MiniGrid-Empty-5x5-v0", 2, vectorization="sync", wrappers=[wrapper])
    observation, _ = environments.reset(seed=0)
    observation["image"][0] = 0  # all black, that is: unseen
    with pytest.raises(ValueError, match=r"image of environment 1 holds \d+, which is no symbol.*it is a picture"):
        SymbolGrid(environments.single_observation_space).states(observation)
    placed = make_environments("MiniGrid-Empty-5x5-v0", 2, vectorization="sync", wrappers=[wrapper, DeadReckoning])
    observation, _ = placed.reset(seed=0)
    with pytest.raises(ValueError, match=r"image of environment 0 holds \d+, which is no symbol"):
        PartialGrid(placed.single_observation_space).goals(observation)


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("low", "high", "bounded"), [(0, 6, True), (-LARGEST, LARGEST, False), (0, np.inf, False), (-1e9, 0, False)]
)
def test_the_largest_numbers_of_a_type_are_no_bounds(low, high, bounded):
    view = Columns(spaces.Box(low, high, (2,), np.float32), [0, 1], [])
    assert (view.bounds is not None) is bounded


@pytest.mark.parametrize(
    ("largest", "places"), [(1e-3, 9), (0.5, 6), (6.0, 5), (10.0, 5), (11.0, 4), (1e8, 0), (0.0, 6)]
)
def test_six_digits_of_a_number_mean_something(largest, places):
    assert decimal_places((np.array([0.0, -largest]), np.array([largest / 2, 0.0]))) == places
    assert decimal_places(None) == 5
