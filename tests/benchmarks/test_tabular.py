"""Tabular agents: beside slow references of their equations, and in tiny worlds where the answer is known."""

import numpy as np
import pytest
from gymnasium import spaces

from benchmarks.shift.environment import resolve_environment
from benchmarks.shift.measure import measure
from benchmarks.shift.specs import run_specs
from benchmarks.tabular.agents import NAMES, make_tabular, settings
from benchmarks.tabular.places import Places
from engram_rl.agents.agent import Transition
from engram_rl.agents.goal_directed.minigrid_views import SymbolGrid
from engram_rl.agents.goal_directed.views import Columns
from engram_rl.training.errors import UsageError

SHOWN = spaces.Box(np.zeros(4, np.float32), np.full(4, 3, np.float32))
HIDDEN = spaces.Box(np.zeros(2, np.float32), np.full(2, 3, np.float32))
ACTIONS = spaces.Discrete(4)
MOVES = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])
SMALL = {"id": "engram/ShiftWall-v0", "kwargs": {"n": 5}, "wrappers": []}


def stepped(before, action, after, *, reward=0.0, done=False, goal=()):
    observations = [np.array([[*place, *goal]], np.float32) for place in (before, after)]
    return Transition(
        observation=observations[0],
        action=np.array([action]),
        reward=np.array([reward]),
        terminated=np.array([done]),
        truncated=np.array([False]),
        next_observation=observations[1],
        reset_observation=observations[1],
    )


def walk(steps, goal, seed=0):
    """Random steps of one agent on an open grid of 4x4 with episodes that end at a goal. Transitions."""
    rng, place, made = np.random.default_rng(seed), np.zeros(2, int), []
    for _ in range(steps):
        action = int(rng.integers(4))
        after = (place + MOVES[action]).clip(0, 3)
        found = tuple(after) == goal
        made.append(stepped(place, action, after, reward=float(found), done=found, goal=goal))
        place = rng.integers(4, size=2) if found else after
    return made


def number(observation):
    x, y = observation[0, :2].astype(int)
    return 4 * x + y


class TestPlaces:
    def test_states_and_goals_are_numbered_alike(self):
        places = Places(Columns(SHOWN, [0, 1], [2, 3]))
        shown = np.array([[1, 2, 3, 0]], np.float32)
        assert (places.states(shown), places.goals(shown)) == (6, 12)
        assert (places.num_states, places.num_goals) == (16, 16)
        assert places.moved(np.array([6, 0]), np.array([[1, -1], [-1, 0]])).tolist() == [9, -1]

    def test_a_goal_leaves_the_heading_open(self):
        image = spaces.Box(0, 255, (4, 4, 3), np.uint8)
        places = Places(SymbolGrid(spaces.Dict(image=image)))
        assert (places.num_states, places.num_goals) == (64, 16)
        assert (places.goal_of[4 * 5 : 4 * 5 + 4] == 5).all() and places.context[22] == 2

    def test_places_without_bounds_are_refused(self):
        with pytest.raises(UsageError, match="bounds"):
            Places(Columns(spaces.Box(-np.inf, np.inf, (4,)), [0, 1], [2, 3]))


class TestQLambda:
    @pytest.mark.parametrize("all_goals", [False, True])
    def test_it_is_q_lambda_step_by_step(self, all_goals):
        given = {"learning_rate": 0.3, "trace": 0.8, "bonus": 0.2, "discount": 0.9, "all_goals": all_goals}
        made, goal = make_tabular("q_lambda", SHOWN, ACTIONS, 1, 0, **given), (2, 3)
        values, traces, tries = np.zeros((16, 16, 4)), np.zeros((16, 16, 4)), np.zeros((16, 4))
        for step in walk(120, goal):
            made.observe(step)
            s, a, after = number(step.observation), int(step.action[0]), number(step.next_observation)
            tries[s, a] += 1
            for g in range(16) if all_goals else [4 * goal[0] + goal[1]]:
                reached = after == g
                ahead = 0.0 if reached else values[g, after].max()
                error = reached + 0.2 / np.sqrt(tries[s, a]) + 0.9 * ahead - values[g, s, a]
                traces[g] *= 0.9 * 0.8 * (values[g, s, a] >= values[g, s].max() - 1e-9)
                traces[g, s, a] = 1
                values[g] += 0.3 * error * traces[g]
                if reached or step.done[0]:
                    traces[g] = 0
        assert np.allclose(made.values[0], values) and made.entries == (tries > 0).sum()


class TestDyna:
    @pytest.mark.parametrize("name", ["dyna_q_plus", "prioritised_sweeping"])
    def test_without_planning_it_is_q_learning_and_the_model_is_what_came_last(self, name):
        made, goal = make_tabular(name, SHOWN, ACTIONS, 1, 0, updates=0, learning_rate=0.3, discount=0.9), (2, 3)
        values = np.zeros((16, 4))
        for step in walk(100, goal):
            made.observe(step)
            s, a, after = number(step.observation), int(step.action[0]), number(step.next_observation)
            target = step.reward[0] + 0.9 * values[after].max() * (not step.done[0])
            values[s, a] += 0.3 * (target - values[s, a])
            assert made.next[0, s, a] == after
        assert np.allclose(made.values[0, 11], values)

    def test_targets_say_what_the_model_says_with_a_bonus_for_what_was_not_tried(self):
        made, goal = make_tabular("dyna_q_plus", HIDDEN, ACTIONS, 1, 0, updates=0, bonus=0.1, discount=0.9), (2, 3)
        model, tried = {}, {}
        steps = walk(80, goal)
        for t, step in enumerate(steps, 1):
            made.observe(stepped(step.observation[0, :2], step.action[0], step.next_observation[0, :2], **ending(step)))
            at = number(step.observation), int(step.action[0])
            model[at], tried[at] = (step.reward[0], number(step.next_observation), step.done[0]), t
        values = made.values[0, 0]
        told = made.targets(np.zeros(1, int))[0]
        for s in range(16):
            for a in range(4):
                reward, after, done = model.get((s, a), (0.0, s, False))
                bonus = 0.1 * np.sqrt(len(steps) - tried.get((s, a), 0))
                assert told[s, a] == pytest.approx(reward + bonus + 0.9 * values[after].max() * (not done))

    def test_sweeping_from_one_success_gives_the_values_of_the_whole_way(self):
        made = make_tabular("prioritised_sweeping", HIDDEN, ACTIONS, 1, 0, bonus=0.0, learning_rate=1.0, updates=20)
        for x in range(3):
            made.observe(stepped((x, 0), 2, (x + 1, 0), reward=float(x == 2), done=x == 2))
        assert np.allclose(made.values[0, 0, [8, 4, 0], 2], [1, 0.95, 0.95**2])

    def test_so_do_some_sweeps_over_all_that_was_seen(self):
        made = make_tabular("dyna_q_plus", HIDDEN, ACTIONS, 1, 0, bonus=0.0, learning_rate=1.0, updates=3)
        for x in range(3):
            made.observe(stepped((x, 0), 2, (x + 1, 0), reward=float(x == 2), done=x == 2))
        assert np.allclose(made.values[0, 0, [8, 4, 0], 2], [1, 0.95, 0.95**2])


def ending(step):
    return {"reward": step.reward[0], "done": step.done[0]}


class TestRMax:
    def test_it_finds_out_each_movement_once_and_takes_it_to_be_the_same_everywhere(self):
        made = make_tabular("r_max", SHOWN, ACTIONS, 1, 0)
        place, done = np.array([1, 1]), []
        for _ in range(4):
            action = int(made.act(np.array([[*place, 0, 3]], np.float32))[0])
            done.append(action)
            after = place + MOVES[action]
            made.observe(stepped(place, action, after, goal=(0, 3)))
            place = after
        assert sorted(done) == [0, 1, 2, 3] and made.known.all()
        assert made.displacement[0, 0].tolist() == MOVES.tolist()
        assert made.act(np.array([[3, 3, 3, 0]], np.float32)) == 1

    def test_its_values_are_those_of_shortest_paths_around_what_refused_it(self):
        made = make_tabular("r_max", SHOWN, ACTIONS, 1, 0)
        for action, move in enumerate(MOVES):
            made.observe(stepped((1, 1), action, np.array([1, 1]) + move, goal=(3, 1)))
        made.observe(stepped((1, 1), 2, (1, 1), goal=(3, 1)))
        worth = made.worth(np.array([5]), np.array([13]))[0]
        assert made.blocked[0].tolist() == [number == 9 for number in range(16)]
        assert np.allclose(worth, [0.95**6, 0.95**4, 0, 0.95**4])

    def test_one_contradiction_is_taken_for_a_change_of_the_world(self):
        for forgets, left in ((True, {9}), (False, {9, 2})):
            made = make_tabular("r_max", SHOWN, ACTIONS, 1, 0, forgets=forgets)
            for action, move in enumerate(MOVES):
                made.observe(stepped((1, 1), action, np.array([1, 1]) + move, goal=(3, 1)))
            made.observe(stepped((0, 1), 3, (0, 1), goal=(3, 1)))
            made.observe(stepped((1, 1), 2, (1, 1), goal=(3, 1)))
            assert set(np.flatnonzero(made.blocked[0])) == left

    def test_a_place_that_gave_reward_is_gone_to_and_once_in_vain_the_rest_is_searched_again(self):
        made = make_tabular("r_max", HIDDEN, ACTIONS, 1, 0)
        for action, move in enumerate(MOVES):
            made.observe(stepped((1, 1), action, np.array([1, 1]) + move))
        made.observe(stepped((0, 1), 3, (0, 2), reward=1.0, done=True))
        assert made.site[0] == 2 and made.act(np.array([[0, 0]], np.float32)) == 3
        made.observe(stepped((0, 1), 3, (0, 2)))
        assert made.site[0] == -1
        assert set(np.flatnonzero(made.empty[0])) == {0, 2}

    def test_what_never_moves_is_given_up_after_some_tries(self):
        made = make_tabular("r_max", HIDDEN, spaces.Discrete(5), 1, 0, tries=2)
        for action, move in enumerate(MOVES):
            made.observe(stepped((1, 1), action, np.array([1, 1]) + move))
        assert made.act(np.array([[1, 1]], np.float32)) == 4
        for place in ((1, 1), (2, 1)):
            made.observe(stepped(place, 4, place))
        assert made.act(np.array([[3, 3]], np.float32)) != 4


def test_settings_are_all_of_them_and_unknown_ones_are_refused():
    assert settings("prioritised_sweeping", {"updates": 5})["updates"] == 5
    assert "order" not in settings("prioritised_sweeping", {})
    with pytest.raises(UsageError, match="Did you mean bonus"):
        settings("q_lambda", {"bonsu": 1})


def test_what_has_no_place_is_refused():
    with pytest.raises(UsageError, match="cannot read"):
        make_tabular("r_max", spaces.Discrete(4), ACTIONS, 1, 0)
    with pytest.raises(UsageError, match="one of some actions"):
        make_tabular("r_max", HIDDEN, spaces.Box(0, 1, (2,)), 1, 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_bench_plays_it_and_the_same_seed_gives_the_same_episodes(name):
    environment, episodes = (resolve_environment("emptyshift_full", {}), 1) if name.endswith("_grid") else (SMALL, 3)
    given = f"{name} updates=3" if name.startswith(("dyna", "prior")) else name
    (spec,) = run_specs("w", environment, [given], [0], [None], "own", episodes)
    rows = [measure(spec), measure(spec)]
    assert rows[0]["costs"] == rows[1]["costs"] and rows[0]["entries"] > 0
    assert rows[0]["privileged"] == ("nothing" if name.endswith("_grid") else "goal")


def test_r_max_solves_every_episode_of_a_small_shift_wall():
    (spec,) = run_specs("small", SMALL, ["r_max"], [0], [None], "own", 100)
    row = measure(spec)
    assert row["solved"] == 100 and row["regret"] < 60
