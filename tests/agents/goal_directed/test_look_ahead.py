"""What the slow half does: shortest ways, first actions of them, and what it takes back when it was wrong."""

from dataclasses import FrozenInstanceError
from inspect import signature

import numpy as np
import pytest

from engram_rl.agents.goal_directed.look_ahead import NONE, Branches, Plan, Search, Situation, Slow, best_allowed
from engram_rl.agents.goal_directed.probing import known_effects, reconsider, worth_trying
from engram_rl.memory import Planner, TransitionMemory

LEFT, UP, RIGHT, DOWN = range(4)
MOVES = np.array([(-1, 0), (0, -1), (1, 0), (0, 1)])
INF = float("inf")


def taught(memory, *steps, owner=0):
    """A memory that has met steps `(place, action, following)`."""
    for place, action, following in steps:
        written(memory, place, action, following, owner)
    return memory


def written(memory, place, action, following, owner=0):
    return memory.write(np.array([place]), np.array([action]), np.array([following]), owners=np.array([owner]))


def knows(memory, place, action, owner=0):
    return bool(memory.known(memory.name(np.array([place]), np.array([owner])))[0, action])


def searching(owners=1):
    """A search that knows from (5, 5) what each action does."""
    memory = TransitionMemory(2, 4, 2000, owners=owners)
    for owner in range(owners):
        taught(memory, *(((5, 5), action, (5, 5) + MOVES[action]) for action in range(4)), owner=owner)
    bounds = (np.zeros(2), np.full(2, 9))
    return Search(Planner(memory, bounds=bounds, unknown_cost=1.2, refused_cost=INF), False)


def situation(memory, places, targets, *, owners=None, preference=None, certain=True, allowed=None):
    """Of one environment for each place; targets are places, or None."""
    owners = np.zeros(len(places), np.int64) if owners is None else np.array(owners)
    named = [
        NONE if place is None else int(memory.name(np.array([place]), owners[env : env + 1])[0])
        for env, place in enumerate(targets)
    ]
    preference = np.zeros((len(places), memory.num_actions)) if preference is None else np.array(preference)
    ids = memory.name(np.array(places), owners)
    return Situation(ids, owners, np.array([[one, NONE] for one in named]), lambda: preference, certain, allowed)


def chosen(search, *given, explore=True, seed=0, **more):
    return search.plan(situation(search.memory, *given, **more), np.random.default_rng(seed), explore).actions.tolist()


@pytest.mark.parametrize(
    ("score", "allowed", "action"),
    [
        ([1, 3, 2], None, 1),
        ([1, 3, 2], [1, 0, 1], 2),
        ([-INF, 3, -INF], [1, 0, 1], 0),
        ([-INF, 3, -1e300], [1, 0, 1], 2),
        ([5, -INF, -INF], [0, 0, 1], 2),
        ([-INF, -INF, -INF], [0, 1, 0], 1),
        ([1, 1, 0], None, 0),
    ],
)
def test_the_best_of_what_is_allowed_is_taken_however_bad_it_is(score, allowed, action):
    scores = np.array([score, score[::-1]], float)
    mask = None if allowed is None else np.array([allowed, allowed[::-1]], bool)
    first, second = best_allowed(scores, mask)
    assert first == action and scores[1, second] == score[action] and (mask is None or mask[1, second])


@pytest.mark.parametrize("kind", [Search, Branches])
def test_every_kind_of_slow_part_is_asked_in_the_same_way(kind):
    for name in ("plan", "expected", "observe", "successors", "state_dict", "load_state_dict"):
        assert signature(getattr(kind, name)).parameters == signature(getattr(Slow, name)).parameters


def test_plans_and_situations_stay_as_they_are():
    plan = Plan(np.zeros(1))
    assert plan.walks is None and situation(TransitionMemory(2, 4, 9), [(0, 0)], [None]).allowed is None
    for frozen in (plan, situation(TransitionMemory(2, 4, 9), [(0, 0)], [None])):
        with pytest.raises(FrozenInstanceError):
            frozen.actions = np.ones(1)


def ways(planner, targets):
    """Least cost from every state to one of the targets, by repeating what a step costs until nothing changes."""
    costs = np.full(len(planner.successor), INF)
    costs[targets] = 0
    before = None
    while not np.array_equal(before, costs):
        before = costs.copy()
        for state, action in zip(*np.nonzero(planner.successor >= 0), strict=True):
            costs[state] = min(costs[state], planner.cost[state, action] + costs[planner.successor[state, action]])
    return costs


def least_costs(planner, state, targets, untried):
    """The cost of each action, as the search is described, for one environment."""
    memory, targets = planner.memory, targets[targets != NONE]
    to = ways(planner, targets)
    costs = [
        planner.cost[state, action] + to[following] if following >= 0 else INF
        for action, following in enumerate(planner.successor[state])
    ]
    if np.isfinite(costs).any():
        return np.array(costs)
    detours = {}
    for place in np.flatnonzero(untried.any(1)):
        steps = ways(planner, [place])[state]
        onward = np.abs(memory.states.vectors[place] - memory.states.vectors[targets[0]]).sum() if len(targets) else 0
        detours[place] = steps + onward
    best = min(detours, key=detours.get, default=None)
    if best is None or detours[best] == INF:
        return np.zeros(memory.num_actions)
    if best == state:
        return np.where(untried[state], 0.0, 1.0)
    to = ways(planner, [best])
    return np.array(
        [
            planner.cost[state, action] + to[following] if following >= 0 else INF
            for action, following in enumerate(planner.successor[state])
        ]
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_action_is_the_preferred_one_of_those_that_lead_to_a_target_or_to_something_to_find_out(seed):
    rng, owners = np.random.default_rng(seed), np.array([0, 1, 0, 1])
    memory = TransitionMemory(2, 5, 40, owners=2)
    search = Search(Planner(memory, imagine=False), False)
    for _ in range(22):  # the last action is in vain, where it is tried at all, and the others lead anywhere
        place, action = rng.integers(0, 3, (1, 2)), rng.choice(5, 1, p=[0.3, 0.3, 0.2, 0.1, 0.1])
        following = place if action == 4 else np.clip(place + rng.integers(-1, 2, (1, 2)), 0, 2)
        memory.write(place, action, following, owners=rng.integers(0, 2, 1))
    probed = 0
    for _ in range(8):
        ids = np.array(
            [rng.choice(np.flatnonzero(memory.visited & (memory.states.owners == owner))) for owner in owners]
        )
        targets = np.full((4, 2), NONE)
        for env, number in enumerate(rng.integers(0, 3, 4)):
            places = rng.integers(0, 4, (number, 2)) if rng.random() < 0.7 else rng.integers(7, 9, (number, 2))
            targets[env, :number] = memory.name(places, owners[[env] * number])
        preference = rng.integers(0, 3, (4, 5)) * 1e-3
        allowed = None if rng.random() < 0.5 else rng.random((4, 5)) < 0.6
        if allowed is not None:
            allowed[:, 0] |= ~allowed.any(1)
        untried = worth_trying(memory, np.arange(40), memory.states.owners) & memory.states.used[:, None]
        search.planner.refresh()
        plan = search.plan(
            Situation(ids, owners, targets, lambda one=preference: one, bool(rng.integers(2)), allowed),
            rng,
            bool(rng.integers(2)),
        )
        for env, action in enumerate(plan.actions):
            mine = np.arange(40)[:, None] * 0 + (memory.states.owners == owners[env])[:, None]
            costs = least_costs(search.planner, ids[env], targets[env], untried & (mine > 0))
            among = np.ones(5, bool) if allowed is None else allowed[env]
            least = among & (costs <= costs[among].min() + 1e-9)
            assert least[action] and preference[env, action] == preference[env, least].max()
            probed += bool(np.isfinite(costs).all() and (costs <= 1).all())
    assert probed > 1


def test_equally_good_actions_are_all_taken_and_a_slight_preference_decides():
    search = searching()
    there = ([(2, 2)], [(4, 4)])
    assert {chosen(search, *there, seed=seed)[0] for seed in range(40)} == {RIGHT, DOWN}
    for slight in ([[0, 0, 1e-3, 0]], [[9, 9, 5 + 1e-3, 5]]):
        assert {chosen(search, *there, seed=seed, preference=slight)[0] for seed in range(40)} == {RIGHT}
    masked = np.array([[True, True, False, False]])
    assert {chosen(search, *there, seed=seed, allowed=masked)[0] for seed in range(40)} == {LEFT, UP}
    assert chosen(search, *there, preference=[[0, -INF, 9, 9]], allowed=masked) == [LEFT]


def test_where_an_action_leads_is_what_is_remembered_or_else_imagined():
    search = searching(owners=2)
    memory = taught(search.memory, ((2, 2), RIGHT, (2, 2)), owner=1)
    places, owners = np.array([(2, 2), (2, 2), (8, 8)]), np.array([0, 1, 1])
    for actions, following in (([RIGHT] * 3, [(3, 2), (2, 2), None]), ([LEFT] * 3, [(1, 2), (1, 2), (7, 8)])):
        expected = search.expected(places, owners, np.array(actions))
        wanted = [
            NONE if one is None else memory.name(np.array([one]), owners[env : env + 1])[0]
            for env, one in enumerate(following)
        ]
        assert (
            expected[:2].tolist() == wanted[:2]
            and search.successors(memory.name(places, owners))[np.arange(3), actions].tolist() == expected.tolist()
        )
    lonely = Search(Planner(TransitionMemory(2, 4, 9)), False)
    assert lonely.expected(places[:2], np.zeros(2, int), np.array([0, 1])).tolist() == [NONE, NONE]


REFUSED = [((2, 2), RIGHT, (2, 2))]  # something is at (3, 2)


@pytest.mark.parametrize(
    ("place", "target", "certain", "explore", "kept"),
    [
        ((1, 1), (3, 2), True, True, False),  # the goal is there, so one can be there
        ((1, 1), (3, 2), False, True, True),
        ((1, 1), (3, 2), True, False, True),
        ((3, 2), (1, 1), True, True, False),  # one is there
        ((3, 2), (1, 1), False, True, False),
        ((3, 2), (1, 1), False, False, True),
        ((3, 2), None, True, True, False),
        ((1, 1), (1, 3), True, True, True),
        ((1, 1), None, True, True, True),
    ],
)
def test_where_one_can_be_refuses_nobody(place, target, certain, explore, kept):
    search = searching(owners=2)
    for owner in range(2):
        taught(search.memory, *REFUSED, ((3, 1), DOWN, (3, 2)), owner=owner)  # which leaves a way
    chosen(search, [place], [target], owners=[1], certain=certain, explore=explore)
    assert knows(search.memory, (2, 2), RIGHT, owner=1) is kept and knows(search.memory, (2, 2), RIGHT, owner=0)


def shut_in(search, owner=0):
    """In (2, 2), from which everything refused in this episode."""
    return taught(search.memory, *(((2, 2), action, (2, 2)) for action in range(4)), owner=owner)


@pytest.mark.parametrize("explore", [True, False])
def test_refusals_that_leave_no_way_are_dropped_of_those_concerned_and_only_while_it_explores(explore):
    search = searching(owners=3)
    for owner in range(3):
        memory = shut_in(search, owner)
    given = ([(2, 2), (2, 2), (7, 7)], [(9, 2), None, (7, 9)])
    actions = chosen(search, *given, owners=[0, 1, 2], certain=False, explore=explore)
    known = [[knows(memory, (2, 2), action, owner) for action in range(4)] for owner in range(3)]
    assert known == [[not explore] * 4, [True] * 4, [True] * 4] and actions[2] == DOWN
    assert actions[0] == RIGHT or not explore


def test_refusals_of_this_episode_stand_while_anything_is_left_to_try():
    memory = taught(TransitionMemory(2, 4, 2000), ((2, 3), UP, (2, 2)))
    search = Search(Planner(memory, bounds=(np.zeros(2), np.full(2, 9)), refused_cost=INF), False)
    taught(memory, ((2, 2), UP, (2, 2)))
    assert chosen(search, [(2, 2)], [(2, 0)]) != [UP] and knows(memory, (2, 2), UP)
    memory.tick(1, np.arange(1))
    assert chosen(search, [(2, 2)], [(2, 0)]) == [UP] and not knows(memory, (2, 2), UP)
    taught(
        memory, ((2, 2), UP, (2, 2)), *(((x, 9), action, (x, 9)) for x in range(3) for action in (LEFT, RIGHT, DOWN))
    )
    assert chosen(search, [(2, 2)], [(2, 0)]) == [UP] and not knows(memory, (2, 2), UP)  # the others do nothing


def test_who_may_try_something_keeps_its_refusals_and_who_may_not_loses_them():
    search = searching(owners=2)
    memory = shut_in(search, owner=1)
    memory.contradict(*(np.array(part) for part in zip(*(((5, 5), a) for a in (LEFT, DOWN)), strict=True)))
    memory.movements.stored.reshape(2, 4)[0, [LEFT, DOWN]] = 0
    taught(memory, ((2, 2), UP, (2, 2)), ((2, 2), RIGHT, (2, 2)))
    actions = chosen(search, [(2, 2), (2, 2)], [(2, 0), (2, 0)], owners=[0, 1], certain=False)
    assert actions[0] in (LEFT, DOWN) and actions[1] == UP
    assert knows(memory, (2, 2), UP, owner=0) and not knows(memory, (2, 2), UP, owner=1)


def test_a_judged_search_that_is_cut_off_forgets_nothing_that_it_knows():
    search = searching()
    memory = shut_in(search)
    before = memory.table.changes
    for explore in (False, True):
        chosen(search, [(2, 2), (2, 2)], [(9, 2), (2, 9)], explore=explore, certain=False)
        assert (memory.table.changes == before) is not explore


def observed(search, place, action, following, owner=0):
    owners = np.array([owner])
    expected = search.expected(np.array([place]), owners, np.array([action]))
    search.observe(owners, expected, written(search.memory, place, action, following, owner))


def test_refused_entry_speaks_against_all_remembered_ways_into_that_state():
    search = searching(owners=2)
    into = [((3, 1), DOWN, (3, 2)), ((4, 2), LEFT, (3, 2)), ((3, 2), UP, (3, 2)), ((3, 2), RIGHT, (4, 2))]
    for owner in range(2):
        memory = taught(search.memory, *into, owner=owner)
    for action, following in ((LEFT, (1, 2)), (UP, (2, 2))):  # as expected, and blocked at (2, 1)
        observed(search, (2, 2), action, following)
        assert all(knows(memory, place, action) for place, action, _ in into)
    for elsewhere in ((5, 5), (1, 2), (2, 3)):
        memory.contradict(np.array([(2, 2)]), np.array([RIGHT]))
        observed(search, (2, 2), RIGHT, elsewhere)
        assert all(knows(memory, place, action) for place, action, _ in into)
    observed(search, (9, 9), DOWN, (9, 9))
    observed(search, (3, 2), UP, (3, 2))  # stayed, as it had before
    assert [knows(memory, place, action) for place, action, _ in into] == [True] * 4
    memory.contradict(np.array([(2, 2)]), np.array([RIGHT]))
    observed(search, (2, 2), RIGHT, (2, 2))
    assert [knows(memory, place, action) for place, action, _ in into] == [False, False, True, True]
    assert knows(memory, (2, 2), RIGHT) and all(knows(memory, place, action, 1) for place, action, _ in into)


def test_where_nothing_is_expected_to_stay_refuses_nothing():
    memory = TransitionMemory(2, 4, 100)
    search = Search(Planner(memory), False)
    before = [((1, 1), LEFT, (1, 1)), ((1, 2), LEFT, (1, 2))]
    taught(memory, *before)
    observed(search, (7, 7), UP, (7, 7))
    assert all(knows(memory, place, action) for place, action, _ in [*before, ((7, 7), UP, None)])


def test_a_surprise_drops_the_refusals_of_earlier_episodes_of_who_was_surprised():
    search = searching(owners=2)
    memory = search.memory
    for owner in range(2):
        taught(memory, *REFUSED, owner=owner)
    memory.tick(1, np.arange(2))
    for owner in range(2):
        taught(memory, ((7, 2), RIGHT, (7, 2)), owner=owner)
    observed(search, (5, 5), LEFT, (4, 5))  # as ever
    assert knows(memory, (2, 2), RIGHT)
    observed(search, (5, 5), DOWN, (5, 5))  # was free, is blocked
    known = [[knows(memory, place, RIGHT, owner) for place in ((2, 2), (7, 2))] for owner in range(2)]
    assert known == [[False, True], [True, True]]


def test_what_was_remembered_before_a_shift_that_is_known_already_says_nothing_of_another():
    search = searching(owners=2)
    memory, refusal = search.memory, ((7, 2), RIGHT, (7, 2))
    memory.tick(1, np.arange(2))
    observed(search, (5, 5), DOWN, (5, 5))  # a shift
    for owner in range(2):
        taught(memory, refusal, owner=owner)
    memory.tick(1, np.arange(2))
    twin = searching(owners=2)
    twin.load_state_dict(search.state_dict())
    observed(search, (5, 5), LEFT, (5, 5))  # was remembered before
    assert knows(memory, (7, 2), RIGHT)
    observed(search, (5, 5), LEFT, (5, 5), owner=1)  # who had noticed nothing
    assert not knows(memory, (7, 2), RIGHT, owner=1)
    taught(memory, ((8, 8), RIGHT, (9, 8)))
    memory.tick(1, np.arange(2))
    observed(search, (8, 8), RIGHT, (8, 8))  # another
    assert not knows(memory, (7, 2), RIGHT)
    assert twin.state_dict()["shifted"].tolist() == [1, -INF] and search.state_dict()["shifted"].tolist() == [3, 2]
    twin.load_state_dict({})
    assert twin.state_dict()["shifted"].tolist() == [-INF, -INF]


def test_whole_ways_are_worked_out_for_replay_and_are_empty_for_who_knows_none():
    memory = taught(TransitionMemory(2, 4, 50), *(((x, 0), RIGHT, (x + 1, 0)) for x in range(4)))
    search = Search(Planner(memory, imagine=False), True)
    walks = search.plan(
        situation(memory, [(1, 0), (3, 0), (4, 0)], [(4, 0), (0, 0), None]), np.random.default_rng(0), True
    ).walks
    assert walks.lengths.tolist() == [3, 0, 0] and walks.actions.tolist() == [[RIGHT] * 3, [NONE] * 3, [NONE] * 3]
    assert memory.states.vectors[walks.states[0]].tolist() == [[x, 0] for x in range(1, 5)]
    nobody = situation(memory, [(3, 0), (4, 0)], [(0, 0), None])
    assert search.plan(nobody, np.random.default_rng(0), True).walks is None
    search = Search(Planner(memory, imagine=False), False)
    assert search.plan(situation(memory, [(1, 0)], [(4, 0)]), np.random.default_rng(0), True).walks is None


def test_branches_follow_the_shortest_way_that_one_of_them_has_found():
    memory = taught(TransitionMemory(2, 4, 50), *(((x, 0), RIGHT, (x + 1, 0)) for x in range(4)))
    taught(memory, ((0, 0), UP, (0, 1)), ((0, 1), RIGHT, (1, 1)), ((1, 1), DOWN, (1, 0)), ((0, 0), LEFT, (9, 9)))
    branches, rng = Branches(memory, 60, 5), np.random.default_rng(0)
    places, targets = [(0, 0), (2, 0), (4, 0), (0, 0), (0, 1)], [(4, 0), (0, 0), (4, 0), (1, 1), (4, 0)]
    plan = branches.plan(situation(memory, places, targets), rng, True)
    assert plan.actions.tolist() == [RIGHT, NONE, NONE, UP, RIGHT]
    assert plan.walks.lengths.tolist() == [4, NONE, 0, 2, 5]
    assert memory.states.vectors[plan.walks.states[3, :3]].tolist() == [[0, 0], [0, 1], [1, 1]]
    assert plan.walks.actions[0].tolist() == [RIGHT] * 4 + [NONE]
    allowed = np.ones((5, 4), bool)
    allowed[0, RIGHT] = allowed[3, RIGHT] = False
    assert branches.plan(situation(memory, places, targets, allowed=allowed), rng, True).actions.tolist() == [
        NONE,
        NONE,
        NONE,
        UP,
        RIGHT,
    ]
    assert Branches(memory, 60, 4).plan(situation(memory, places, targets), rng, True).actions.tolist()[4] == NONE


def test_branches_find_what_is_a_step_away():
    steps = [((0, 0), LEFT, (9, 0)), ((0, 0), UP, (0, 9)), ((0, 0), RIGHT, (1, 0)), ((0, 0), DOWN, (0, 1))]
    memory = taught(TransitionMemory(2, 4, 50), *steps, ((0, 1), UP, (0, 0)))
    plan = Branches(memory, 60, 3).plan(
        situation(memory, [(0, 0)] * 4, [following for *_, following in steps]), np.random.default_rng(0), True
    )
    assert plan.actions.tolist() == [LEFT, UP, RIGHT, DOWN] and plan.walks.lengths.tolist() == [1] * 4


def test_of_ways_of_equal_length_the_one_that_is_remembered_is_taken():
    search = searching()
    taught(search.memory, ((2, 2), DOWN, (2, 3)), ((2, 3), RIGHT, (3, 3)))
    preferred = [[0, 0, 9, 0]]
    assert {chosen(search, [(2, 2)], [(3, 3)], preference=preferred, seed=seed)[0] for seed in range(20)} == {DOWN}


def test_branches_expect_nothing():
    memory = taught(TransitionMemory(2, 4, 50), ((0, 0), RIGHT, (1, 0)))
    branches = Branches(memory, 6, 5)
    assert branches.successors(np.array([0, 1, 0])).tolist() == [[NONE] * 4] * 3
    assert branches.expected(np.zeros((1, 2)), np.zeros(1, int), np.array([RIGHT])) is None


PLACES = np.array([(0, 0), (1, 1), (2, 2), (3, 3)])


@pytest.mark.parametrize(
    ("tries", "worth"), [(0, [1, 1, 1, 1]), (1, [0, 1, 1, 1]), (2, [0, 0, 1, 1]), (3, [0, 0, 0, 0])]
)
def test_an_action_is_tried_in_three_states_before_it_counts_as_one_that_does_nothing(tries, worth):
    memory = TransitionMemory(2, 3, 50, owners=2)
    for place in PLACES[:tries]:
        taught(memory, (place, 1, place), owner=1)
    for owner, expected in ((1, worth), (0, [1, 1, 1, 1])):
        owners = np.full(4, owner)
        untried = worth_trying(memory, memory.name(PLACES, owners), owners)
        assert untried.shape == (4, 3) and untried[:, [0, 2]].all() and untried[:, 1].tolist() == expected


def test_an_action_that_did_something_somewhere_need_not_be_tried_elsewhere():
    memory = taught(TransitionMemory(2, 3, 50, owners=2), ((0, 0), 1, (0, 1)), ((1, 1), 2, (1, 1)), owner=1)
    both, owners = np.repeat(PLACES[2:], 2, 0), np.array([0, 1, 0, 1])
    ids = memory.name(both, owners)
    assert known_effects(memory, ids, owners).tolist() == [[0, 0, 0], [0, 1, 0]] * 2
    assert worth_trying(memory, ids, owners).tolist() == [[1, 1, 1], [1, 0, 1]] * 2


def test_only_what_was_in_vain_is_reconsidered():
    memory = TransitionMemory(2, 3, 50, owners=2)
    for owner in range(2):
        for place in PLACES[:3]:
            taught(memory, (place, 1, place), (place, 2, place + 1), owner=owner)
        taught(memory, ((0, 0), 0, (0, 0)), owner=owner)
    ids = [memory.name(PLACES[[0, 3]], np.full(2, owner)) for owner in range(2)]
    reconsider(memory, np.array([1]))
    assert worth_trying(memory, ids[0], np.zeros(2, int)).tolist() == [[0, 0, 0], [1, 0, 0]]
    assert worth_trying(memory, ids[1], np.ones(2, int)).tolist() == [[0, 0, 0], [1, 1, 0]]
    assert memory.movements.stored.tolist() == [1, 3, 3, 1, 0, 3]
