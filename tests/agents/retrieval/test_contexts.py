"""Where observations tell a context it is a part of every key: other contexts' entries are neither found nor hurt."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.retrieval.entries import key_space, value_size
from engram_rl.agents.retrieval.situations import PlaceSituations
from engram_rl.agents.retrieval.tokens import NEIGHBOURS, SHOWN
from engram_rl.memory import Confidence, DifferentiableNeuralDictionary
from tests.agents.retrieval_worlds import ACTIONS, REACH, memory_input

SPACE = spaces.Dict(place=spaces.MultiDiscrete([9, 9]), cue=spaces.MultiBinary(2))
A, B = (0, 1), (1, 1)
AWAY = (0, 8)


def recall(num_envs=1, context="cue", **options):
    situations = PlaceSituations(SPACE, 0, part="place", context=context, reach=REACH)
    options = {"neighbours": 0, "reward_sites": 2, "min_confidence": 0.2} | options
    sites = options["reward_sites"] > 0
    make = partial(
        DifferentiableNeuralDictionary,
        key_space(situations, options.get("separate", True), sites),
        value_size(situations, ACTIONS),
        500,
        write_rule="last",
        forgetting=Confidence(lost_decay=1.0),
    )
    return memory_input(num_envs=num_envs, situations=situations, make_memory=make, **options)


def seen(places, cues):
    return {"place": np.array(places), "cue": np.array(cues, np.int8)}


def step(made, cue, after, *, before=AWAY, reward=0.0, done=False, next_cue=None, final_cue=None):
    """One environment's step; the next episode may be in another context, and so may where it leads to."""
    final = seen([after], [final_cue or cue])
    made.observe(
        Transition(
            observation=seen([before], [cue]),
            action=np.array([0]),
            reward=np.array([reward]),
            terminated=np.array([done]),
            truncated=np.array([False]),
            next_observation=final,
            reset_observation=seen([AWAY], [next_cue or cue]) if done else final,
        )
    )


def find(made, cue, place, **more):
    step(made, cue, place, reward=1.0, done=True, **more)


def shown(made, cue):
    """Sites, as ways from (0, 0), that are shown in this context."""
    read = made.read(seen([(0, 0)], [cue]), explore=True)
    ways = read[NEIGHBOURS][0, :, 2:4] * REACH
    return ways[read[SHOWN][0]].round().int().tolist()


def test_only_sites_of_this_context_are_retrieved_and_at_once():
    made = recall()
    assert shown(made, A) == []
    find(made, A, (4, 4), next_cue=B)
    assert shown(made, B) == []
    find(made, B, (2, 6), next_cue=A)
    assert shown(made, A) == [[4, 4]]
    assert shown(made, B) == [[2, 6]]


def test_a_site_that_a_step_into_another_context_found_is_of_that_one():
    made = recall()
    assert shown(made, A) == []
    find(made, A, (4, 4), final_cue=B)
    assert shown(made, A) == [] and shown(made, B) == [[4, 4]]


def test_without_a_context_in_the_key_all_sites_are_retrieved():
    made = recall(context=None)
    find(made, A, (4, 4))
    find(made, B, (2, 6))
    assert sorted(shown(made, A)) == [[2, 6], [4, 4]]


def test_a_visit_in_vain_in_another_context_hurts_no_confidence():
    made = recall()
    find(made, A, (4, 4), next_cue=B)
    step(made, B, (4, 4))
    step(made, B, AWAY, done=True, next_cue=A)
    assert shown(made, A) == [[4, 4]]
    step(made, A, (4, 4))
    assert shown(made, A) == []  # there it counts at once


def test_the_same_place_may_be_a_site_of_two_contexts():
    made = recall()
    find(made, A, (4, 4), next_cue=B)
    find(made, B, (4, 4), next_cue=A)
    assert len(made.memory) == 2
    step(made, A, (4, 4))
    assert shown(made, B) == [[4, 4]] and shown(made, A) == []


def test_steps_are_entries_of_their_context_too():
    made = recall(neighbours=1, reward_sites=0)
    find(made, A, (4, 4), before=(1, 1), next_cue=B)
    assert shown(made, B) == []
    find(made, B, (2, 6), before=(1, 1), next_cue=A)
    assert shown(made, A) == [[4, 4]] and shown(made, B) == [[2, 6]]


@pytest.mark.parametrize("separate", [True, False])
def test_what_follows_the_writes_is_what_a_search_finds(separate):
    made, draw = recall(separate=separate, refuted=0.5), np.random.default_rng(0)
    cues = [A, B, (0, 0)]
    for _ in range(200):
        cue, hit = cues[draw.integers(3)], draw.random() < 0.7
        place = tuple(draw.integers(0, 4, 2).tolist())
        made.read(seen([AWAY], [cue]), explore=True)
        step(made, cue, place, reward=float(hit), done=bool(hit))
        here = seen([AWAY], [cue])
        kept = made.read(here, explore=False)
        sites = made._retrieve.sites
        asked = sites.anew(1, np.arange(1))
        asked.enter(np.arange(1), made._situations.contexts(here))
        asked.refresh(made.memory, made._episodes)
        if hit:  # confidence that is lost is looked at when an episode has ended
            assert sites.slots.tolist() == asked.slots.tolist()
        assert kept[SHOWN].shape == (1, 2)


def test_it_goes_on_where_it_was_saved():
    one, other = recall(), recall()
    find(one, A, (4, 4), next_cue=B)
    find(one, B, (2, 6), next_cue=A)
    step(one, A, (1, 1), reward=1.0)
    other.load_state_dict(one.state_dict())
    for made in (one, other):
        step(made, A, (1, 2), done=True, next_cue=B)
    assert shown(one, A) == shown(other, A) == [[1, 1], [4, 4]]
    assert torch.equal(one._retrieve.sites.slots, other._retrieve.sites.slots)


def test_equal_places_in_other_contexts_are_other_situations():
    situations = PlaceSituations(SPACE, 0, part="place", context="cue")
    names = situations.identities(seen([(1, 1)] * 3, [A, B, A]))
    assert names[0] == names[2] != names[1]
    assert situations.place_size == 2 and situations.has_context


def test_a_part_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="No part is called context=colour"):
        PlaceSituations(SPACE, 0, part="place", context="colour")
