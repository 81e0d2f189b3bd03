"""What a policy is shown of past episodes, and what it must never be shown."""

from dataclasses import FrozenInstanceError
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.retrieval.entries import key_space, value_size
from engram_rl.agents.retrieval.logit_bias import NEAR
from engram_rl.agents.retrieval.situations import PlaceSituations, ProjectionSituations
from engram_rl.agents.retrieval.tokens import ACTION_RETURNS, SHOWN
from engram_rl.memory import Confidence, Decay, DifferentiableNeuralDictionary
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


PLACES = {0: ProjectionSituations(SPACE, 0, size=5)} | {
    count: PlaceSituations(spaces.MultiDiscrete([9] * count), 0, reach=REACH) for count in (1, 2, 3)
}
"""What tells situations by how many numbers."""


@pytest.mark.parametrize(
    ("write_rule", "forgetting", "places", "options", "refused"),
    [
        ("last", "confidence", 2, {}, None),
        ("last", "decay", 2, {}, None),
        ("last", "lru", 2, {}, "LeastRecentlyUsed, which keeps no confidence"),
        ("last", "lru", 2, {"reward_sites": 1}, "LeastRecentlyUsed, which keeps no confidence"),
        ("last", "lru", 2, {"refuted": 0.0}, None),
        ("last", "lru", 2, {"reward_sites": 0}, None),
        ("max", "confidence", 2, {}, r"write_rule is Max.* use agent\.memory\.write_rule=last"),
        ("blend", "confidence", 2, {}, "write_rule is Blend"),
        ("surprise_gated", "confidence", 2, {}, "write_rule is SurpriseGated"),
        ("max", "lru", 2, {"reward_sites": 0, "by_action": True}, "write_rule is Max"),
        ("max", "lru", 1, {"reward_sites": 0, "by_action": True}, "write_rule is Max"),
        ("max", "lru", 0, {"reward_sites": 0, "by_action": False}, "write_rule is Max"),
        ("max", "lru", 0, {"reward_sites": 0, "by_action": True}, None),
    ],
)
def test_a_memory_that_cannot_do_what_recall_asks_of_it_is_refused(write_rule, forgetting, places, options, refused):
    situations = PLACES[places]
    space = key_space(situations, True, options.get("reward_sites", 2) > 0)
    kinds = {"confidence": Confidence(lost_decay=0.8), "decay": Decay(half_life=9), "lru": "lru"}
    settings = {"write_rule": write_rule, "forgetting": kinds[forgetting]}
    make = partial(DifferentiableNeuralDictionary, space, value_size(situations, ACTIONS), 9, **settings)
    if refused is None:
        assert len(memory_input(situations=situations, make_memory=make, **options).memory) == 0
    else:
        with pytest.raises(ValueError, match=refused):
            memory_input(situations=situations, make_memory=make, **options)


@pytest.mark.parametrize("wrong", [{"neighbours": 0, "reward_sites": 0}, {"neighbours": -1}])
def test_something_must_be_recalled(wrong):
    with pytest.raises(ValueError, match="at least one of them"):
        memory_input(**wrong)


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


@pytest.mark.parametrize(("reward", "found"), [(0.01, True), (1.0, True), (5.0, True), (0.0, False), (-1.0, False)])
def test_any_reward_above_nought_is_found(reward, found):
    made = memory_input(num_envs=1, neighbours=1, reward_sites=1)
    tell(made, [[0, 8]], [[4, 4]], reward=[reward], done=[True])
    tokens, there = show(made, [[0, 8]])
    assert there.tolist() == [[True, found]]
    assert tokens["rewarded"][0].tolist() == [found, found]
    assert tokens["return"][0].tolist() == pytest.approx([np.sign(reward) * np.log1p(abs(reward)), found * np.log(2)])


def test_what_is_lost_comes_back_by_the_share_of_environments_whose_episodes_end():
    made = memory_input(num_envs=4, neighbours=0, reward_sites=1)
    found_at(made, 0, [4, 4])
    tell(made, [[4, 3]] + [[0, 8]] * 3, [[4, 4]] + [[0, 8]] * 3)
    tell(made, [[0, 8]] * 4, [[0, 8]] * 4, done=[False, True, True, True])
    assert show(made, [[0, 8]] * 4)[0]["confidence"][0, 0] == pytest.approx(1 - 0.95 * 0.8**0.75)


@pytest.mark.parametrize("places", [0, 1, 2, 3])
def test_how_wrong_a_remembered_return_was_is_told_however_many_numbers_a_place_has(places):
    situations, seen = PLACES[places], np.array([[3] * (places or 2)])
    made = memory_input(num_envs=1, neighbours=1, reward_sites=min(places, 1), situations=situations)
    for reward in (1.0, 0.25):
        tell(made, seen, seen + 1, reward=[reward], done=[True])
    assert made.metrics()["memory/value_error_young"] == pytest.approx(0.75)


def test_where_nothing_was_written_nothing_is_told_of_it():
    made = memory_input(num_envs=1, neighbours=0, reward_sites=1)
    tell(made, [[0, 8]], [[0, 7]], done=[True])
    show(made, [[0, 8]])
    assert made.metrics() == {"memory/size": 0.0, "memory/evictions": 0.0}


def test_how_lookups_hit_is_told_where_there_are_any():
    made = memory_input(num_envs=1, neighbours=1)
    tell(made, [[1, 1]], [[1, 2]], done=[True])
    show(made, [[1, 1]])
    told = made.metrics()
    assert told["memory/hit_distance"] == pytest.approx(0)
    assert told["memory/top_weight"] == pytest.approx(1)


def ended(reward, terminated, truncated, next_mask=None):
    """A step from [3, 3] to [4, 4] that ends all episodes, one way or the other."""
    at, flags = np.array([[3, 3]] * len(reward)), (np.array(terminated), np.array(truncated))
    return Transition(at, np.zeros(len(at), int), np.array(reward), *flags, at + 1, at, next_mask=next_mask)


def returns_of(made, envs):
    """What is remembered of [3, 3] in each world."""
    tokens, there = show(made, [[3, 3]] * envs)
    assert there[:, 0].all()
    return (tokens["return"][:, 0].sign() * tokens["return"][:, 0].abs().expm1()).tolist()


@pytest.mark.parametrize(("bootstrap", "cut"), [(True, 2.0), (False, 1.0)])
def test_only_an_episode_that_was_cut_and_has_not_ended_goes_on(bootstrap, cut):
    made = memory_input(num_envs=3, neighbours=1, reward_sites=0, bootstrap=bootstrap)
    made.observe(ended([1.0] * 3, [True, False, True], [False, True, True]))
    assert returns_of(made, 3) == pytest.approx([1.0, cut, 1.0], rel=1e-5)  # 1 + 1/2 + 1/4 ... as it went


def test_a_cut_episode_goes_on_with_what_is_remembered_of_its_last_situation_and_is_allowed_there():
    made = memory_input(num_envs=3, neighbours=2, reward_sites=0, by_action=True)
    for action, reward in ((1, 6.0), (2, 2.0)):
        tell(made, [[4, 4]] * 3, [[9, 9]] * 3, reward=[reward] * 3, done=[True] * 3, action=[action] * 3)
    mask = np.ones((3, 4), bool)
    mask[2, 1] = False
    made.observe(ended([1.0] * 3, [True, False, False], [False, True, True], mask))
    assert returns_of(made, 3) == pytest.approx([1.0, 1 + 0.5 * 6, 1 + 0.5 * 2], rel=1e-4)


def votes(made, places):
    return made.read(np.array(places), explore=False)[ACTION_RETURNS]


def several_ends(made):
    """Returns of 4, 1 and -2 after actions 0, 2 and 1 near [3, 3]; of these the first found reward that is refuted."""
    for place, action, reward in (([3, 3], 0, 4.0), ([4, 4], 2, 1.0), ([3, 4], 1, -2.0)):
        after, others = [[6, 6 + action], [9, 9]], {"action": [action, 3], "done": [True] * 2}
        tell(made, [place, [9, 9]], after, reward=[reward, 9.0], **others)
    tell(made, [[3, 3], [9, 9]], [[6, 6], [0, 0]])


def test_how_good_each_action_has_been_is_told_of_what_is_near_and_shown():
    made = memory_input(neighbours=3, reward_sites=2, by_action=True, logit_bias=2.0, refuted=0.5, min_confidence=0.4)
    assert votes(made, [[3, 3], [9, 9]]).tolist() == [[0] * 4] * 2  # nothing is known yet
    several_ends(made)
    near = [NEAR / (d + NEAR) for d in (0, 1, 2)]
    good = [(gained + 2) / (9 + 2) for gained in (4, -2, 1)]
    expected = [0.5 * near[0] * good[0], near[1] * good[1], near[2] * good[2], 0]
    told = votes(made, [[3, 3], [9, 9]])
    assert told[0].tolist() == pytest.approx(expected, rel=1e-4)
    assert told[1].tolist() == pytest.approx([0, 0, 0, 1], rel=1e-4)
    tell(made, [[3, 3], [9, 9]], [[6, 6], [0, 0]])  # in vain again: it is not shown any more
    assert votes(made, [[3, 3], [9, 9]])[0, 0] == 0


def test_how_good_actions_have_been_is_told_where_it_is_asked_for_alone():
    made = memory_input(neighbours=2, logit_bias=0.0)
    assert ACTION_RETURNS not in made.read(np.array([[3, 3]] * 2), explore=True)


def test_the_range_of_returns_goes_with_a_state_and_with_who_plays_in_the_same_world():
    options = {"neighbours": 3, "reward_sites": 0, "by_action": True, "logit_bias": 2.0, "separate": False}
    made, other = memory_input(**options), memory_input(**options)
    several_ends(made)
    other.load_state_dict(made.state_dict())
    told = votes(made, [[3, 3], [9, 9]])
    assert told.any()
    assert torch.equal(votes(other, [[3, 3], [9, 9]]), told)
    assert torch.equal(votes(made.player(2), [[3, 3], [9, 9]]), told)


def test_people_are_told_what_the_first_environment_is_shown():
    made = memory_input(num_envs=2, neighbours=4, reward_sites=2, refuted=0.5, min_confidence=0.1)
    tell(made, [[1, 1], [0, 8]], [[2, 1], [0, 8]], action=[1, 0])
    tell(made, [[2, 1], [0, 8]], [[4, 4], [7, 7]], action=[3, 0], reward=[1.0, 1.0], done=[True, True])
    tell(made, [[1, 3], [0, 8]], [[1, 4], [0, 8]], action=[2, 0], done=[True, False])
    tell(made, [[4, 3], [0, 8]], [[4, 4], [0, 8]])  # in vain
    weights = torch.tensor([[0.1, 0.2, 0.05, 0.0, 0.25, 0.0, 0.4], [0.2, 0.1, 0.0, 0.0, 0.3, 0.0, 0.4]])
    seen = []
    told = made.look(np.array([[1, 1], [5, 5]]), lambda shown: seen.append(shown) or weights)
    assert seen[0][SHOWN][0].tolist() == [True, True, True, False, True, False]
    assert told.place.tolist() == [1, 1]
    assert told.where.tolist() == [[1, 1], [2, 1], [1, 3], [4, 4]]
    assert told.rewarded.tolist() == [True, True, False, True]
    assert told.outcome[told.rewarded].tolist() == [[4, 4]] * 3
    assert told.site.tolist() == [False, False, False, True]
    assert told.action.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert told.gained.tolist() == [0.5, 1, 0, 1]
    assert told.confidence.tolist() == pytest.approx([0.5, 0.5, 1, 0.5])
    assert told.distance.tolist() == pytest.approx([0, 1, 4, 0])
    assert told.age.tolist() == [2, 2, 1, 2]
    assert told.attention.tolist() == pytest.approx([0.1, 0.2, 0.05, 0.25])
    assert told.nothing == pytest.approx(0.4)
    with pytest.raises(FrozenInstanceError):
        told.nothing = 0.0


def test_what_is_shown_carries_no_gradient():
    made = memory_input(neighbours=2, reward_sites=2, logit_bias=1.0)
    found_at(made, 0, [4, 4])
    assert not any(part.requires_grad for part in made.read(np.array([[0, 8]] * 2), explore=True).values())


def test_a_memory_that_is_not_on_the_processor_is_refused():
    memory = DifferentiableNeuralDictionary(key_space(PLACES[0], True, False), value_size(PLACES[0], ACTIONS), 9)
    memory.device = torch.device("cuda")
    with pytest.raises(ValueError, match=r"memory\.device is cuda.* leave agent\.memory\.device out"):
        memory_input(situations=PLACES[0], make_memory=lambda: memory, reward_sites=0)
