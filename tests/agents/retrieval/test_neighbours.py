"""Which entries are retrieved, above all which reward sites: the most credible and latest."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from engram_rl.agents.agent import Transition
from engram_rl.agents.retrieval.entries import key_space, value_size
from engram_rl.agents.retrieval.neighbours import Neighbours
from engram_rl.agents.retrieval.situations import PlaceSituations
from engram_rl.memory import Confidence, DifferentiableNeuralDictionary
from tests.agents.ppo_worlds import same
from tests.agents.retrieval_worlds import ACTIONS, REACH, SPACE, found_at, memory_input, show, tell

AWAY = [0, 8]


def unforgiving(num_envs=1, **options):
    """A memory input whose memory never gives back the confidence that was lost."""
    situations = PlaceSituations(SPACE, 0, reach=REACH)
    sites, separate = options.get("reward_sites", 1) > 0, options.get("separate", True)
    space, size = key_space(situations, separate, sites), value_size(situations, ACTIONS)
    forgetting = Confidence(lost_decay=1.0)
    make = partial(DifferentiableNeuralDictionary, space, size, 500, write_rule="last", forgetting=forgetting)
    options = {"neighbours": 0, "reward_sites": 1} | options
    return memory_input(num_envs=num_envs, situations=situations, make_memory=make, **options)


def in_vain(made, place):
    tell(made, [AWAY], [place])


def idle(made, episodes=1):
    """Episodes without reward."""
    for _ in range(episodes):
        tell(made, [AWAY], [AWAY], done=[True])


def sites_shown(made):
    tokens, there = show(made, [AWAY])
    places = tokens["way"][0] * REACH / tokens["confidence"][0, :, None] + torch.tensor(AWAY)
    return places[there[0]].round().int().tolist()


@pytest.mark.parametrize(("later", "latest_wins"), [(4, False), (5, False), (6, True), (7, True)])
def test_an_episode_of_age_weighs_as_much_as_a_fiftieth_of_the_logarithm_of_confidence(later, latest_wins):
    assert 5 * 0.02 < -math.log(0.9) < 6 * 0.02
    made = unforgiving(refuted=0.9)
    found_at(made, 0, [4, 4])
    idle(made, later - 1)
    found_at(made, 0, [2, 2])
    in_vain(made, [2, 2])
    idle(made)  # which sites are shown is asked anew when an episode has ended
    assert sites_shown(made) == [[2, 2] if latest_wins else [4, 4]]


def test_of_sites_that_are_hardly_believed_at_all_the_latest_is_shown():
    made = unforgiving(refuted=3e-7)
    found_at(made, 0, [4, 4])
    found_at(made, 0, [2, 2])
    for place in ([4, 4], [2, 2], [2, 2]):
        in_vain(made, place)
    idle(made)
    found = made._look(np.array([AWAY]), np.arange(1), touch=False)
    assert found.values[0, 0, :2].tolist() == [2, 2]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_most_credible_are_among_the_latest_four_times_as_many(count):
    for older, known in ((4 * count - 1, True), (4 * count, False)):
        made = unforgiving(reward_sites=count, refuted=0.1)
        found_at(made, 0, [8, 8])
        for n in range(older):
            found_at(made, 0, [1 + n % 6, n // 6])
            in_vain(made, [1 + n % 6, n // 6])
        idle(made)
        assert ([8, 8] in sites_shown(made)) == known


def test_the_latest_come_first_however_many_episodes_there_were():
    made = unforgiving(reward_sites=2)
    made.load_state_dict(made.state_dict() | {"episodes": np.array([100_000.0])})
    for n in range(30):
        found_at(made, 0, [1 + n % 6, n // 6])
    assert sites_shown(made) == [[1 + 29 % 6, 29 // 6], [1 + 28 % 6, 28 // 6]]
    assert show(made, [AWAY])[0]["fresh"][0].tolist() == [1, 0.5]


def test_a_site_that_was_removed_makes_room_for_the_next_in_the_same_episode_and_at_its_end():
    for ends in (False, True):
        made = unforgiving()
        found_at(made, 0, [4, 4])
        found_at(made, 0, [2, 2])
        assert sites_shown(made) == [[2, 2]]
        made.memory.forget(made._retrieve.sites.slots[0])
        if ends:
            idle(made)
        assert sites_shown(made) == [[4, 4]]


@pytest.mark.parametrize("separate", [False, True])
def test_only_what_may_have_changed_is_looked_up_again(separate):
    made, asked = unforgiving(num_envs=3, reward_sites=2, separate=separate), []
    real = made.memory.lookup
    made.memory.lookup = lambda query, *more, **how: asked.append(len(query["when"])) or real(query, *more, **how)
    reads = lambda: (asked.clear(), show(made, [AWAY] * 3), list(asked))[2]  # noqa: E731
    assert (reads(), reads()) == ([3], [])
    tell(made, [AWAY] * 3, [AWAY] * 3, reward=[0.0, 1.0, 0.0])
    assert reads() == []
    found_at(made, 1, [4, 4])
    assert (reads(), reads()) == ([] if separate else [3], [])  # what was written is known
    made.memory.forget(made.memory.slots)
    assert (reads(), reads()) == ([] if separate else [3], [])


@pytest.mark.parametrize("capacity", [500, 20])
def test_sites_that_follow_what_is_written_are_those_that_a_search_finds(capacity):
    """Of many sites, more than are kept in mind, that come again, lose confidence, make room and are forgotten."""
    situations = PlaceSituations(SPACE, 0, reach=REACH)
    space, size = key_space(situations, True, True), value_size(situations, ACTIONS)
    make = partial(
        DifferentiableNeuralDictionary, space, size, capacity, write_rule="last", forgetting=Confidence(lost_decay=1.0)
    )
    made = memory_input(num_envs=3, neighbours=0, reward_sites=2, situations=situations, make_memory=make, refuted=0.5)
    draw = np.random.default_rng(0)
    for _ in range(150):
        hit = draw.random(3) < 0.7
        tell(made, [AWAY] * 3, draw.integers(0, 6, (3, 2)), reward=hit * 1.0, done=hit)
        if draw.random() < 0.1:
            made.memory.forget(torch.from_numpy(draw.choice(made.memory.slots.numpy(), 2)))
        found = made._retrieve.sites
        found.outdate(np.arange(3))  # confidence that is lost is looked at when an episode has ended
        asked = found.anew(3, np.arange(3))
        for sites in (found, asked):
            sites.refresh(made.memory, made._episodes)
        assert found.slots.tolist() == asked.slots.tolist()


def test_looking_up_reward_sites_is_no_use_of_them():
    made = unforgiving(num_envs=2, neighbours=1)
    found_at(made, 0, [4, 4])
    before = made.memory.state_dict()
    made.read(np.array([AWAY] * 2), explore=False)
    assert same(made.memory.state_dict(), before)


def test_acting_is_a_use_of_what_is_near_and_nothing_else_is():
    made = memory_input(num_envs=2, neighbours=1, reward_sites=0)
    tell(made, [[1, 1]] * 2, [[1, 2]] * 2, done=[True] * 2)
    before, at = made.memory.state_dict(), np.array([[1, 1]] * 2)
    tell(made, [[1, 1]] * 2, [[1, 2]] * 2)
    made.read(at, explore=False)
    made.look(at, lambda shown: torch.ones(2, 2))
    made.read_final(step_to(at), np.array([1]))
    assert same(made.memory.state_dict(), before)
    made.read(at, explore=True)
    assert not same(made.memory.state_dict(), before)


def step_to(at):
    never = np.zeros(len(at), bool)
    return Transition(at, np.zeros(len(at)), np.zeros(len(at)), never, never, at, at)


def test_a_step_is_believed_as_the_site_that_it_led_to_and_one_that_led_nowhere_by_itself():
    made = unforgiving(neighbours=2, refuted=0.5)
    tell(made, [[1, 1]], [[4, 4]], reward=[1.0], done=[True])
    tell(made, [[7, 7]], [[7, 8]], done=[True])
    in_vain(made, [4, 4])
    tokens, there = show(made, [[1, 1]])
    assert there.all()
    assert tokens["rewarded"][0].tolist() == [1, 0, 1]
    assert tokens["confidence"][0].tolist() == [0.5, 1, 0.5]


def test_a_step_that_led_to_a_site_which_is_forgotten_is_not_believed_at_all():
    made = unforgiving(neighbours=1, refuted=0.0)
    found_at(made, 0, [4, 4])
    in_vain(made, [4, 4])
    tokens, there = show(made, [AWAY])
    assert there.tolist() == [[True, False]]
    assert tokens["confidence"][0, 0] == 0


@pytest.mark.parametrize(("min_confidence", "shown"), [(0.25, True), (0.5, True), (0.51, False), (1.0, False)])
def test_what_is_believed_just_enough_is_shown(min_confidence, shown):
    made = unforgiving(refuted=0.5, min_confidence=min_confidence)
    found_at(made, 0, [4, 4])
    assert show(made, [AWAY])[1].all()
    in_vain(made, [4, 4])
    assert bool(show(made, [AWAY])[1].all()) == shown


def test_what_was_retrieved_cannot_be_given_other_parts():
    found = Neighbours(*(torch.zeros(1) for _ in range(6)))
    with pytest.raises(AttributeError):
        found.shown = None
