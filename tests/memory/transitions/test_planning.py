"""What planning promises: exact paths over what is known and imagined."""

import heapq
from inspect import Parameter, signature
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_rl.memory.transitions.memory import TransitionMemory
from engram_rl.memory.transitions.planner import Planner

MOVES = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])


class Grid:
    """A square grid with blocked cells, for one walker."""

    def __init__(self, size, walls=()):
        self.size, self.walls = size, set(walls)

    def step(self, state, action):
        x, y = np.array(state) + MOVES[action]
        free = min(x, y) >= 0 and max(x, y) < self.size and (x, y) not in self.walls
        return (int(x), int(y)) if free else tuple(state)


def experience(memory, grid, pairs, owner=0, **rest):
    if pairs:
        states, actions = (np.array(x) for x in zip(*pairs, strict=True))
        next_states = np.array([grid.step(*pair) for pair in pairs])
        memory.write(states, actions, next_states, owners=np.full(len(pairs), owner), **rest)


def everything(grid):
    cells = [(x, y) for x in range(grid.size) for y in range(grid.size) if (x, y) not in grid.walls]
    return [(cell, action) for cell in cells for action in range(4)]


def slow_cost(edges, start, goals):
    """Dijkstra over a dictionary: {state: [(next, cost)]}."""
    queue, done = [(0.0, start)], set()
    while queue:
        cost, state = heapq.heappop(queue)
        if state in goals:
            return cost
        if state not in done:
            done.add(state)
            for following, step in edges.get(state, []):
                heapq.heappush(queue, (cost + step, following))
    return np.inf


def slow_edges(grid, pairs, unknown_cost):
    """What is known after experiencing the pairs in the grid, and, where nothing is, what the moves suggest."""
    tried, moved = set(pairs), {action for state, action in pairs if grid.step(state, action) != state}
    edges = {}
    for x in range(grid.size):
        for y in range(grid.size):
            for action in range(4):
                target = (x + MOVES[action][0], y + MOVES[action][1])
                if ((x, y), action) in tried:
                    edges.setdefault((x, y), []).append((grid.step((x, y), action), 1.0))
                elif action in moved and min(target) >= 0 and max(target) < grid.size:
                    edges.setdefault((x, y), []).append((target, unknown_cost))
    return edges


cell = st.tuples(st.integers(0, 4), st.integers(0, 4))


@settings(max_examples=60, deadline=None)
@given(
    walls=st.sets(cell, max_size=8),
    tried=st.lists(st.tuples(cell, st.integers(0, 3)), min_size=1, max_size=60),
    goal=cell,
    unknown_cost=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_costs_are_those_of_dijkstra_over_known_and_imagined_steps(walls, tried, goal, unknown_cost):
    grid = Grid(5, walls)
    memory = TransitionMemory(2, 4, 200)
    planner = Planner(memory, bounds=(np.zeros(2), np.full(2, 4)), unknown_cost=unknown_cost)
    goals = [memory.name(np.array([goal]))]
    for upto in range(0, len(tried), 7):  # the planner keeps up with a memory that grows
        experience(memory, grid, tried[upto : upto + 7])
        planner.cost_to_go(goals)
    edges = slow_edges(grid, tried, unknown_cost)
    start = memory.states.find(np.array([tried[0][0]]), np.zeros(1, int))
    cost = planner.cost_to_go(goals)[0, start[0]]
    assert cost == pytest.approx(slow_cost(edges, tried[0][0], {goal}))
    path = planner.shortest_path(start, goals)
    if np.isfinite(cost):
        states = [tuple(memory.states.vectors[i]) for i in path.states[0]]
        assert states[0] == tried[0][0] and states[path.lengths[0]] == goal
        steps = [min(c for n, c in edges[a] if n == b) for a, b in pairwise(states)]
        assert sum(steps) == pytest.approx(cost)
    else:
        assert path.lengths[0] == -1


@settings(max_examples=40, deadline=None)
@given(
    worlds=st.lists(st.tuples(st.sets(cell, max_size=6), st.lists(st.tuples(cell, st.integers(0, 3)), max_size=20))),
    goal=cell,
    half_life=st.sampled_from([np.inf, 2.0]),
    imagine=st.booleans(),
    refused_cost=st.sampled_from([0.0, 3.0, np.inf]),
)
def test_what_the_planner_keeps_is_what_a_new_planner_would_work_out(worlds, goal, half_life, imagine, refused_cost):
    """Through contradiction, fading, new owners and, without imagination (which needs room), eviction."""
    memory = TransitionMemory(2, 4, 200 if imagine else 27, owners=2, half_life=half_life)
    bounds = (np.zeros(2), np.full(2, 4))
    planner = Planner(memory, bounds=bounds, imagine=imagine, refused_cost=refused_cost)
    for turn, (walls, tried) in enumerate(worlds):
        experience(memory, Grid(5, walls), tried, owner=turn % 2)
        memory.tick(1, np.array([turn % 2]))
        goals = [memory.name(np.array([goal]), np.array([owner])) for owner in (0, 1)]
        kept = planner.cost_to_go(goals)
        fresh = Planner(memory, bounds=bounds, imagine=imagine, refused_cost=refused_cost).cost_to_go(goals)
        assert np.array_equal(kept, fresh)


@settings(max_examples=40, deadline=None)
@given(
    worlds=st.lists(
        st.tuples(st.sets(cell, max_size=6), st.lists(st.tuples(cell, st.integers(0, 3)), max_size=20)), min_size=2
    ),
    goal=cell,
    capacity=st.integers(27, 60),
    refused_cost=st.sampled_from([0.0, np.inf]),
    bounded=st.booleans(),
    looked=st.booleans(),
    data=st.data(),
)
def test_a_planner_that_was_saved_goes_on_as_if_it_had_never_been(
    worlds, goal, capacity, refused_cost, bounded, looked, data
):
    """Also where the table is too full to imagine everything, which depends on what came first."""
    bounds = (np.zeros(2), np.full(2, 4)) if bounded else None

    def make():
        memory = TransitionMemory(2, 4, capacity, owners=2)
        return memory, Planner(memory, bounds=bounds, refused_cost=refused_cost)

    def live(memory, planner, turn, walls, tried):
        experience(memory, Grid(5, walls), tried, owner=turn % 2)
        goals = memory.name(np.array([goal, goal]), np.arange(2))  # in one call, or one may be forgotten for the other
        return planner.cost_to_go(goals[:, None])

    (memory, planner), (other, resumed) = make(), make()
    fork = data.draw(st.integers(1, len(worlds) - 1))
    for turn, (walls, tried) in enumerate(worlds[:fork]):
        live(memory, planner, turn, walls, tried)
    live(other, resumed, 0, *worlds[-1])  # whatever it knew before
    if not looked:
        experience(memory, Grid(5, []), [((1, 1), 2), ((0, 3), 1)])
    saved = memory.state_dict(), planner.state_dict()
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for turn, (walls, tried) in enumerate(worlds[fork:], fork):
        costs = [live(*pair, turn, walls, tried) for pair in ((memory, planner), (other, resumed))]
        assert np.array_equal(*costs)
        assert np.array_equal(planner.successor, resumed.successor)


def test_an_agent_that_walks_its_shortest_path_reaches_a_goal_it_has_never_seen():
    grid = Grid(10, [(x, 5) for x in range(10) if x != 5])
    memory = TransitionMemory(2, 4, 400)
    planner = Planner(memory, bounds=(np.zeros(2), np.full(2, 9)))
    experience(memory, grid, [((5, 2), action) for action in range(4)])
    state, steps = (1, 1), 0
    while state != (8, 9):
        ids = memory.name(np.array([state]))
        action = int(planner.shortest_path(ids, [memory.name(np.array([[8, 9]]))]).actions[0, 0])
        experience(memory, grid, [(state, action)])
        state, steps = grid.step(state, action), steps + 1
    assert 15 <= steps <= 40  # the way through the gap is 15; every wall met costs a step


def test_the_range_of_what_was_met_bounds_imagination_unless_told_otherwise():
    grid, memory = Grid(50), TransitionMemory(2, 4, 4000)
    planner = Planner(memory)
    experience(memory, grid, [((20, 20), action) for action in range(4)])
    planner.cost_to_go([memory.name(np.array([[24, 23]]))])
    assert len(memory.states) == (24 - 19 + 1) * (23 - 19 + 1)


def test_imagination_leaves_room_for_experience():
    grid, memory = Grid(1000), TransitionMemory(2, 4, 100)
    planner = Planner(memory, bounds=(np.zeros(2), np.full(2, 999)))
    experience(memory, grid, [((500, 500), action) for action in range(4)])
    planner.refresh()
    assert len(memory.states) <= 75
    assert memory.known(memory.ids()).sum() == 4


def test_imagination_stops_only_where_room_ends():
    grid, memory = Grid(5), TransitionMemory(2, 4, 48)
    planner = Planner(memory, bounds=(np.zeros(2), np.full(2, 4)))
    experience(memory, grid, [((2, 2), action) for action in range(4)])
    planner.refresh()
    assert len(memory.states) == 25  # the last to be named are four corners, when 15 places are to spare


def test_without_imagination_only_what_was_experienced_counts():
    grid, memory = Grid(3), TransitionMemory(2, 4)
    planner = Planner(memory, imagine=False)
    experience(memory, grid, [((0, 0), 2), ((1, 0), 3)])
    ids = memory.name(np.array([[0, 0], [1, 1], [2, 0]]))
    assert planner.cost_to_go([ids[1:2], ids[2:]])[:, ids[0]].tolist() == [2, np.inf]


def test_remembered_harm_is_vetoed_or_costs_what_it_is_set_to():
    grid = Grid(3)
    ways = {}
    for harm_cost in (np.inf, 5.0, 0.5):
        memory = TransitionMemory(2, 4)
        experience(memory, grid, everything(grid))
        for state, action in everything(grid):
            if grid.step(state, action) == (1, 0) and state != (1, 0):
                experience(memory, grid, [(state, action)], harms=1.0)
        ids = memory.name(np.array([[0, 0], [2, 0]]))
        ways[harm_cost] = Planner(memory, harm_cost=harm_cost).cost_to_go([ids[1:]])[0, ids[0]]
    assert ways == {np.inf: 4, 5.0: 4, 0.5: 2.5}


def test_the_nearest_of_a_set_of_goals_counts_and_being_there_costs_nothing():
    grid, memory = Grid(5), TransitionMemory(2, 4)
    experience(memory, grid, everything(grid))
    planner = Planner(memory)
    ids = memory.name(np.array([[0, 0], [4, 4], [3, 3]]))
    assert planner.cost_to_go([ids[:2]])[0, ids].tolist() == [0, 0, 2]
    path = planner.shortest_path(ids[:1], [ids[:1]])
    assert path.lengths.tolist() == [0] and path.actions.shape == (1, 0)
    with pytest.raises(ValueError, match="empty"):
        planner.cost_to_go([ids[:0]])


def test_the_cost_of_each_action_is_its_step_and_the_way_on():
    grid, memory = Grid(3), TransitionMemory(2, 4)
    experience(memory, grid, everything(grid))
    planner = Planner(memory)
    ids = memory.name(np.array([[1, 1], [2, 1]]))
    assert planner.action_costs(ids[:1], [ids[1:]]).tolist() == [[3, 3, 1, 3]]


def test_what_refused_entry_from_one_side_is_doubted_from_the_others():
    grid = Grid(5, walls=[(2, 2)])
    memory = TransitionMemory(2, 4, 200)
    planner = Planner(memory, bounds=(np.zeros(2), np.full(2, 4)), refused_cost=10.0)
    experience(memory, grid, [((0, 0), 2), ((1, 0), 0), ((0, 0), 3), ((0, 1), 1), ((1, 2), 2)])
    start, goal, middle = memory.name(np.array([(2, 1), (2, 3), (2, 2)]))
    assert planner.cost_to_go([np.array([goal])])[0, start] == 4  # around it
    refused_from, action = planner.refusals(np.array([middle]))
    assert memory.states.vectors[refused_from].tolist() == [[1, 2]] and action.tolist() == [2]
    memory.contradict(memory.states.vectors[refused_from], action)
    assert planner.cost_to_go([np.array([goal])])[0, start] == 2  # through it
    assert len(planner.refusals(np.array([middle]))[0]) == 0


def test_costs_from_a_state_and_costs_to_it_agree():
    grid = Grid(5, walls=[(1, 1), (2, 1)])
    memory = TransitionMemory(2, 4, 200)
    experience(memory, grid, everything(grid)[::3])
    planner = Planner(memory, bounds=(np.zeros(2), np.full(2, 4)), unknown_cost=1.5)
    places = memory.name(np.array([(0, 0), (4, 4), (3, 0)]))
    forward = planner.costs_from(places)
    back = planner.cost_to_go([places[i : i + 1] for i in range(3)])
    assert np.allclose(forward[:, places], back[:, places].T)


def test_looking_takes_its_names_back():
    memory = TransitionMemory(2, 4, 20)
    experience(memory, Grid(5), [((0, 0), 2)])
    before = memory.state_dict()
    with memory.only_looking():
        memory.name(np.array([(3, 3), (4, 4)]))
    assert all(np.array_equal(before[name], memory.state_dict()[name]) for name in before)
    assert memory.name(np.array([(4, 4)]))[0] == 2  # as if nothing had been named


@pytest.mark.parametrize("lived", [2, 3, 6])
def test_a_goal_whose_name_was_another_owners_is_worked_out_anew(lived):
    memory = TransitionMemory(1, 2, 20, owners=2)
    planner = Planner(memory, imagine=False)

    def ahead(state, owner):
        memory.write([[state]], [0], [[state + 1.0]], owners=np.array([owner]))

    for state in range(lived):
        ahead(state, 0)
        planner.cost_to_go([memory.name([[2.0]])])
    name = memory.name([[2.0]])
    memory.clear(np.array([0]))
    for state in range(2 * lived):
        ahead(state, 1)  # to whom the name goes some time, and for whom the world changes as often
        planner.refresh()
        if memory.states.used[name[0]]:
            fresh = Planner(memory, imagine=False)
            assert np.array_equal(planner.cost_to_go([name]), fresh.cost_to_go([name]))


def test_how_many_movements_must_agree_is_looked_at_whenever_one_more_is_remembered():
    memory = TransitionMemory(1, 1, 50)
    planner = Planner(memory, min_support=0.6)
    for state, following in ((0, 1), (2, 2), (3, 4), (5, 6), (7, 7), (8, 8)):  # one ahead, and blocked in between
        memory.write([[state]], [0], [[following]])
        goal = memory.name([[9.0]])
        assert np.array_equal(planner.cost_to_go([goal]), Planner(memory, min_support=0.6).cost_to_go([goal]))


def test_what_makes_room_among_movements_is_no_longer_counted_on():
    bounds = np.zeros(2), np.array([200.0, 1.0])
    memory = TransitionMemory(2, 1, 400, movement_context=(1,))
    planner = Planner(memory, bounds=bounds)
    memory.write([[0.0, 0.0]], [0], [[1.0, 0.0]])
    goal = memory.name([[5.0, 0.0]])
    planner.cost_to_go([goal])
    for place in range(40):  # of another context, until the first has made room
        memory.write([[float(place), 1.0]], [0], [[place + 1.0, 1.0]])
        planner.refresh()
    at = memory.states.find(np.array([[1.0, 0.0]], np.float32), np.array([0]))
    assert planner.cost_to_go([goal])[0][at] == Planner(memory, bounds=bounds).cost_to_go([goal])[0][at] == np.inf


@pytest.mark.parametrize("capacity", [100, 48, 41])
def test_imagination_leaves_a_quarter_of_the_table(capacity):
    memory = TransitionMemory(1, 1, capacity)
    planner = Planner(memory, bounds=(np.zeros(1), np.full(1, 999)))
    memory.write([[0.0]], [0], [[1.0]])
    planner.refresh()
    assert memory.states.num_free == capacity // 4


@pytest.mark.parametrize(
    "costs", [{"unknown_cost": 0}, {"unknown_cost": np.nan}, {"harm_cost": -0.1}, {"refused_cost": -0.1}]
)
def test_costs_that_are_none_are_refused(costs):
    memory = TransitionMemory(1, 1, 4)
    with pytest.raises(ValueError, match="costs must be positive"):
        Planner(memory, **costs)
    Planner(memory, unknown_cost=1e-3, harm_cost=0, refused_cost=0)


def test_by_default_an_imagined_step_costs_what_a_remembered_one_does_and_harm_is_vetoed():
    given = signature(Planner).parameters.values()
    assert {one.name: one.default for one in given if one.default is not Parameter.empty} == {
        "imagine": True,
        "bounds": None,
        "unknown_cost": 1.0,
        "harm_cost": np.inf,
        "min_support": 0.0,
        "refused_cost": 0.0,
    }


@pytest.mark.parametrize(("min_support", "cost"), [(0.5, 2), (0.51, np.inf)])
def test_a_movement_is_expected_if_just_enough_of_the_recalled_ones_agree(min_support, cost):
    memory = TransitionMemory(1, 1, 20)
    memory.write([[0.0], [3.0]], [0, 0], [[1.0], [3.0]])  # ahead, and blocked
    ids = memory.name([[1.0], [2.0], [3.0]])
    planner = Planner(memory, min_support=min_support)
    assert planner.cost_to_go([ids[2:]])[0, ids[0]] == cost
    assert planner.imagined(ids[:2], np.zeros(2, int)).tolist() == (ids[1:].tolist() if cost == 2 else [-1, -1])
    assert planner.imagined(np.array([memory.name([[0.0]])[0]]), np.array([0])).tolist() == [-1]  # it is remembered


def test_what_was_only_ever_blocked_leads_nowhere():
    memory = TransitionMemory(1, 1, 20)
    memory.write([[0.0]], [0], [[0.0]])
    ids = memory.name([[0.0], [1.0], [2.0]])
    planner = Planner(memory)
    assert planner.cost_to_go([ids[2:]])[0, ids[:2]].tolist() == [np.inf, np.inf]
    assert planner.shortest_path(ids[:2], [ids[2:], ids[1:2]]).lengths.tolist() == [-1, 0]


def test_looking_leaves_a_planner_as_it_was():
    grid, memory = Grid(5), TransitionMemory(2, 4, 60)
    planner = Planner(memory, refused_cost=2.0)
    experience(memory, grid, [((2, 2), action) for action in range(4)])
    goal = memory.name(np.array([[4, 4]]))
    before = planner.cost_to_go([goal])
    saved = planner.state_dict()
    with memory.only_looking(), planner.only_looking():
        far = memory.name(np.array([[7, 7]]))
        planner.cost_to_go([far])
    assert np.array_equal(planner.cost_to_go([goal]), before)
    after = planner.state_dict()
    assert all(np.array_equal(np.asarray(after[name]), np.asarray(part)) for name, part in saved.items())


def chain(length=5, owners=1):
    """Each state leads to the next by action 0."""
    memory = TransitionMemory(1, 2, 100, owners=owners)
    for owner in range(owners):
        states = np.arange(length, dtype=float)[:, None]
        memory.write(states, np.zeros(length, int), states + 1, owners=np.full(length, owner))
    return memory


@pytest.mark.parametrize("saved", [False, True])
def test_an_owner_that_was_cleared_has_met_nothing(saved):
    memory = TransitionMemory(1, 2, 100)
    planner = Planner(memory)
    memory.write(np.array([[0.0], [50.0]]), np.array([0, 0]), np.array([[1.0], [51.0]]))
    planner.refresh()
    memory.clear(np.array([0]))
    if saved:
        held = memory.state_dict(), planner.state_dict()
        memory = TransitionMemory(1, 2, 100)
        planner = Planner(memory)
        memory.load_state_dict(held[0])
        planner.load_state_dict(held[1])
    memory.write(np.array([[0.0]]), np.array([0]), np.array([[1.0]]))
    planner.refresh()
    assert sorted(memory.states.vectors[memory.ids()].ravel()) == [0, 1]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda planner: planner.cost_to_go([np.array([300])]), "each set of goals must be .* below 100, got .300"),
        (lambda planner: planner.cost_to_go(np.array([[3, -2]])), "goals must be"),
        (lambda planner: planner.cost_to_go(np.array([3])), "each set of goals must be .N. ids of states"),
        (lambda planner: planner.action_costs(np.array([500]), [np.array([3])]), "states must be .* got .500"),
        (lambda planner: planner.shortest_path(np.array([0, 1]), [np.array([3])]), "1 sets of goals for 2 states"),
        (lambda planner: planner.costs_from(np.array([-1])), "starts must be .* got .-1"),
    ],
)
def test_states_that_are_none_are_refused_by_name(ask, says):
    planner = Planner(chain(owners=2), imagine=False)
    with pytest.raises(ValueError, match=says):
        ask(planner)


@pytest.mark.parametrize("learning", [0, 1])
def test_a_set_with_states_of_several_owners_is_worked_out_anew_when_any_of_them_learns(learning):
    memory = chain(owners=2)
    planner = Planner(memory, imagine=False)
    ends = [np.concatenate([memory.states.find(np.array([[5.0]]), np.array([owner])) for owner in (0, 1)])]
    before = planner.cost_to_go(ends).copy()
    memory.write(np.array([[0.0]]), np.array([1]), np.array([[4.0]]), owners=np.array([learning]))
    after = planner.cost_to_go(ends)
    assert np.array_equal(after, Planner(memory, imagine=False).cost_to_go(ends))
    start = memory.states.find(np.array([[0.0]]), np.array([learning]))[0]
    assert before[0, start] == 5 and after[0, start] == 2


def test_a_set_filled_up_in_front_is_worked_out_anew_as_any_other():
    memory = chain(owners=2)
    planner, goals = Planner(memory, imagine=False), np.array([[-1, 3]])
    assert planner.cost_to_go(goals)[0, 0] == 3
    memory.write(np.array([[0.0]]), np.array([1]), np.array([[3.0]]))
    assert planner.cost_to_go(goals)[0, 0] == 1


@pytest.mark.parametrize("bounds", [(np.zeros(1),), (np.ones(1), np.zeros(1)), (np.zeros(2), np.ones(2)), (0, 5)])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="bounds must be the lowest and the highest of 1 numbers"):
        Planner(chain(), bounds=bounds)
