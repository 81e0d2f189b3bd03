"""What a policy is shown of past episodes, and what it must never be shown."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.retrieval.entries import key_space, value_size
from engram_rl.agents.retrieval.situations import PlaceSituations, ProjectionSituations
from engram_rl.agents.retrieval.tokens import SHOWN
from engram_rl.memory import Confidence, DifferentiableNeuralDictionary
from tests.agents.retrieval_worlds import ACTIONS, REACH, SPACE, found_at, memory_input, show, tell


def test_nothing_of_the_present_episode_is_shown():
    made = memory_input()
    for x in range(5):
        tell(made, [[x, 0]] * 2, [[x + 1, 0]] * 2, reward=[1.0, 1.0])
        assert not show(made, [[x, 0]] * 2)[1].any()


def test_an_episode_is_shown_as_soon_as_it_has_ended():
    made = memory_input()
    tell(made, [[0, 0]] * 2, [[1, 0]] * 2, action=[2, 3])
    tell(made, [[1, 0]] * 2, [[2, 0]] * 2, reward=[1.0, 0.0], done=[True, False], action=[2, 3])
    tokens, there = show(made, [[0, 0]] * 2)
    assert there.tolist() == [[True, True, True, False], [False] * 4]
    assert tokens["way"][0, 0].tolist() == [2 / REACH, 0]  # from (0, 0) to where reward was
    assert tokens["rewarded"][0].tolist() == [1, 1, 1, 0]
    assert tokens["return"][0, :2].tolist() == pytest.approx([np.log1p(0.5), np.log1p(1.0)])
    assert tokens["action"][0, 0].tolist() == [0, 0, 1, 0]
    assert tokens["distance"][0, :2].tolist() == pytest.approx([0, np.log(2)])
    assert tokens["key"][0, 1].tolist() == [1 / REACH, 0]


def test_ways_are_those_from_the_present_place():
    made = memory_input(num_envs=1, neighbours=0)
    found_at(made, 0, [4, 3])
    for place in ([0, 0], [8, 8], [4, 3]):
        assert show(made, [place])[0]["way"][0, 0].tolist() == [(4 - place[0]) / REACH, (3 - place[1]) / REACH]


def test_worlds_that_are_separate_know_nothing_of_each_other_and_shared_ones_do():
    for separate in (True, False):
        made = memory_input(separate=separate)
        found_at(made, 0, [4, 3])
        assert show(made, [[1, 1]] * 2)[1][1].any() != separate


def test_places_of_reward_come_latest_first():
    made = memory_input(num_envs=1, neighbours=0, reward_sites=3)
    for place in ([1, 1], [2, 2], [3, 3]):
        found_at(made, 0, place)
    tokens = show(made, [[0, 0]])[0]
    assert (tokens["way"][0, :, 0] * REACH).tolist() == [3, 2, 1]
    assert tokens["fresh"][0].tolist() == tokens["rank"][0].tolist() == pytest.approx([1, 1 / 2, 1 / 3])


def test_a_place_of_reward_visited_in_vain_loses_trust_at_once_gains_some_back_and_all_with_reward():
    made = memory_input(num_envs=1, neighbours=1, reward_sites=1)
    found_at(made, 0, [4, 4])
    trust = lambda: show(made, [[0, 8]])[0]["confidence"][0].tolist()  # noqa: E731
    assert trust() == [1, 1]  # of the passage that led there, too
    tell(made, [[4, 3]], [[4, 4]])
    assert trust() == pytest.approx([0.05, 0.05])
    tell(made, [[7, 7]], [[7, 8]], done=[True])
    assert trust() == pytest.approx([1 - 0.95 * 0.8] * 2)
    found_at(made, 0, [4, 4])
    assert trust() == [1, 1]


def test_what_is_trusted_too_little_is_not_shown():
    made = memory_input(num_envs=1, neighbours=0, reward_sites=1, min_confidence=0.2)
    found_at(made, 0, [4, 4])
    assert show(made, [[0, 8]])[1].all()
    tell(made, [[4, 3]], [[4, 4]])
    assert not show(made, [[0, 8]])[1].any()


def test_of_several_places_the_trusted_are_shown():
    made = memory_input(num_envs=1, neighbours=0, reward_sites=1)
    found_at(made, 0, [4, 4])
    found_at(made, 0, [2, 2])
    tell(made, [[2, 1]], [[2, 2]])
    tell(made, [[7, 7]], [[7, 8]], done=[True])
    assert (show(made, [[0, 0]])[0]["way"][0, 0] * REACH).tolist() == [4, 4]


def test_a_situation_met_again_is_remembered_as_it_was_left_last():
    made = memory_input(num_envs=1, neighbours=2, reward_sites=0)
    for action in (1, 3):
        tell(made, [[5, 5]], [[5, 6]], action=[action])
    tell(made, [[5, 6]], [[5, 7]], done=[True])
    tokens, there = show(made, [[5, 5]])
    assert len(made.memory) == 2
    assert there.all()
    assert tokens["action"][0, 0].tolist() == [0, 0, 0, 1]


def test_actions_may_be_remembered_apart():
    made = memory_input(num_envs=1, neighbours=3, reward_sites=0, by_action=True)
    for action in (1, 3, 1):
        tell(made, [[5, 5]], [[5, 5]], action=[action])
    tell(made, [[5, 5]], [[5, 7]], action=[2], reward=[1.0], done=[True])
    tokens, there = show(made, [[5, 5]])
    assert there.all() and len(made.memory) == 3
    gained = {int(a): r for a, r in zip(tokens["action"][0].argmax(1), tokens["return"][0].tolist(), strict=True)}
    assert gained == {k: pytest.approx(np.log1p(0.5**n)) for k, n in ((2, 0), (1, 1), (3, 2))}


def test_the_last_observation_of_a_cut_episode_is_shown_what_acting_there_would_be():
    made = memory_input(num_envs=3, separate=True)
    for env, place in enumerate(([4, 3], [2, 7], [5, 5])):
        found_at(made, env, place)
    at = np.array([[1, 1], [6, 2], [3, 3]])
    acting = made.read(at, explore=False)
    rows = np.array([2, 0])
    transition = Transition(at, np.zeros(3), np.zeros(3), *(np.zeros(3, bool),) * 2, at, at)
    final = made.read_final(transition, rows)
    assert all(torch.equal(acting[name][rows], final[name]) for name in acting)


def test_any_observation_can_be_recalled_by_a_projection_but_without_places():
    space = spaces.Dict(image=spaces.Box(0, 10, (7, 7, 3), np.uint8), direction=spaces.Discrete(4))
    projection = ProjectionSituations(space, 0, size=5)
    made = memory_input(num_envs=2, neighbours=2, reward_sites=0, separate=False, situations=projection)
    seen = {"image": np.zeros((2, 7, 7, 3), np.uint8), "direction": np.array([0, 3])}
    step = (np.array([1, 2]), np.array([0.0, 1.0]), np.array([True, True]), np.zeros(2, bool))
    made.observe(Transition(seen, *step, seen, seen))
    assert made.read(seen, explore=True)[SHOWN].all()
    with pytest.raises(ValueError, match="2 reward sites cannot be retrieved"):
        memory_input(situations=projection)


def test_metrics_tell_age_and_trust_of_what_is_shown_and_the_error_of_what_was_promised():
    made = memory_input(num_envs=2, neighbours=2, reward_sites=1)
    for reward in (1.0, 0.25):
        for env in (0, 1):
            tell(made, [[3, 3]] * 2, [[4, 4]] * 2, reward=np.eye(2)[env] * reward, done=np.eye(2, dtype=bool)[env])
            told = made.metrics()
            if env == 0:
                assert told["memory/match_rate"] == float(reward < 1)
    assert told["memory/value_error_young"] == pytest.approx(0.75)
    tell(made, [[7, 7]] * 2, [[4, 4]] * 2)  # in vain
    tokens, there = show(made, [[3, 3]] * 2)
    told = made.metrics()
    assert there.any() and not there.all()
    assert told["memory/age"] == pytest.approx((1 / tokens["fresh"][there]).mean().item())
    assert told["memory/strength"] == pytest.approx(tokens["confidence"][there].mean().item())
    assert told["memory/strength"] < 1
    assert "memory/value_error_young" not in told
    made.read(np.array([[0, 0]] * 2), explore=False)
    assert made.metrics() == told


def test_what_no_lookup_measures_is_not_told():
    made = memory_input(neighbours=0)
    found_at(made, 0, [4, 3])
    assert made.metrics() == {"memory/size": 1.0, "memory/evictions": 0.0, "memory/match_rate": 0.0}


def test_where_reward_was_found_is_known_though_no_places_are_recalled():
    made = memory_input(num_envs=1, neighbours=2, reward_sites=0)
    tell(made, [[0, 0]], [[4, 3]], reward=[1.0], done=[True])
    tell(made, [[7, 7]], [[7, 8]], done=[True])
    for place, rewarded, way in (([0, 0], 1, [4, 3]), ([7, 7], 0, [0, 0])):
        tokens = show(made, [place])[0]
        assert tokens["rewarded"][0, 0] == rewarded
        assert (tokens["way"][0, 0] * REACH).tolist() == way


def test_a_place_that_is_gone_from_memory_is_not_shown():
    made = memory_input(num_envs=2, neighbours=0, reward_sites=1, refuted=0.0)
    found_at(made, 0, [4, 3])
    found_at(made, 1, [5, 7])
    assert show(made, [[0, 0]] * 2)[1].all()
    tell(made, [[4, 2], [0, 8]], [[4, 3], [0, 8]])  # in vain
    assert show(made, [[0, 0]] * 2)[1].tolist() == [[False], [True]]


def test_a_place_whose_slot_another_entry_has_taken_is_not_shown():
    made = memory_input(num_envs=2, neighbours=0, reward_sites=1)
    found_at(made, 0, [4, 3])
    assert show(made, [[0, 0]] * 2)[1].tolist() == [[True], [False]]
    made.memory.forget(made.memory.slots)
    found_at(made, 1, [5, 7])
    assert made.memory.slots.tolist() == [0]
    tokens, there = show(made, [[0, 0]] * 2)
    assert there.tolist() == [[False], [True]]
    assert (tokens["way"][1, 0] * REACH).tolist() == [5, 7]


def test_a_memory_that_cannot_do_what_recall_asks_of_it_is_refused():
    def build(**memory):
        situations = PlaceSituations(SPACE, 0, part=None, columns=None, reach=REACH)
        make = partial(
            DifferentiableNeuralDictionary, key_space(situations, True, 2), value_size(situations, ACTIONS), 9
        )
        return memory_input(make_memory=partial(make, **memory))

    with pytest.raises(ValueError, match="LeastRecentlyUsed, which keeps no confidence"):
        build(write_rule="last", forgetting="lru")
    with pytest.raises(ValueError, match=r"write_rule is Max.* use memory\.write_rule=last"):
        build(write_rule="max", forgetting=Confidence(lost_decay=0.8))
    with pytest.raises(ValueError, match="write_rule is Blend"):
        build(write_rule="blend", forgetting=Confidence(lost_decay=0.8))


@pytest.mark.parametrize("wrong", [{"neighbours": 0, "reward_sites": 0}, {"neighbours": -1}])
def test_something_must_be_recalled(wrong):
    with pytest.raises(ValueError, match="at least one of them"):
        memory_input(**wrong)


def test_places_must_be_among_what_is_observed():
    with pytest.raises(ValueError, match="Columns"):
        PlaceSituations(SPACE, 0, part=None, columns=[2], reach=1.0)
    with pytest.raises(ValueError, match="reach is 0"):
        PlaceSituations(SPACE, 0, part=None, columns=None, reach=0)
    with pytest.raises(ValueError, match="numbers of a vector"):
        PlaceSituations(spaces.Discrete(3), 0, part=None, columns=None, reach=1.0)
    with pytest.raises(ValueError, match="Places are numbers of a vector"):
        PlaceSituations(spaces.Box(0, 1, (2, 2)), 0, part=None, columns=None, reach=1.0)
    with pytest.raises(ValueError, match="Places are numbers of a vector"):
        PlaceSituations(spaces.MultiBinary(3), 0, part=None, columns=None, reach=1.0)


@pytest.mark.parametrize(("site_size", "met"), [(0.5, True), (0.0, False)])
def test_where_places_are_continuous_one_cell_is_one_site(site_size, met):
    made = memory_input(num_envs=1, neighbours=1, reward_sites=2, site_size=site_size)
    found_at(made, 0, [4.02, 3.9])
    found_at(made, 0, [3.98, 4.1])
    tokens, there = show(made, [[0, 8]])
    assert there[0, 1:].tolist() == [True, not met]
    assert (tokens["way"][0, 1] * REACH).tolist() == pytest.approx([3.98, 4.1 - 8], abs=1e-5)  # the latest
    tell(made, [[7, 7]], [[4.1, 4.05]])
    tokens, _ = show(made, [[0, 8]])
    assert tokens["confidence"][0, :2].tolist() == pytest.approx([0.05 if met else 1.0] * 2)


def test_a_cell_around_nought_is_one_site():
    made = memory_input(num_envs=1, neighbours=0, reward_sites=2, site_size=1.0)
    found_at(made, 0, [0.1, -0.1])
    found_at(made, 0, [-0.2, 0.3])
    assert show(made, [[0, 8]])[1].tolist() == [[True, False]]


def test_a_size_below_nought_is_refused():
    with pytest.raises(ValueError, match="site_size"):
        memory_input(site_size=-1.0)
