"""Where an agent goes: what a goal shown may be, and where one that is not shown probably is."""

from collections import Counter
from dataclasses import dataclass, field
from inspect import signature

import numpy as np
import pytest

from engram_rl.agents.goal_directed.goals import FoundGoal, Goals, ShownGoal
from engram_rl.agents.goal_directed.places import PlaceStates
from engram_rl.agents.goal_directed.probing import worth_trying
from engram_rl.agents.goal_directed.views import WholeGoals
from engram_rl.memory import Planner, TransitionMemory
from engram_rl.memory.transitions.states import ABSENT

MOVES = np.array([(-1, 0), (0, -1), (1, 0), (0, 1)])
SETTINGS = {"unknown_cost": 1.2, "refused_cost": np.inf}


@dataclass
class Seen:
    """A goal in sight for each environment, `[E, D]`, and places that are seen to be empty."""

    goals: np.ndarray
    envs: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))


class Sight(WholeGoals):
    """Shows what a test says; with headings, two of them, which a goal leaves open."""

    shows_goal, bounds, movement_context = False, None, ()

    def __init__(self, headings: bool) -> None:
        self.dim = 3 if headings else 2
        if headings:
            self.open, self.fillings = (2,), np.arange(2, dtype=np.float32)[:, None]

    def states(self, observation):
        raise NotImplementedError

    def goals(self, observation):
        return observation.goals

    def empty_places(self, observation):
        return observation.envs, observation.places


def nothing(view, envs):
    return Seen(np.full((envs, view.dim), np.nan, np.float32))


class Seeker:
    """Seeks a goal as it is described, with dictionaries, one state and one environment at a time."""

    def __init__(self, memory, planner, view, owners):
        self.memory, self.planner, self.view, self.owners = memory, planner, view, owners
        self.now, self.visited, self.times = 0, {}, Counter()
        self.found_at, self.last = dict.fromkeys(set(owners), -1), {}
        self.shares = {owner: np.ones(3) for owner in set(owners)}
        self.moves = {owner: np.zeros(64) for owner in set(owners)}
        self.target = [None] * len(owners)
        self.rounds = 0  # in which everything had been searched in vain
        self.names = {self.key(state): state for state in memory.ids()}

    def key(self, state):
        return int(self.memory.states.owners[state]), tuple(self.memory.states.vectors[state].tolist())

    def named(self, owner):
        return [key for key in self.names if key[0] == owner]

    def alike(self, key):
        return [(key[0], (*key[1][:2], *filling)) for filling in self.view.fillings.tolist()]

    def is_open(self, key):
        return self.visited.get(key, -1) <= self.found_at[key[0]]

    def distance(self, one, other):
        exact = sum(abs(a - b) for a, b in zip(one[1][:2], other[1][:2], strict=True))
        return 0 if exact == 0 else min(max(round(exact), 1), 63)

    def likelihoods(self, key):
        owner, each = key[0], len(self.view.fillings)
        last = self.last[owner]
        places = Counter(self.distance(last, other) for other in self.named(owner))
        places = {distance: number / each for distance, number in places.items() if distance}
        others = sum(self.times[other] > 0 and self.distance(last, other) > 0 for other in self.named(owner)) / each
        moves = self.moves[owner].copy()
        for distance, number in places.items():
            moves[distance] += number / max(sum(places.values()), 1)
        here = self.distance(last, key)
        returns = 1 / max(others, 1) if here and self.times[key] else 0
        moved = moves[here] / moves.sum() / max(places[here], 1) if here else 0
        return np.array([here == 0, returns, moved])

    def chance(self, key):
        return self.shares[key[0]] @ self.likelihoods(key) if key[0] in self.last else 1.0

    def look(self, seen, explore):
        """The goal in sight of each environment."""
        if explore:
            for env, place in zip(seen.envs, seen.places, strict=True):
                for key in self.alike((int(self.owners[env]), tuple(place.tolist()))):
                    self.visited[key] = self.now + 1
        in_sight = [None] * len(self.owners)
        for env, goal in enumerate(seen.goals):
            if not np.isnan(goal[0]):
                in_sight[env] = (int(self.owners[env]), tuple(np.where(np.isnan(goal), 0, goal).tolist()))
                for key in self.alike(in_sight[env]) if explore else []:
                    self.visited[key] = -1
        return in_sight

    def choose(self, seen, ids, explore, allowed):
        """Of each environment the states that are as good as any to go for; none where it is to probe."""
        held = list(self.target) if explore else [None] * len(ids)
        in_sight, choices, undecided = self.look(seen, explore), [None] * len(ids), []
        for env, state in enumerate(ids):
            if held[env] is not None and (not self.is_open(held[env]) or held[env] == self.key(state)):
                held[env] = None
            choice = in_sight[env] or held[env]
            untried = worth_trying(self.memory, ids[env : env + 1], self.owners[env : env + 1])[0]
            curious = (untried if allowed is None else untried & allowed[env]).any()
            choices[env] = [choice] if choice else []
            if not choice and not curious:
                undecided.append(env)
        costs = {env: self.planner.costs_from(ids[env : env + 1])[0] for env in undecided}
        costs = {
            env: {self.key(state): cost for state, cost in enumerate(row) if 0 < cost < np.inf}
            for env, row in costs.items()
        }
        in_vain = {int(self.owners[env]) for env in undecided if costs[env] and not any(map(self.is_open, costs[env]))}
        for owner in in_vain:
            self.found_at[owner] = self.now
        self.rounds += len(in_vain)
        for env in undecided:
            worth = {key: self.worth(key, cost) for key, cost in costs[env].items() if self.is_open(key)}
            choices[env] = [key for key, each in worth.items() if each > max(worth.values()) - 1e-9]
        return choices

    def hold(self, targets, choices):
        """Of states that are as good as each other go for the ones that were chosen."""
        self.target = [self.key(state) if state >= 0 else None for state in targets]
        assert all(target in among for target, among in zip(self.target, choices, strict=True) if among)

    def worth(self, key, cost):
        following = [self.key(other) for other in self.planner.successor[self.names[key]] if other >= 0]
        return self.chance(key) / (cost + 0.1 * sum(map(self.is_open, following)))

    def observe(self, next_ids, good, done):
        self.now += 1
        for state in next_ids:
            self.visited.update(dict.fromkeys(self.alike(self.key(state)), self.now))
        for state in next_ids[good]:
            key = self.key(state)
            owner = key[0]
            if owner in self.last:
                foreseen = self.shares[owner] * self.likelihoods(key)
                self.shares[owner] = self.shares[owner] + foreseen / foreseen.sum()
                self.moves[owner][self.distance(self.last[owner], key)] += (foreseen / foreseen.sum())[2]
            self.times.update(self.alike(key))
            self.last[owner], self.found_at[owner] = key, self.now
        self.target = [None if ended else target for ended, target in zip(done, self.target, strict=True)]


def grid_world(view, size, owners, rng):
    """A memory in which all states of a grid are named, for each owner, in random order."""
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, 2)
    states = np.concatenate(
        [np.concatenate([places, np.tile(filling, (len(places), 1))], 1) for filling in view.fillings]
    )
    number = len(set(owners))
    rows = np.concatenate([[0], 1 + rng.permutation(len(states) * number - 1)])
    memory = TransitionMemory(view.dim, 4, 4 * len(rows), owners=number)
    memory.name(np.tile(states, (number, 1))[rows], np.repeat(np.arange(number), len(states))[rows])
    return memory, Planner(memory, **SETTINGS)


def moved(states, actions, size):
    """On a grid; the heading, where there is one, is by the action."""
    following = states.copy()
    following[:, :2] = np.clip(states[:, :2] + MOVES[actions], 0, np.array(size) - 1)
    if states.shape[1] > 2:
        following[:, 2] = actions % 2
    return following


def require_places(seeker, targets, expected):
    for row, choices in zip(targets, expected, strict=True):
        place = sorted(seeker.key(state) for state in row if state >= 0)
        assert (place in [sorted(seeker.alike(one)) for one in choices]) if choices else not place


def require_appeal(seeker, goals, states):
    is_open = [[float(state >= 0 and seeker.is_open(seeker.key(state))) for state in row] for row in states]
    assert goals.appeal(states).tolist() == is_open


def require_same(seeker, goals):
    state, used = goals.state_dict(), seeker.memory.ids()
    assert state["visited_at"][used].tolist() == [seeker.visited.get(seeker.key(one), -1) for one in used]
    assert (np.delete(state["visited_at"], used) == -1).all()
    assert state["found_at"].tolist() == [seeker.found_at[0], seeker.found_at[1]]
    assert state["target"].tolist() == [ABSENT if key is None else seeker.names[key] for key in seeker.target]
    assert state["shares"] == pytest.approx(np.stack([seeker.shares[0], seeker.shares[1]]))
    assert state["moves"] == pytest.approx(np.stack([seeker.moves[0], seeker.moves[1]]))


@pytest.mark.parametrize(("headings", "seed"), [(False, 0), (False, 1), (True, 2), (True, 3)])
def test_it_goes_where_the_goal_is_most_probable_for_the_way(headings, seed):
    rng, size, owners = np.random.default_rng(seed), (4, 3), np.array([1, 0, 1])
    view = Sight(headings)
    memory, planner = grid_world(view, size, owners, rng)
    goals, seeker = FoundGoal(view, memory, planner, owners), Seeker(memory, planner, view, owners)

    def anywhere(number):
        return rng.integers(0, [*size, 2][: view.dim], (number, view.dim)).astype(np.float32)

    states, hidden, went = anywhere(3), anywhere(2), 0
    hidden[0] = memory.states.vectors[0]
    for number in range(130):
        seen = nothing(view, 3)
        if number in (5, 15) or rng.random() < 0.15:
            env = 1 if number < 20 else rng.integers(3)
            seen.goals[env, :2] = hidden[owners[env], :2]
        if number % 3 == 0:
            seen.envs, seen.places = rng.integers(0, 3, 2), anywhere(2)
            seen.places[:, 2:] = 0
        allowed = None if number % 4 else rng.random((3, 4)) < 0.7
        ids = memory.name(states, owners)
        for explore in (False, True):
            expected = seeker.choose(seen, ids, explore, allowed)
            targets = goals.choose(seen, ids, explore=explore, allowed=allowed)
            require_places(seeker, targets, expected)
        held = goals.state_dict()["target"]
        seeker.hold(held, expected)
        require_appeal(seeker, goals, rng.integers(-1, len(memory.ids()), (3, 4)))
        ways = planner.action_costs(ids, np.where(held < 0, ids, held)[:, None]).argmin(1)
        actions = np.where((held >= 0) & (rng.random(3) < 0.7), ways, rng.integers(0, 4, 3))
        following = moved(states, actions, size)
        good = (following[:, :2] == hidden[owners, :2]).all(1) & (number % 100 < 50)
        written = memory.write(states, actions, following, owners=owners)
        done = good | (rng.random(3) < 0.05)
        for one in (goals, seeker):
            one.observe(written.next_states, good, done)
        went += good.sum()
        if number % 50 == 20:
            goals.begin_episodes()
            seeker.target = [None] * 3
        if number % 40 == 30:
            saved = goals.state_dict()
            goals, old = FoundGoal(view, memory, planner, owners), goals
            goals.load_state_dict(saved)
            old.observe(written.next_states, ~good, done)  # what was saved is no longer its own
        if number % 10 == 9:
            hidden[rng.integers(2) if number > 20 else 1] = anywhere(1)
        states = np.where(done[:, None], anywhere(3), following)
        require_same(seeker, goals)
    assert went > 5 and seeker.rounds > 1


@pytest.mark.parametrize("headings", [False, True])
def test_the_three_hypotheses_give_what_counting_places_gives(headings):
    rng, view, owners = np.random.default_rng(0), Sight(headings), np.array([1, 0])
    memory = TransitionMemory(view.dim, 4, 1000, owners=2)
    goals = FoundGoal(view, memory, planner := Planner(memory, **SETTINGS), owners)
    at = np.concatenate([rng.integers(0, 5, 40), rng.integers(0, 20, 12) / 4, 56 + np.arange(16), [200]])
    places = np.stack([at, rng.integers(0, 3, len(at)), *([np.zeros(len(at))] if headings else [])], 1)
    whose = rng.integers(0, 2, len(places))
    ids = PlaceStates(memory, view).alike(memory.name(places, whose))
    seeker = Seeker(memory, planner, view, owners)
    for found in [0, *rng.choice(52, 12), 0, 54, 68, 60, 61, 62, 63, 64, 65, 3, 3]:
        env = int(np.flatnonzero(owners == whose[found])[0])
        next_ids = np.full(2, ids[found, -1])
        good = np.arange(2) == env
        for one in (goals, seeker):
            one.observe(next_ids, good, good)
        require_same(seeker, goals)
        for owner in range(2):
            states = np.flatnonzero(memory.states.used & (memory.states.owners == owner))
            chances = [seeker.chance(seeker.key(one)) for one in states]
            assert goals._chances(owner, states) == pytest.approx(np.array(chances))
            if owner not in seeker.last:
                continue
            expected = np.array([seeker.likelihoods(seeker.key(one)) for one in states]).T
            assert goals._likelihoods(owner, states) == pytest.approx(expected)
    assert goals.state_dict()["moves"][:, 63].sum() > 0.1


def test_a_goal_at_the_only_place_that_is_known_is_there():
    memory = TransitionMemory(2, 4, 10)
    goals = FoundGoal(Sight(False), memory, Planner(memory), np.array([0]))
    ids, yes = memory.name(np.array([[3, 4]])), np.array([True])
    for _ in range(2):
        goals.observe(ids, yes, yes)
    assert goals._likelihoods(0, ids).tolist() == [[1], [0], [0]]
    assert goals.state_dict()["shares"].tolist() == [[2, 1, 1]]


def test_to_begin_with_nothing_was_visited_or_found():
    memory = TransitionMemory(2, 4, 5, owners=2)
    state = FoundGoal(Sight(False), memory, Planner(memory), np.array([0, 1, 1])).state_dict()
    moves = state.pop("moves")
    assert moves.shape == (2, 64) and not moves.any()
    assert {name: np.asarray(part).tolist() for name, part in state.items()} == {
        "now": 0,
        "visited_at": [-1] * 5,
        "found_at": [-1] * 2,
        "times_found": [0] * 5,
        "last_site": [-1] * 2,
        "shares": [[1, 1, 1]] * 2,
        "target": [-1] * 3,
    }


def test_only_a_goal_that_is_shown_is_certain_to_be_there():
    assert ShownGoal.certain and not FoundGoal.certain


@pytest.mark.parametrize("kind", [ShownGoal, FoundGoal])
def test_every_kind_of_goals_is_asked_in_the_same_way(kind):
    for name in ("choose", "appeal", "observe", "begin_episodes", "state_dict", "load_state_dict"):
        assert signature(getattr(kind, name)) == signature(getattr(Goals, name))


def test_a_place_seen_to_be_empty_is_open_again_when_the_goal_was_found_in_that_step():
    view, memory = Sight(False), TransitionMemory(2, 4, 10)
    goals = FoundGoal(view, memory, Planner(memory), np.array([0]))
    empty, here = memory.name(np.array([[5, 5], [3, 4]]))
    seen = nothing(view, 1)
    seen.envs, seen.places = np.array([0]), np.array([[5, 5]], np.float32)
    goals.choose(seen, np.array([here]))
    goals.observe(np.array([here]), np.array([False]), np.array([False]))
    assert goals.appeal(np.array([[empty, here]])).tolist() == [[0, 0]]
    goals.choose(seen, np.array([here]))
    goals.observe(np.array([here]), np.array([True]), np.array([False]))
    assert goals.appeal(np.array([[empty, here]])).tolist() == [[1, 1]]


def test_a_target_that_the_memory_has_forgotten_is_dropped_even_if_another_state_has_its_name():
    view, memory = Sight(False), TransitionMemory(2, 4, 16, owners=2)
    planner = Planner(memory, imagine=False)
    goals = FoundGoal(view, memory, planner, np.array([0, 1]))
    no, names = np.zeros(2, bool), np.array([[0, 0], [0, 0]], np.float32)
    for action in range(4):  # all is known, so that there is nothing to find out
        memory.write(names, np.full(2, action), names + np.array([1, 0]), owners=np.array([0, 1]))
    here = memory.name(names, np.array([0, 1]))
    targets = goals.choose(nothing(view, 2), here)[:, 0]
    assert memory.states.vectors[targets].tolist() == [[1, 0]] * 2
    memory._evict(targets)
    for explore, held in ((False, targets.tolist()), (True, [ABSENT] * 2)):
        assert goals.choose(nothing(view, 2), here, explore=explore).tolist() == [[ABSENT]] * 2
        assert goals.state_dict()["target"].tolist() == held
    memory.write(names, np.zeros(2, int), names + np.array([1, 0]), owners=np.array([0, 1]))
    targets = goals.choose(nothing(view, 2), here)[:, 0]
    saved = goals.state_dict()
    restored = FoundGoal(view, memory, planner, np.array([0, 1]))
    restored.load_state_dict(saved)
    memory._evict(targets[:1])
    again = memory.name(np.array([[9, 9]]), np.array([0]))
    assert again == targets[:1]
    for one in (goals, restored):
        one.observe(here, no, no)
        assert one.state_dict()["target"].tolist() == [-1, targets[1]]
    memory._evict(targets[1:])
    assert memory.name(np.array([[1, 0]]), np.array([0])) == targets[1:]
    for one in (goals, restored):
        one.observe(here, no, no)
        assert one.state_dict()["target"].tolist() == [-1, -1]


def test_what_is_not_allowed_is_nothing_to_find_out():
    view, memory = Sight(False), TransitionMemory(2, 4, 16, owners=2)
    goals = FoundGoal(view, memory, Planner(memory, imagine=False), np.array([0, 1]))
    here = np.zeros((2, 2), np.float32)
    for action in range(3):  # the last is not tried
        memory.write(here, np.full(2, action), here + np.array([1, 0]), owners=np.array([0, 1]))
    ids = memory.name(here, np.array([0, 1]))
    allowed = np.array([[True, True, True, False], [False, False, False, True]])
    targets = goals.choose(nothing(view, 2), ids, allowed=allowed)[:, 0]
    assert memory.states.vectors[targets[0]].tolist() == [1, 0] and targets[1] == ABSENT
    assert goals.choose(nothing(view, 2), ids, explore=False).tolist() == [[ABSENT]] * 2


@pytest.mark.parametrize("explore", [True, False])
def test_a_goal_in_sight_is_gone_for_at_once(explore):
    view, memory = Sight(True), TransitionMemory(3, 2, 40, owners=2)
    goals = FoundGoal(view, memory, Planner(memory), np.array([1, 0, 1]))
    first = memory.name(np.array([[4, 4, 0]]), np.array([1]))
    assert first == 0
    here = memory.name(np.zeros((3, 3)), np.array([1, 0, 1]))
    seen = nothing(view, 3)
    seen.goals[:, :2] = [[4, 4], [5, 5], [np.nan, np.nan]]
    for _ in range(2):  # also when it was there before, and is held
        targets = goals.choose(seen, here, explore=explore)
        assert targets[2].tolist() == [ABSENT] * 2
        assert memory.states.vectors[targets[:2]].tolist() == [[[*at, 0], [*at, 1]] for at in ([4, 4], [5, 5])]
        assert memory.states.owners[targets[:2]].tolist() == [[1, 1], [0, 0]]
        assert goals.state_dict()["target"].tolist() == ([*targets[:2, 0], ABSENT] if explore else [ABSENT] * 3)
        goals.observe(here, np.zeros(3, bool), np.zeros(3, bool))
    goals.choose(nothing(view, 3), here, explore=explore)
    assert goals.state_dict()["target"].tolist() == ([*targets[:2, 0], ABSENT] if explore else [ABSENT] * 3)
    goals.observe(here, np.zeros(3, bool), np.array([True, False, False]))
    assert goals.state_dict()["target"].tolist() == ([ABSENT, targets[1, 0], ABSENT] if explore else [ABSENT] * 3)
    goals.begin_episodes()
    assert goals.state_dict()["target"].tolist() == [ABSENT] * 3


def test_a_target_that_the_memory_still_knows_stays_when_others_are_forgotten():
    view, memory = Sight(False), TransitionMemory(2, 2, 16)
    at, no = np.array([[2, 0], [0, 0], [1, 0]], np.float32), np.zeros(1, bool)
    far, here, near = memory.name(at)
    for action in range(2):  # from the second to the third to the first, and nothing is left to find out
        memory.write(at[[1, 2, 0]], np.full(3, action), at[[2, 0, 0]])
    goals = FoundGoal(view, memory, Planner(memory, imagine=False), np.array([0]))
    for place, target in ((here, near), (near, far)):
        assert goals.choose(nothing(view, 1), np.array([place])).tolist() == [[target]]
        memory._evict(memory.name(np.array([[9, 9]])))
        goals.observe(np.array([place]), no, no)
        assert goals.state_dict()["target"].tolist() == [target]
    assert far < near and far == 0
    goals.observe(np.array([near]), np.ones(1, bool), no)
    before = goals.state_dict()
    memory._evict(memory.name(np.array([[9, 9]])))
    goals.choose(nothing(view, 1), np.array([near]))
    after = goals.state_dict()
    for name in ("visited_at", "found_at", "times_found", "last_site"):
        assert after[name].tolist() == before[name].tolist()
    assert after["last_site"].tolist() == [near] and after["times_found"][near] == 1 and after["visited_at"][near] == 3


def test_what_a_shown_goal_leaves_open_is_what_its_owner_has_met():
    view = Sight(True)
    memory = TransitionMemory(3, 2, 30, owners=2)
    owners = np.array([1, 0])
    there = np.array([[0, 0, 5], [0, 0, 7]], np.float32)
    memory.write(there, np.zeros(2, int), there + np.array([1, 0, 1]), owners=owners)  # 5 and 6, 7 and 8
    memory.write(np.array([[7, 7, 6]]), np.array([1]), np.array([[7, 7, 5]]), owners=owners[:1])
    memory.name(np.array([[0, 0, 9]]), owners[:1])  # never met
    goals = ShownGoal(view, memory, owners)
    targets = goals.choose(Seen(np.array([[4, 4, np.nan], [2, 2, 3]], np.float32)), memory.name(there, owners))
    assert targets.shape == (2, 2) and targets[1, 1] == -1
    assert memory.states.vectors[targets[0]].tolist() == [[4, 4, 5], [4, 4, 6]]
    assert memory.states.vectors[targets[1, 0]].tolist() == [2, 2, 3]
    assert memory.states.owners[[*targets[0], targets[1, 0]]].tolist() == [1, 1, 0]
    open_twice = goals.choose(Seen(np.array([[4, np.nan, np.nan]] * 2, np.float32)), memory.name(there, owners))
    assert memory.states.vectors[open_twice[0]].tolist() == [[4, 0, 5], [4, 0, 6], [4, 7, 5], [4, 7, 6]]
    assert memory.states.vectors[open_twice[1, :2]].tolist() == [[4, 0, 7], [4, 0, 8]]
    assert open_twice[1, 2:].tolist() == [ABSENT] * 2


def test_a_whole_goal_that_is_shown_is_one_state_and_appeals_no_more_than_others():
    memory, owners = TransitionMemory(2, 2, 30, owners=2), np.array([1, 0])
    goals = ShownGoal(Sight(False), memory, owners)
    targets = goals.choose(Seen(np.array([[4, 4], [2, 2]], np.float32)), memory.name(np.zeros((2, 2)), owners))
    assert targets.shape == (2, 1) and memory.states.vectors[targets[:, 0]].tolist() == [[4, 4], [2, 2]]
    assert goals.appeal(targets).tolist() == [[0], [0]] and goals.state_dict() == {}


def test_goals_of_other_environments_than_there_are_owners_are_refused():
    memory, owners = TransitionMemory(3, 2, 30, owners=2), np.array([1, 0])
    with pytest.raises(ValueError, match="longer"):
        ShownGoal(Sight(True), memory, owners).choose(Seen(np.array([[4, 4, np.nan]], np.float32)), owners)


def test_the_states_of_a_place_are_those_that_differ_in_what_a_goal_leaves_open():
    view, memory = Sight(True), TransitionMemory(3, 2, 30, owners=2)
    places, owners = PlaceStates(memory, view), np.array([0, 1, 1])
    ids = memory.name(np.array([[1, 2, 1], [1, 2, 0], [4, 2, 0]]), owners)
    assert ids[0] == 0 and places.states_each == 2
    expected = [[[*place, 0], [*place, 1]] for place in ([1, 2], [1, 2], [4, 2])]
    for named in (places.alike(ids), places.targets(ids)):
        assert memory.states.vectors[named].tolist() == expected
        assert memory.states.owners[named].tolist() == [[0, 0], [1, 1], [1, 1]]
    some = places.targets(np.array([-1, ids[0]]))
    assert some[0].tolist() == [-1, -1] and sorted(some[1]) == sorted(places.alike(ids[:1])[0])
    assert places.distance(ids[2], ids).tolist() == [3, 3, 0]
    assert places.distance(ids[0], memory.name(np.array([[1, 2, 0], [3, 7, 1]]), owners[:2])).tolist() == [0, 7]


def test_where_a_goal_leaves_nothing_open_a_place_is_a_state():
    memory, ids = TransitionMemory(2, 2, 30), np.array([3, 0, -1])
    memory.name(np.array([[0, 0], [4, 2], [7, 9], [1, 1]]))
    places = PlaceStates(memory, Sight(False))
    assert places.states_each == 1
    assert places.alike(ids[:2]).tolist() == [[3], [0]] and places.targets(ids).tolist() == [[3], [0], [-1]]
    assert places.distance(1, np.arange(4)).tolist() == [6, 0, 10, 4]
