"""How the fast/slow agent reads observations: states, goals, and places seen to be empty."""

import minigrid.wrappers
import numpy as np
import pytest
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

import engram_rl.envs  # noqa: F401
from engram_rl.agents.goal_directed.minigrid_views import PartialGrid, SymbolGrid
from engram_rl.agents.goal_directed.views import Columns, GoalView, decimal_places, finite_bounds
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


GRID = spaces.Box(0, 255, (7, 5, 3), np.uint8)
PLACE = spaces.Box(-9, 9, (3,), np.float32)
VECTOR = spaces.Box(0, 6, (4,), np.float32)
BOTH = spaces.Dict(image=GRID, place=PLACE)


@pytest.mark.parametrize(
    ("view", "shown", "dim", "context", "left_open", "fillings"),
    [
        (Columns(VECTOR, [0, 1], [2, 3]), True, 2, [], [], [[]]),
        (Columns(VECTOR, [3], []), False, 1, [], [], [[]]),
        (SymbolGrid(BOTH), True, 3, [2], [], [[]]),
        (PartialGrid(BOTH), False, 3, [2], [2], [[0], [1], [2], [3]]),
    ],
)
def test_a_view_says_what_a_state_is(view: GoalView, shown, dim, context, left_open, fillings):
    assert view.shows_goal is shown and view.dim == dim
    assert (list(view.movement_context), list(view.open)) == (context, left_open)
    assert view.fillings.tolist() == fillings and view.fillings.dtype == np.float32
    assert [bound.shape for bound in view.bounds] == [(dim,)] * 2


def test_columns_are_read_in_the_order_in_which_they_are_named():
    rows = np.arange(8).reshape(2, 4)
    view = Columns(spaces.Box(np.arange(4.0), np.arange(4.0) + 10, dtype=np.float64), [2, 0], [1, 3])
    assert view.states(rows).tolist() == [[2, 0], [6, 4]] and view.goals(rows).tolist() == [[1, 3], [5, 7]]
    assert [bound.tolist() for bound in view.bounds] == [[2, 0], [12, 10]]
    env, places = view.empty_places(rows)
    assert (env.shape, places.shape) == ((0,), (0, 2)) and env.dtype == np.int64 and places.dtype == np.float32
    assert view.states(rows).dtype == view.goals(rows).dtype == np.float32


@pytest.mark.parametrize(
    ("goal", "shown"), [([2, 3], True), ([0, 1], True), ([3, 4], False), ([4, 5], False), ([9, 0], False), ([], False)]
)
def test_a_goal_is_shown_where_its_columns_are(goal, shown):
    view = Columns(VECTOR, [0, 1], goal)
    goals = view.goals(np.arange(4.0)[None])
    assert view.shows_goal is shown and goals.shape == (1, 2) and goals.dtype == np.float32
    assert goals.tolist() == [goal] if shown else np.isnan(goals).all()


@pytest.mark.parametrize(
    "space", [GRID, spaces.Box(0, 1, (), np.float32), spaces.Box(0, 1, (4, 1), np.float32), spaces.Discrete(4)]
)
def test_states_are_columns_of_vectors_only(space):
    with pytest.raises(ValueError, match="one-dimensional Box"):
        Columns(space, [0], [])


@pytest.mark.parametrize(
    ("state", "goal"), [([], []), ([4], []), ([-1], []), ([0], [1, 2]), ([0, 1], [2]), ([0], [-1])]
)
def test_columns_that_do_not_fit_are_refused(state, goal):
    with pytest.raises(ValueError, match="do not fit an observation of 4 numbers"):
        Columns(VECTOR, state, goal)
    assert Columns(VECTOR, [3], [0]).dim == 1 and Columns(VECTOR, [0], [3]).shows_goal


@pytest.mark.parametrize("image", [(7, 5), (7, 5, 4), (7, 5, 2), (7, 5, 3, 3), (3,)])
def test_what_is_no_image_of_three_symbols_for_each_cell_is_refused(image):
    box = spaces.Box(0, 255, image, np.uint8)
    for space in (box, spaces.Dict(image=box), spaces.Dict(picture=GRID), spaces.Dict(image=spaces.Discrete(3))):
        with pytest.raises(ValueError, match="full symbolic image"):
            SymbolGrid(space)


@pytest.mark.parametrize(
    "space",
    [
        GRID,
        spaces.Dict(image=GRID),
        spaces.Dict(place=PLACE),
        spaces.Dict(image=spaces.Discrete(3), place=PLACE),
        spaces.Dict(image=GRID, place=spaces.Discrete(3)),
        spaces.Dict(image=GRID, place=spaces.Box(-9, 9, (2,), np.float32)),
        spaces.Dict(image=GRID, place=spaces.Box(-9, 9, (4,), np.float32)),
    ],
)
def test_a_partial_view_is_an_image_and_a_place_of_three_numbers(space):
    with pytest.raises(ValueError, match="partial image and a place"):
        PartialGrid(space)


def test_places_on_a_grid_are_within_its_width_its_height_and_four_headings():
    assert [bound.tolist() for bound in SymbolGrid(BOTH).bounds] == [[0, 0, 0], [6, 4, 3]]
    assert [bound.tolist() for bound in PartialGrid(BOTH).bounds] == [[-9, -9, -9], [9, 9, 9]]
    unbounded = spaces.Dict(image=GRID, place=spaces.Box(-np.inf, np.inf, (3,), np.float32))
    assert PartialGrid(unbounded).bounds is None


WALL, EMPTY, GOAL, AGENT, UNSEEN = (OBJECT_TO_IDX[name] for name in ("wall", "empty", "goal", "agent", "unseen"))


def test_agent_and_goal_are_found_wherever_they_are_and_a_hidden_goal_is_under_the_agent():
    rng, view = np.random.default_rng(0), SymbolGrid(BOTH)
    images = np.zeros((60, 7, 5, 3), np.uint8)
    images[..., 0] = rng.choice([WALL, EMPTY], (60, 7, 5))
    cells = [rng.permutation(35)[:2] for _ in images]
    for number, (image, (agent, goal)) in enumerate(zip(images, cells, strict=True)):
        image.reshape(35, 3)[agent] = AGENT, 5, number % 4
        if number % 3:
            image.reshape(35, 3)[goal] = GOAL, 1, 0
    places = [[*divmod(int(agent), 5), number % 4] for number, (agent, _) in enumerate(cells)]
    assert view.states({"image": images}).tolist() == places
    goals = view.goals({"image": images})
    expected = [divmod(int(cell[min(number % 3, 1)]), 5) for number, cell in enumerate(cells)]
    assert goals[:, :2].tolist() == [list(place) for place in expected] and np.isnan(goals[:, 2]).all()
    assert goals.shape == (60, 3) and goals.dtype == view.states({"image": images}).dtype == np.float32


@pytest.mark.parametrize("agents", [0, 2])
def test_an_image_with_another_number_of_agents_than_one_is_refused(agents):
    images = np.full((2, 7, 5, 3), EMPTY, np.uint8)
    images[0, 3, 3, 0] = images[1, :agents, 4, 0] = AGENT
    with pytest.raises(ValueError, match=f"environment 1 shows {agents} agents"):
        SymbolGrid(BOTH).states({"image": images})


@pytest.mark.parametrize(
    ("channel", "most"), [(0, max(OBJECT_TO_IDX.values())), (1, max(COLOR_TO_IDX.values())), (2, 3)]
)
def test_the_largest_symbols_are_read_and_what_is_larger_is_refused(channel, most):
    image = np.zeros((1, 7, 5, 3), np.uint8)
    image[0, 0, 0, 0] = AGENT
    image[0, 6, 4, channel] = most
    if channel:
        SymbolGrid(BOTH).states({"image": image})
    else:
        PartialGrid(BOTH).goals({"image": image, "place": np.zeros((1, 3))})
    image[0, 6, 4, channel] = most + 1
    with pytest.raises(ValueError, match=f"environment 0 holds {max(most + 1, AGENT)}, which is no symbol"):
        SymbolGrid(BOTH).states({"image": image})


@pytest.mark.parametrize(
    ("heading", "ahead", "right"),
    [(0, (1, 0), (0, 1)), (1, (0, 1), (-1, 0)), (2, (-1, 0), (0, -1)), (3, (0, -1), (1, 0))],
)
def test_a_cell_in_sight_is_as_far_ahead_and_to_the_right_of_the_agent_as_the_image_shows_it(heading, ahead, right):
    """The agent is at the bottom in the middle and looks up; y grows to the south."""
    images = np.full((2, 5, 5, 3), UNSEEN, np.uint8)
    seen = {(2, 4): EMPTY, (2, 3): EMPTY, (0, 4): WALL, (3, 0): GOAL, (4, 2): EMPTY}
    for (across, down), symbol in seen.items():
        images[1, across, down, 0] = symbol
    observation = {"image": images, "place": np.array([[1, 2, 0], [10, 20, heading]])}
    place = {
        (across, down): np.array([10, 20]) + (4 - down) * np.array(ahead) + (across - 2) * np.array(right)
        for across, down in seen
    }
    view = PartialGrid(spaces.Dict(image=spaces.Box(0, 255, (5, 5, 3), np.uint8), place=PLACE))
    goals = view.goals(observation)
    assert np.isnan(goals[0]).all() and np.isnan(goals[1, 2]) and goals[1, :2].tolist() == place[3, 0].tolist()
    env, empty = view.empty_places(observation)
    assert env.tolist() == [1] * 4 and empty.dtype == goals.dtype == np.float32
    assert sorted(empty.tolist()) == sorted([*map(float, place[cell]), 0.0] for cell in seen if cell != (3, 0))
    assert view.states(observation).tolist() == [[1, 2, 0], [10, 20, heading]]
    assert observation["place"].tolist() == [[1, 2, 0], [10, 20, heading]]


@pytest.mark.parametrize(
    ("low", "high", "bounded"),
    [(-9e8, 9e8, True), (-1e9, 9e8, False), (-9e8, 1e9, False), ([0, -1e9], 1, False), (0, [1, 1e9], False)],
)
def test_a_thousand_million_is_no_bound(low, high, bounded):
    bounds = [np.broadcast_to(np.asarray(bound, np.float64), 2) for bound in (low, high)]
    assert (finite_bounds(*bounds) is not None) is bounded
