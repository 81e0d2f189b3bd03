"""The limits do what their names say."""

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)
from benchmarks.adaptation.measure import by_context
from benchmarks.episodes import Episodes, play
from engram_rl.envs.grid import Geometry
from engram_rl.envs.oracles import POLICIES, make_policy
from engram_rl.envs.oracles.searchers import spiral_rank


def limits(name: str, policy: str, num_envs: int, episodes: int, seed: int = 0, **options) -> Episodes:
    environments = gymnasium.make_vec(f"engram/{name}-v0", num_envs, **options)
    return play(environments, make_policy(policy, environments, seed), episodes, seed)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ShiftWall", {}),
        ("ShiftWall", {"n": 7, "layout_seed": [1, 2, 3]}),
        ("ScatterShift", {"schedule": "each"}),
        ("HiddenGoal", {"period": 3}),
        ("DriftGoal", {"q": 1.0}),
        ("TMaze", {"active": True}),
        ("MaskedKey", {}),
    ],
    ids=str,
)
def test_the_oracle_takes_exactly_the_shortest_path(name, options):
    played = limits(name, "oracle", 3, 60, **options)
    assert np.array_equal(played.steps, played.oracle_steps)
    assert played.terminated.all()


@pytest.mark.parametrize(("name", "perfect"), [("TMaze", 1), ("MaskedKey", 16)])
def test_the_oracle_misses_no_reward(name, perfect):
    assert (limits(name, "oracle", 3, 30).returns == perfect).all()


def test_half_of_the_turns_are_right_without_memory():
    assert limits("TMaze", "memoryless", 50, 20, length=3).returns.mean() == pytest.approx(0.5, abs=0.05)


def test_the_oracle_does_an_errand_in_2_67_steps_and_collects():
    returns = limits("MemoryPlan", "oracle", 50, 20).returns
    assert 100 / returns.mean() == pytest.approx(2.667 + 1, abs=0.05)


def test_the_oracle_needs_755_steps_for_the_published_run():
    assert limits("ShiftWall", "oracle", 1, 100).steps.sum() == 755


def test_the_published_limits_of_shift_wall_come_out():
    """The planner's 59, 37 of them just after the shift; 326 with a fresh map; the heuristic's 1430; random's 7485."""
    known = {"planner": (59, 37), "planner_fresh": (326, 47), "heuristic": (1430, None), "random": (7485, None)}
    for policy, (total, after_shift) in known.items():
        regret = limits("ShiftWall", policy, 64, 100).regret
        assert regret.sum(axis=1).mean() == pytest.approx(total, rel=0.05)
        if after_shift:
            assert regret[:, 50:55].sum(axis=1).mean() == pytest.approx(after_shift, abs=2)


def test_planners_that_know_of_shifts_or_are_vigilant_do_better_and_forgetful_ones_worse():
    regret = {
        policy: limits("ShiftWall", policy, 20, 100, layout_seed=list(range(20))).regret.sum(axis=1).mean()
        for policy in POLICIES
        if policy.startswith("planner")
    }
    assert regret["planner_informed"] <= regret["planner"] < regret["planner_fresh"] / 2
    assert regret["planner_vigilant"] < regret["planner"]


def test_with_a_shift_every_episode_a_stale_map_costs_32_to_45_percent():
    steps = {
        policy: limits("ScatterShift", policy, 24, 100, schedule="each", layout_seed=list(range(24))).steps.sum()
        for policy in ("planner", "planner_fresh")
    }
    assert 1.32 <= steps["planner"] / steps["planner_fresh"] <= 1.45


def test_a_planner_bumps_into_no_wall_twice_in_an_episode():
    environments = gymnasium.make_vec("engram/ScatterShift-v0", 20, density=0.4)
    planner = make_policy("planner", environments, seed=0)
    core, bumped = environments.core, set()

    class Watcher:
        act = planner.act

        def observe(self, transition):
            planner.observe(transition)
            stayed = (transition.observation == transition.next_observation).all(axis=1)
            for row in np.flatnonzero(stayed):
                bump = (row, int(core.episode_index[row]), *transition.observation[row, :2], transition.action[row])
                assert bump not in bumped
                bumped.add(bump)

    play(environments, Watcher(), 20)
    assert bumped


def test_policies_say_how_much_they_remember():
    entries = {}
    for name, policy in (("ShiftWall", "planner"), ("HiddenGoal", "last_site"), ("ShiftWall", "heuristic")):
        environments = gymnasium.make_vec(f"engram/{name}-v0", 2)
        player = make_policy(policy, environments, seed=0)
        before = player.entries
        play(environments, player, 20)
        entries[policy] = (before, player.entries)
        assert player.learn() == {"memory/size": player.entries}
    assert entries["last_site"] == (0, 2)
    assert entries["heuristic"] == (0, 0)
    assert 0 == entries["planner"][0] < entries["planner"][1] <= 2 * 9


def test_the_heuristic_prefers_nearer_moves_until_they_wear_out():
    environments = gymnasium.make_vec("engram/ShiftWall-v0", 1)
    policy = make_policy("heuristic", environments, seed=0)
    observation = np.array([[2.0, 2.0, 2.0, 0.0]])
    policy.fresh[:] = False
    cell = int(Geometry(10).cell(2, 2))
    assert policy.act(observation).tolist() == [1]
    policy.visits[0, cell] = [0, 1, 0, 0]  # up: 1/2 - 1 < 0
    assert policy.act(observation)[0] in (0, 2, 3)
    policy.visits[0, cell] = [2, 3, 2, 2]  # up: 1/2 - sqrt(3) > -sqrt(2)
    assert policy.act(observation).tolist() == [1]


def test_hidden_goals_take_half_the_grid_to_find_and_who_remembers_them_finds_them_again():
    played = limits("HiddenGoal", "last_site_informed", 100, 61)
    assert played.steps[played.shifted].mean() == pytest.approx(50, abs=4)
    assert played.steps[:, 1:][~played.shifted[:, 1:]].mean() == pytest.approx(6.67, abs=0.3)


@pytest.mark.parametrize("name", ["HiddenGoal", "RecurringGoal", "NewGoal", "DriftGoal"])
def test_known_sites_are_walked_to_on_a_shortest_path(name):
    options = {"q": 0.2} if name == "DriftGoal" else {}
    played = limits(name, "last_site", 20, 40, **options)
    stayed = ~played.shifted & played.terminated
    stayed[:, 1:] &= played.terminated[:, :-1]
    stayed[:, 0] = False
    assert np.array_equal(played.steps[stayed], played.oracle_steps[stayed])


@pytest.mark.parametrize(("sites", "informed", "uninformed"), [(4, 10.2, 15), (8, 14.2, 20)])
def test_a_tour_of_the_known_sites_finds_a_returning_goal(sites, informed, uninformed):
    for policy, expected in (("known_sites_informed", informed), ("known_sites", uninformed)):
        played = limits("RecurringGoal", policy, 30, 200, sites=sites, period=5, jitter=1)
        late = played.shifted & (np.arange(200) > 120)
        assert played.steps[late].mean() == pytest.approx(expected, abs=1.5)


def test_a_register_per_context_knows_the_way_where_one_register_is_mostly_wrong():
    played = limits("ContextGoal", "context_sites", 20, 60)
    known = by_context(played)["returned"]
    assert known["steps"] == known["optimum"]
    one = by_context(limits("ContextGoal", "last_site", 20, 60))
    assert one["returned"]["steps"] > 4 * one["returned"]["optimum"]
    assert one["stayed"]["steps"] < 1.2 * one["stayed"]["optimum"]


def test_a_drifting_goal_is_found_near_where_it_was():
    for q, known in ((0.25, 8.1), (1.0, 13.2)):
        mean = limits("DriftGoal", "last_site_spiral", 40, 100, q=q).steps[:, 1:].mean()
        assert 6.6 < mean < known


def test_the_spiral_is_the_one_that_is_walked():
    place, heading, walked = np.array([0, 0]), np.array([1, 0]), [(0, 0)]
    for side in range(1, 8):
        for _ in range(2):
            for _ in range(side):
                place = place + heading
                walked.append(tuple(place))
            heading = np.array([-heading[1], heading[0]])
    assert spiral_rank(np.array(walked)).tolist() == list(range(len(walked)))


@pytest.mark.parametrize(
    ("policy", "name", "options"),
    [
        ("planner", "HiddenGoal", {}),
        ("heuristic", "ShiftWall", {"show_goal": False}),
        ("last_site", "ShiftWall", {}),
        ("context_sites", "HiddenGoal", {}),
        ("memoryless", "MemoryPlan", {}),
    ],
)
def test_a_policy_refuses_what_it_cannot_play(policy, name, options):
    with pytest.raises(TypeError, match="Core"):
        make_policy(policy, gymnasium.make_vec(f"engram/{name}-v0", 1, **options), seed=0)


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'genius'; there are .*oracle"):
        make_policy("genius", gymnasium.make_vec("engram/ShiftWall-v0", 1), seed=0)
