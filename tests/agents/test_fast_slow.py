"""The fast/slow agent: finds out what actions do, corrects itself by contradiction, and comes back exactly."""

from dataclasses import replace
from inspect import Parameter, signature

import numpy as np
import pytest
import torch
from gymnasium import spaces

import engram_rl.envs  # noqa: F401
from benchmarks import fast_slow_figure, fast_slow_speed
from engram_rl.agents.agent import Transition
from engram_rl.agents.fast_slow import PLANNER, FastSlow, make_fast_slow
from engram_rl.agents.goal_directed.goal_network import EpisodeTrace
from engram_rl.agents.goal_directed.goals import FoundGoal, ShownGoal
from engram_rl.agents.goal_directed.look_ahead import Branches, Search
from engram_rl.agents.goal_directed.minigrid_views import PartialGrid
from engram_rl.agents.goal_directed.probing import PATIENCE
from engram_rl.agents.goal_directed.views import Columns
from engram_rl.agents.goal_directed.visits import EpisodeVisits
from engram_rl.envs.dead_reckoning import DeadReckoning
from engram_rl.memory import Planner, TransitionMemory
from engram_rl.training.environments import make_environments
from engram_rl.training.rollout import step

PUBLISHED = {"slow": "branches", "fast": True}
SEARCH = {"slow": "search", "fast": False}
BOTH = {"slow": "search", "fast": True}
CASES = [("ShiftWall", SEARCH), ("ShiftWall", PUBLISHED), ("ShiftWall", BOTH), ("HiddenGoal", SEARCH)]


def make_agent(environments, seed=0, **changes):
    settings = {
        "view": lambda space: Columns(space, [0, 1], [2, 3]),
        "danger": True,
        "slow": "search",
        "fast": False,
        "share_memory": False,
        "memory": lambda *args, **kwargs: TransitionMemory(*args, 2000, **kwargs),
        "planner": lambda *args, **kwargs: Planner(*args, unknown_cost=1.2, refused_cost=np.inf, **kwargs),
        "branches": 30,
        "depth": 12,
        "hidden": [32],
        "learning_rate": 1e-3,
        "batch_size": 32,
        "visit_weight": 1.0,
    }
    return make_fast_slow(
        environments.single_observation_space,
        environments.single_action_space,
        environments.num_envs,
        seed,
        **(settings | changes),
    )


def make(name="ShiftWall", num_envs=2, **options):
    return make_environments(f"engram/{name}-v0", num_envs, vectorization="vector_entry_point", kwargs=options)


def play(agent, environments, steps, observation=None):
    """Steps and the transitions they made."""
    if observation is None:
        observation, _ = environments.reset(seed=3)
    transitions = []
    for _ in range(steps):
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        agent.learn()
        transitions.append(transition)
        observation = transition.reset_observation
    return transitions


def episode_lengths(transitions, env=0):
    ends = np.flatnonzero([t.done[env] for t in transitions])
    return np.diff(np.concatenate([[-1], ends]))


def same(one, other):
    """Whether two states of an agent are equal, whatever they consist of."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (np.ndarray, torch.Tensor)):
        return bool(np.array_equal(np.asarray(one), np.asarray(other)))
    return one == other


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_saved_agent_continues_as_if_nothing_had_happened(name, settings):
    environments = make(name)
    agent = make_agent(environments, **settings)
    transitions = play(agent, environments, 60)
    saved = agent.state_dict()
    other = make_agent(environments, seed=5, **settings)
    other.load_state_dict(saved)
    assert same(other.state_dict(), saved)
    replica = make(name)
    replica.reset(seed=3)
    for transition in transitions:
        replica.step(transition.action)
    observation = transitions[-1].reset_observation
    one, two = (play(a, e, 60, observation) for a, e in ((agent, environments), (other, replica)))
    assert all(np.array_equal(a.action, b.action) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_state_of_before_shifts_were_noted_is_taken_for_one_in_which_none_was_noticed(name, settings):
    agent = make_agent(make(name), **settings)
    play(agent, make(name), 60)
    older = {part: value for part, value in agent.state_dict().items() if part != "slow"}
    other = make_agent(make(name), seed=5, **settings)
    other.load_state_dict(older)
    assert {part: value for part, value in other.state_dict().items() if part != "slow"}.keys() == older.keys()
    if "shifted" in other.state_dict()["slow"]:
        assert np.isneginf(other.state_dict()["slow"]["shifted"]).all()


@pytest.mark.parametrize("settings", [SEARCH, PUBLISHED, BOTH])
def test_the_same_seed_gives_the_same_actions(settings):
    runs = []
    for _ in range(2):
        environments = make()
        runs.append([t.action for t in play(make_agent(environments, **settings), environments, 80)])
    assert np.array_equal(*runs)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_acting_without_exploring_changes_nothing(name, settings):
    environments = make(name)
    agent = make_agent(environments, **settings)
    play(agent, environments, 30)
    before = agent.state_dict()
    strange, _ = make(name).reset(seed=77)
    agent.act(strange, explore=False)
    assert same(agent.state_dict(), before)


def test_search_solves_every_episode_and_loses_little_after_the_wall_has_moved():
    environments = make(num_envs=1)
    transitions = play(make_agent(environments), environments, 860)
    lengths = episode_lengths(transitions)[:100]
    assert len(lengths) == 100 and lengths.max() < 100
    assert lengths.sum() - 755 <= 100


def transition_of(observation, action, following, reward=0.0, terminated=False):
    """One step of one environment, from `[x, y, ...]` to `[x, y, ...]`."""
    rows = [np.array([row], np.float32) for row in (observation, following)]
    ended = np.array([terminated])
    return Transition(rows[0], np.array([action]), np.array([reward]), ended, ~ended & False, rows[1], rows[1])


def lone_agent(**changes):
    return make_agent(make(num_envs=1), **changes)


def goes(agent, *observation):
    return int(agent.act(np.array([observation], np.float32))[0])


LEFT, UP, RIGHT, DOWN = range(4)


def test_a_movement_seen_once_is_imagined_everywhere():
    agent = lone_agent()
    agent.observe(transition_of([3, 3, 9, 9], DOWN, [3, 4, 9, 9]))
    assert goes(agent, 7, 1, 7, 4) == DOWN


def test_what_refused_entry_from_one_side_is_not_tried_from_another():
    agent = lone_agent()
    for action, following in [(LEFT, [4, 5]), (UP, [5, 4]), (RIGHT, [6, 5]), (DOWN, [5, 6])]:
        agent.observe(transition_of([5, 5, 0, 0], action, [*following, 0, 0]))
    agent.act(np.array([[2, 2, 0, 0]], np.float32))
    agent.observe(transition_of([2, 2, 4, 2], RIGHT, [2, 2, 4, 2]))  # something is at (3, 2)
    assert goes(agent, 3, 1, 3, 3) in (LEFT, RIGHT)
    assert goes(agent, 3, 1, 3, 2) == DOWN  # but the goal is there, so one can be there


def test_a_surprise_drops_what_earlier_episodes_refused():
    agent = lone_agent()
    for action, following in [(LEFT, [4, 5]), (UP, [5, 4]), (RIGHT, [6, 5]), (DOWN, [5, 6])]:
        agent.observe(transition_of([5, 5, 0, 0], action, [*following, 0, 0]))
    agent.act(np.array([[2, 2, 9, 9]], np.float32))
    agent.observe(transition_of([2, 2, 9, 9], RIGHT, [2, 2, 9, 9], reward=1.0, terminated=True))
    assert goes(agent, 2, 2, 4, 2) != RIGHT
    agent.observe(transition_of([5, 5, 9, 9], DOWN, [5, 5, 9, 9]))  # was free, is blocked: the world has shifted
    assert goes(agent, 2, 2, 4, 2) == RIGHT


def test_of_equal_ways_the_one_not_tried_in_this_episode_is_preferred():
    agent = lone_agent()
    for action, following in [(LEFT, [4, 5]), (UP, [5, 4]), (RIGHT, [6, 5]), (DOWN, [5, 6])]:
        agent.observe(transition_of([5, 5, 0, 0], action, [*following, 0, 0]))
    agent.observe(transition_of([6, 6, 0, 0], RIGHT, [7, 6, 0, 0]))
    agent.observe(transition_of([6, 6, 0, 0], DOWN, [6, 7, 0, 0]))
    agent.observe(transition_of([6, 6, 0, 0], DOWN, [6, 7, 0, 0]))
    assert {goes(agent, 6, 6, 8, 8) for _ in range(10)} == {RIGHT}


@pytest.mark.parametrize("settings", [SEARCH, PUBLISHED, {"slow": "none", "fast": False}])
def test_what_hurt_is_not_done_again_there(settings):
    agent = lone_agent(**settings)
    for action, following in [(LEFT, [4, 5]), (UP, [5, 4]), (RIGHT, [6, 5]), (DOWN, [5, 6])]:
        agent.observe(transition_of([5, 5, 0, 0], action, [*following, 0, 0]))
    wanted = goes(agent, 2, 2, 0, 2)
    agent.observe(transition_of([2, 2, 0, 2], wanted, [1, 2, 0, 2], terminated=True))
    assert all(goes(agent, 2, 2, 0, 2) != wanted for _ in range(10))


def test_without_the_danger_pathway_it_walks_into_the_same_trap_again():
    agent = lone_agent(danger=False)
    for action, following in [(LEFT, [4, 5]), (UP, [5, 4]), (RIGHT, [6, 5]), (DOWN, [5, 6])]:
        agent.observe(transition_of([5, 5, 0, 0], action, [*following, 0, 0]))
    agent.observe(transition_of([2, 2, 0, 2], LEFT, [1, 2, 0, 2], terminated=True))
    assert goes(agent, 2, 2, 0, 2) == LEFT


def test_a_site_is_remembered_at_once_and_searched_elsewhere_when_it_is_empty():
    environments = make("HiddenGoal", num_envs=1, period=10)
    transitions = play(make_agent(environments), environments, 330)
    lengths = episode_lengths(transitions)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    best = [int(np.abs(transitions[i].observation[0] - goal_of(transitions, i)).sum()) for i in starts[1:10]]
    assert list(lengths[1:10]) == best  # found in the first episode, straight to it in the others
    assert lengths[10] < 100 or lengths[11] < 100  # and found again after it has moved


MOVES = np.array([(-1, 0), (0, -1), (1, 0), (0, 1)])


def wander(agent, free, place, steps):
    """Cells and actions of an agent that walks over free cells and finds nothing. `[(cell, action)]`."""
    walked = []
    for _ in range(steps):
        action = goes(agent, *place)
        ahead = tuple(int(number) for number in place + MOVES[action])
        following = ahead if ahead in free else place
        agent.observe(transition_of(place, action, following))
        walked.append((place, action))
        place = following
    return walked


def test_to_know_a_site_does_not_keep_it_from_finding_out_what_its_actions_do():
    agent = make_agent(make("HiddenGoal", num_envs=1))
    agent.observe(transition_of([3, 3], DOWN, [3, 4], reward=1.0, terminated=True))
    everywhere = {(x, y) for x in range(10) for y in range(10)}
    assert {action for _, action in wander(agent, everywhere, (5, 5), 8)} == {LEFT, UP, RIGHT, DOWN}


def test_an_action_that_met_obstacles_only_is_tried_again_when_all_else_was_searched_in_vain():
    agent = make_agent(make("HiddenGoal", num_envs=1))
    corridor = {(x, 1) for x in range(10)}
    walked = wander(agent, {*corridor, (9, 0)}, (0, 1), 60)
    assert len({place for place, action in walked if action == UP}) > PATIENCE
    assert (9, 0) in [place for place, _ in walked]


def goal_of(transitions, start):
    """Where the episode that begins at a step ended."""
    return next(t.next_observation[0] for t in transitions[start:] if t.done[0])


def test_replay_pairs_every_earlier_state_with_the_state_reached():
    trace = EpisodeTrace(2, 1)
    trace.add(np.array([[1], [5]]), np.array([0, 3]))
    trace.add(np.array([[2], [6]]), np.array([1, 2]))
    trace.clear(np.array([1]))
    trace.add(np.array([[3], [7]]), np.array([2, 1]))
    env, states, actions = trace.rows(np.array([0, 1]))
    assert list(zip(env, states[:, 0], actions, strict=True)) == [(0, 1, 0), (0, 2, 1), (0, 3, 2), (1, 7, 1)]


def test_what_the_memory_loses_the_network_has_learned():
    """Consolidation: after some episodes of search the network alone mostly goes towards the goal."""
    environments = make(num_envs=4)
    agent = make_agent(environments, **BOTH)
    play(agent, environments, 250)
    agent.memory.clear(np.arange(4))
    rng = np.random.default_rng(0)
    states = rng.integers(0, 5, (200, 2)).astype(np.float32)  # one side of the wall, so that straight is right
    goals = np.where(states == 4, 0, states + 1) * [1, 0] + states * [0, 1]
    chosen = agent.fast.probabilities(states, goals).argmax(1)
    assert (chosen == np.where(goals[:, 0] > states[:, 0], RIGHT, LEFT)).mean() > 0.6


def test_visits_are_those_of_the_present_episode():
    visits = EpisodeVisits(capacity=4, num_actions=2, num_envs=2)
    for _ in range(2):
        visits.count(np.array([1, 1]), np.array([0, 1]))
    visits.begin_episodes(np.array([1]))
    visits.count(np.array([1, 1]), np.array([1, 1]))
    assert visits.of(np.array([1, 1])).tolist() == [[2, 1], [0, 1]]


def test_with_a_partial_view_a_goal_once_found_is_gone_for_at_once():
    environments = make_environments("engram/EmptyShift-v0", 1, vectorization="sync", wrappers=[DeadReckoning])
    agent = make_agent(environments, view=PartialGrid)
    observation, info = environments.reset(seed=3)
    lengths, optima, begun = [], [info["oracle_steps"][0]], 0
    for number in range(220):
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        observation = transition.reset_observation
        if transition.done[0]:
            lengths.append(number + 1 - begun)
            begun, optima = number + 1, [*optima, transition.info["oracle_steps"][0]]
    assert len(lengths) > 20
    assert sum(lengths[5:]) <= 1.15 * sum(optima[5 : len(lengths)])


@pytest.mark.parametrize("kind", ["abc", "deep", "trees"])
def test_a_slow_part_that_does_not_exist_is_refused(kind):
    with pytest.raises(ValueError, match=f"slow='{kind}'"):
        make_agent(make(), slow=kind)


def test_the_bench_and_the_picture_run(tmp_path, capsys):
    assert fast_slow_speed.main(["episodes=1", "n=5", "steps=5", "envs=2"]) == 0
    assert "steps_per_s" in capsys.readouterr().out
    picture = tmp_path / "picture.png"
    assert fast_slow_figure.main(["episodes=[0,1]", f"out={picture}"]) == 0
    assert picture.stat().st_size > 1000


def test_a_state_that_lacks_a_part_changes_nothing():
    environments = make("ShiftWall")
    trained, fresh = (make_agent(environments) for _ in range(2))
    play(trained, environments, 30)
    before, incomplete = fresh.state_dict(), trained.state_dict()
    del incomplete["size"]
    with pytest.raises(KeyError, match="size"):
        fresh.load_state_dict(incomplete)
    assert same(fresh.state_dict(), before)


def test_a_state_is_visited_more_often_than_a_small_number_can_count():
    visits = EpisodeVisits(capacity=1, num_actions=1, num_envs=1)
    for _ in range(33_000):
        visits.count(np.array([0]), np.array([0]))
    assert visits.of(np.array([0])).tolist() == [[33_000]]


def test_what_it_does_when_it_is_judged_does_not_depend_on_the_episode_that_is_open():
    environments = make("HiddenGoal")
    agent = make_agent(environments)
    play(agent, environments, 60)
    strange, _ = make("HiddenGoal").reset(seed=77)
    judged = agent.act(strange, explore=False)
    agent.begin_episodes()
    assert np.array_equal(agent.act(strange, explore=False), judged)


@pytest.mark.parametrize("name", ["ShiftWall", "HiddenGoal"])
@pytest.mark.parametrize("capacity", [61, 100])
def test_being_judged_leaves_no_trace_in_a_full_memory(name, capacity):
    environments = make(name, num_envs=1)
    agent = make_agent(environments, memory=lambda *given, **more: TransitionMemory(*given, capacity, **more))
    play(agent, environments, 200)
    before = agent.state_dict()
    strange, elsewhere = make(name, num_envs=1), []
    observation, _ = strange.reset(seed=77)
    for _ in range(20):
        elsewhere.append(agent.act(observation, explore=False))
        observation = step(strange, observation, elsewhere[-1]).reset_observation
    assert same(agent.state_dict()["memory"], before["memory"])
    assert same(agent.state_dict(), before)


def test_nothing_is_remembered_of_states_that_the_memory_has_forgotten():
    agent = make_agent(
        make("HiddenGoal", num_envs=1), memory=lambda *given, **more: TransitionMemory(*given, 32, **more)
    )
    agent.observe(transition_of([3, 3], DOWN, [3, 4], reward=1.0, terminated=True))
    assert agent.goals._last_site[0] >= 0
    for x in range(10):
        for y in range(5, 10):
            agent.observe(transition_of([x, y], DOWN, [x, min(y + 1, 9)]))
    goes(agent, 9, 9)
    used, site = agent.memory.states.used, agent.goals._last_site[0]
    assert not (used & (agent.memory.states.vectors == [3, 4]).all(1)).any(), "the site must have been evicted"
    assert site == -1 and not agent.goals._times_found.any()
    assert (agent.goals._visited_at[~used] == -1).all()


def test_a_goal_that_moves_by_less_than_half_a_step_has_moved():
    agent = make_agent(make("HiddenGoal", num_envs=1))
    for at in ([3, 4], [3.25, 4], [3.5, 4.25]):
        agent.observe(transition_of([3, 3], DOWN, at, reward=1.0, terminated=True))
    assert np.isfinite(agent.goals._shares).all() and agent.goals._moves[0, 1] > 0


@pytest.mark.parametrize(("step_size", "origin"), [(1e-4, 0.0), (0.1, 0.0), (0.3, -50.0), (1.0, 100.0)])
@pytest.mark.parametrize("settings", [SEARCH, PUBLISHED | {"fast": False}])
def test_it_acts_alike_whatever_a_step_measures_and_from_wherever_actions_are_counted(step_size, origin, settings):
    """Places in fractions differ in their last bits where they should be equal."""
    environments = make("ShiftWall")
    space = environments.single_observation_space
    one = make_agent(environments, **settings)

    class Elsewhere:
        num_envs = environments.num_envs
        single_observation_space = spaces.Box(
            (origin + step_size * space.low).astype(np.float32), (origin + step_size * space.high).astype(np.float32)
        )
        single_action_space = spaces.Discrete(environments.single_action_space.n, start=5)

    other = make_agent(Elsewhere, **settings)

    def elsewhere(observation):
        return (origin + step_size * np.asarray(observation, np.float64)).astype(np.float32)

    observation, _ = environments.reset(seed=3)
    for _ in range(200):
        actions = one.act(observation)
        assert (other.act(elsewhere(observation)) == actions + 5).all()
        happened = step(environments, observation, actions)
        one.observe(happened)
        other.observe(
            replace(
                happened,
                observation=elsewhere(observation),
                action=actions + 5,
                next_observation=elsewhere(happened.next_observation),
                reset_observation=elsewhere(happened.reset_observation),
            )
        )
        observation = happened.reset_observation


def test_parts_of_actions_are_numbered():
    environments = make("HiddenGoal")

    class Parts:
        num_envs, single_observation_space = environments.num_envs, environments.single_observation_space
        single_action_space = spaces.MultiDiscrete([2, 3], start=[0, -1])

    agent = make_agent(Parts, view=lambda box: Columns(box, [0, 1], []))
    observation, _ = environments.reset(seed=0)
    mask = np.array([[1, 0, 0, 1, 0]] * 2, bool)
    assert agent.memory.num_actions == 6 and agent.act(observation, mask=mask).tolist() == [[0, 0]] * 2


def test_an_episode_that_ends_is_one_tick_for_its_owner():
    environments = make(num_envs=2)
    agent = make_agent(environments)
    ticks, forget = [], agent.memory.tick
    agent.memory.tick = lambda amount, owners: ticks.append((amount, list(owners))) or forget(amount, owners)
    transitions = play(agent, environments, 80)
    ended = [(1, list(np.flatnonzero(t.done))) for t in transitions if t.done.any()]
    assert ended and ticks == ended


def test_what_is_not_given_is_as_documented():
    parameters = signature(make_fast_slow).parameters.values()
    assert {one.name: one.default for one in parameters if one.default is not Parameter.empty} == {
        "slow": "search",
        "planner": PLANNER,
        "branches": 100,
        "depth": 20,
        "fast": False,
        "hidden": (128, 128),
        "learning_rate": 1e-3,
        "batch_size": 32,
        "visit_weight": 1.0,
        "share_memory": False,
        "danger": True,
    }
    assert PLANNER.keywords == {"unknown_cost": 1.2, "refused_cost": np.inf}
    assert signature(FastSlow.act).parameters["explore"].default is True


@pytest.mark.parametrize(("danger", "cost"), [(True, np.inf), (False, 0.0)])
def test_harm_costs_everything_or_nothing(danger, cost):
    planner = lone_agent(danger=danger).planner
    assert planner.harm_cost == cost and (planner.unknown_cost, planner.refused_cost) == (1.2, np.inf)


def test_parts_are_those_that_were_asked_for():
    agent = lone_agent(**PUBLISHED)
    assert isinstance(agent.slow, Branches) and (agent.slow._branches.branches, agent.slow._branches.depth) == (30, 12)
    assert agent.fast.network.parameters.size == 5 * 32 + 33 * 4  # state and goal of two numbers each, four actions
    single = lone_agent(fast=True, view=lambda space: Columns(space, [0], [1]))
    assert single.fast.network.parameters.size == 3 * 32 + 33 * 4
    assert isinstance(lone_agent().slow, Search) and lone_agent().fast is None
    assert lone_agent(slow="none").slow is None
    assert isinstance(lone_agent().goals, ShownGoal)
    assert isinstance(make_agent(make("HiddenGoal", num_envs=1)).goals, FoundGoal)


@pytest.mark.parametrize("name", ["ShiftWall", "HiddenGoal"])
@pytest.mark.parametrize("share", [True, False])
def test_what_one_environment_has_met_all_know_if_they_share_a_memory(name, share):
    agent = make_agent(make(name, num_envs=2), share_memory=share)
    rows = np.array([[3, 3, 9, 9], [7, 7, 9, 9]], np.float32)[:, : 4 if name == "ShiftWall" else 2]
    following = rows + np.array([[0, 1, 0, 0], [1, 0, 0, 0]])[:, : rows.shape[1]]
    no = np.zeros(2, bool)
    agent.act(rows)
    agent.observe(Transition(rows, np.array([DOWN, RIGHT]), np.zeros(2), no, no, following, following))
    assert agent.memory.num_owners == (1 if share else 2)
    known = agent.memory.known(agent.memory.name(rows[[0, 0], :2], np.array([0, agent.memory.num_owners - 1])))
    assert known.tolist() == [[0, 0, 0, 1], [0, 0, 0, share]]
    play(agent, make(name, num_envs=2), 60)


@pytest.mark.parametrize(
    ("capacity", "used", "envs", "copied"),
    [
        (400, 0, 2, 0),
        (400, 300, 2, 0),
        (400, 301, 2, 1),
        (132, 0, 2, 0),
        (128, 0, 2, 1),
        (132, 0, 3, 1),
        (203, 153, 2, 0),
    ],
)
def test_a_memory_is_put_back_after_judging_where_a_quarter_or_sixteen_states_each_may_not_be_free(
    capacity, used, envs, copied
):
    agent = make_agent(make(num_envs=envs), memory=lambda *given, **more: TransitionMemory(*given, capacity, **more))
    agent.memory.name(np.stack([np.arange(used), np.full(used, 50)], 1))
    saved, state_dict = [], agent.memory.state_dict
    agent.memory.state_dict = lambda: saved.append(1) or state_dict()
    agent.act(np.array([[1, 1, 2, 2]] * envs, np.float32), explore=False)
    assert len(saved) == copied and agent.memory.states.num_free == capacity - used


@pytest.mark.parametrize(
    ("reward", "terminated", "harm"), [(0.0, False, 0), (1.0, True, 0), (-3.0, False, 3), (0.0, True, 1)]
)
def test_what_hurt_ends_the_way_in_memory_and_nothing_else_does(reward, terminated, harm):
    agent = lone_agent()
    for x in range(3):
        agent.observe(transition_of([x, 5, 0, 0], UP, [x, 4, 0, 0]))
    agent.observe(transition_of([2, 2, 9, 9], RIGHT, [3, 2, 9, 9], reward, terminated))
    seen = agent.memory.expand(np.array([[2.0, 2.0], [1.0, 5.0]]))
    assert seen.harm.tolist() == [[0, 0, harm, 0], [0] * 4] and seen.reward[0, RIGHT] == reward
    assert seen.terminal.tolist() == [[False, False, harm > 0, False], [False] * 4]


def test_an_action_loses_by_how_often_it_was_taken_in_this_episode_and_wins_by_where_the_goal_may_be():
    agent = make_agent(make("HiddenGoal", num_envs=1), visit_weight=0.5)
    for _ in range(4):
        agent.observe(transition_of([2, 2], RIGHT, [3, 2]))
    agent.observe(transition_of([2, 2], DOWN, [2, 3]))
    here = np.array([[2.0, 2.0]], np.float32)
    ids, goals = agent.memory.name(here), here * np.nan
    assert agent._preference(ids, here, goals, True).tolist() == [[0, 0, -1, -0.5]]
    assert agent._preference(ids, here, goals, False).tolist() == [[0, 0, 0, 0]]
    agent.observe(transition_of([7, 7], UP, [7, 6]))  # imagined to lead to (2, 1), which nobody has seen yet
    assert agent._preference(ids, here, goals, True).tolist() == [[0, 1, -1, -0.5]]
    agent.observe(transition_of([2, 2], DOWN, [2, 3], reward=-2.0))
    assert agent._preference(ids, here, goals, False).tolist() == [[0, 1, 0, -np.inf]]
    agent.memory.contradict(here, np.array([DOWN]))
    assert agent._preference(ids, here, goals, False).tolist() == [[0, 1, 0, 0]]


def test_what_the_network_finds_natural_is_added():
    agent = lone_agent(slow="none", fast=True)
    agent.observe(transition_of([2, 2, 4, 4], RIGHT, [3, 2, 4, 4]))
    here, there = np.array([[2.0, 2.0]], np.float32), np.array([[4.0, 4.0]], np.float32)
    natural = agent.fast.probabilities(here, there)
    ids = agent.memory.name(here)
    assert agent._preference(ids, here, there, True) == pytest.approx(natural - [0, 0, 1, 0])
    assert goes(agent, 2, 2, 4, 4) == (natural - [0, 0, 1, 0]).argmax()
    assert agent.act(np.array([[2, 2, 4, 4]], np.float32), explore=False)[0] == natural.argmax()


def test_it_learns_from_the_episode_so_far_and_from_the_way_that_it_imagined():
    agent, learned = lone_agent(**BOTH), []
    agent.fast.learn = lambda *rows: learned.append([part.tolist() for part in rows]) or 0.25
    assert agent.learn() == {"memory/size": 0.0}
    for action, following in [(LEFT, [4, 5]), (UP, [5, 4]), (RIGHT, [6, 5]), (DOWN, [5, 6])]:
        agent.observe(transition_of([5, 5, 0, 0], action, [*following, 0, 0], terminated=action == DOWN))
    agent.learn()
    assert agent.learn() == {"memory/size": 4.0} and len(learned) == 1
    assert learned[0] == [
        [[5, 5]] * 10,
        [goal for number, goal in enumerate([[4, 5], [5, 4], [6, 5], [5, 6]]) for _ in range(number + 1)],
        [LEFT, LEFT, UP, LEFT, UP, RIGHT, LEFT, UP, RIGHT, DOWN],
    ]
    for x in (1, 2):
        goes(agent, x, 1, 4, 1)
        agent.observe(transition_of([x, 1, 4, 1], RIGHT, [x + 1, 1, 4, 1]))
    assert agent.learn() == {"memory/size": 4.0, "train/loss": 0.25}
    assert learned[1] == [
        [[1, 1], [1, 1], [2, 1], [3, 1], [1, 1], [2, 1], [2, 1], [3, 1]],
        [[2, 1], *[[4, 1]] * 3, *[[3, 1]] * 2, *[[4, 1]] * 2],
        [RIGHT] * 8,
    ]


def test_a_network_that_rests_learns_nothing_while_the_memory_lives_on():
    agent = lone_agent(**BOTH)
    assert not agent.frozen and agent.gradient_steps == 0
    agent.frozen = True
    agent.observe(transition_of([5, 5, 0, 0], LEFT, [4, 5, 0, 0]))
    assert agent.learn() == {"memory/size": 0.0} and len(agent.memory) == 1 and agent.gradient_steps == 0
    agent.frozen = False
    agent.observe(transition_of([4, 5, 0, 0], LEFT, [3, 5, 0, 0], terminated=True))
    report = agent.learn()
    assert report.keys() == {"memory/size", "train/loss"} and report["memory/size"] == 2 and agent.gradient_steps == 1
    agent = lone_agent()
    agent.observe(transition_of([5, 5, 0, 0], LEFT, [4, 5, 0, 0]))
    assert agent.gradient_steps == 0 and agent.state_dict()["trace"]["length"].tolist() == [0]


def test_an_episode_that_ends_is_forgotten_of_its_environment_alone():
    agent = make_agent(make(num_envs=2), **BOTH)
    rows, no = np.array([[5, 5, 0, 0], [5, 5, 0, 0]], np.float32), np.zeros(2, bool)
    following = rows - np.array([1, 0, 0, 0], np.float32)

    def happens(ended):
        agent.observe(Transition(rows, np.full(2, LEFT), np.ones(2), np.array(ended), no, following, following))
        ids = agent.memory.name(rows[:, :2], np.arange(2))
        return agent._visits.of(ids)[:, LEFT].tolist(), [
            int(part.sum()) for part in agent._trace.state_dict()["length"]
        ]

    assert happens([False, False]) == ([1, 1], [1, 1])
    assert happens([False, True]) == ([2, 0], [2, 0])
    assert happens([False, False]) == ([3, 1], [3, 1])
    agent.begin_episodes()
    assert happens([False, False]) == ([1, 1], [1, 1])


def test_what_was_put_aside_before_a_state_was_restored_is_not_learned():
    agent = lone_agent(**BOTH)
    saved = agent.state_dict()
    agent.observe(transition_of([5, 5, 0, 0], LEFT, [4, 5, 0, 0], reward=-2.0))
    agent.load_state_dict({name: part for name, part in saved.items() if name != "outcomes"})
    assert agent.learn() == {"memory/size": 0.0} and same(agent.state_dict(), saved)


@pytest.mark.parametrize("name", ["visits", "trace", "rng", "outcomes"])
def test_a_state_of_which_a_part_is_broken_changes_nothing(name):
    environments = make("ShiftWall")
    trained, fresh = (make_agent(environments, **BOTH) for _ in range(2))
    play(trained, environments, 30)
    before = fresh.state_dict()
    with pytest.raises((KeyError, TypeError, ValueError)):
        fresh.load_state_dict(trained.state_dict() | {name: {"of": "another"}})
    assert same(fresh.state_dict(), before)


def test_what_a_goal_leaves_open_is_filled_for_each_environment_by_itself():
    agent, no = make_agent(make(num_envs=2)), np.zeros(2, bool)
    rows, following = (
        np.array(each, np.float32) for each in ([[5, 5, 9, 9], [3, 2, 9, 9]], [[5, 4, 9, 9], [4, 2, 9, 9]])
    )
    agent.observe(Transition(rows, np.array([UP, RIGHT]), np.zeros(2), no, no, following, following))
    shown = np.array([[5, 5, 9, np.nan], [3, 2, 8, np.nan]], np.float32)
    agent.act(shown)
    assert agent._goals.tolist() == [[9, 4], [8, 2]]
    agent.act(np.array([[5, 5, 9, 7], [3, 2, 8, 6]], np.float32))
    assert agent._goals.tolist() == [[9, 7], [8, 6]]
