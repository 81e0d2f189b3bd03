"""What a cut episode goes on with: the best action's mean return near its last situation, against a slow reference."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.episodic_control.returns import Returns
from engram_rl.agents.retrieval.continuing import Continuing
from engram_rl.agents.retrieval.entries import Entries, key_space, value_size
from engram_rl.agents.retrieval.situations import PlaceSituations
from engram_rl.memory import DifferentiableNeuralDictionary
from tests.agents.ppo_worlds import same

SITUATIONS, NEIGHBOURS, E = PlaceSituations(spaces.Box(-1, 1, (2,), np.float32), 0), 5, 3
CHOICES, NUMBERS = spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)


def remembered(action_space, worlds=2, each=9):
    """What answers, the memory, and what it holds as (world, place, action, return); the last world is unknown."""
    draw = np.random.default_rng(0)
    code = Flatten(action_space)
    entries = Entries(SITUATIONS, code.size, separate=True, sites=False, by_action=True, site_size=0.0)
    memory = DifferentiableNeuralDictionary(
        key_space(SITUATIONS, True, False), value_size(SITUATIONS, action_space), 50
    )
    stream, place = np.repeat(np.arange(worlds), each), draw.normal(0, 0.05, (worlds * each, 2)).astype(np.float32)
    action_space.seed(0)
    action = np.array([action_space.sample() for _ in stream])
    rows, gained = code(torch.from_numpy(action)).numpy(), draw.normal(0, 3, len(stream))
    held = {"view": place, "place": place, "name": SITUATIONS.identities(place), "action": rows, "stream": stream}
    steps = entries.latest(Returns(held, action, gained))
    keys, values, names = entries.steps(*steps, np.zeros((E, 2), np.float32), np.zeros(E, bool), np.zeros(E))
    memory.write(keys, values, identity=names, present=entries.given(keys))
    return (
        Continuing(SITUATIONS, entries, action_space, NEIGHBOURS),
        memory,
        list(zip(stream, place, action, gained, strict=True)),
    )


def slow(held, world, place, allowed):
    """In plain Python, of one situation; actions that are no choices are all one."""
    known = [
        (float(((place - there) ** 2).sum()), action, gained) for who, there, action, gained in held if who == world
    ]
    nearest = sorted(known, key=lambda entry: entry[0])[:NEIGHBOURS]
    best = -math.inf
    for choice in allowed:
        mine = [(0.001 / (d + 0.001), gained) for d, action, gained in nearest if choice is None or action == choice]
        if mine:
            best = max(best, sum(w * gained for w, gained in mine) / sum(w for w, _ in mine))
    return best


@pytest.mark.parametrize("action_space", [CHOICES, NUMBERS], ids=["choices", "numbers"])
def test_it_is_the_best_mean_return_of_an_action_near(action_space):
    ask, memory, held = remembered(action_space)
    draw = np.random.default_rng(1)
    for _ in range(20):
        places, envs = draw.normal(0, 0.08, (2, 2)).astype(np.float32), draw.permutation(2)
        expected = [
            slow(held, *one, range(3) if action_space is CHOICES else [None]) for one in zip(envs, places, strict=True)
        ]
        assert ask(memory, places, envs) == pytest.approx(expected, rel=1e-4)


def test_only_what_is_allowed_counts():
    ask, memory, held = remembered(CHOICES)
    draw = np.random.default_rng(2)
    for _ in range(20):
        places, envs = draw.normal(0, 0.08, (2, 2)).astype(np.float32), np.array([1, 0])
        mask = draw.random((2, 3)) < 0.5
        expected = [slow(held, *one, np.flatnonzero(may)) for *one, may in zip(envs, places, mask, strict=True)]
        assert ask(memory, places, envs, mask) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("action_space", [CHOICES, NUMBERS], ids=["choices", "numbers"])
def test_where_nothing_is_known_it_is_minus_infinity(action_space):
    ask, memory, _ = remembered(action_space)
    assert ask(memory, np.zeros((1, 2), np.float32), np.array([2])).tolist() == [-math.inf]


def test_far_from_all_that_is_known_it_is_the_mean_of_what_is_nearest():
    ask, memory, held = remembered(NUMBERS, worlds=1, each=NEIGHBOURS)
    there = np.full((1, 2), 1e7, np.float32)
    assert ask(memory, there, np.array([0]))[0] == pytest.approx(np.mean([gained for *_, gained in held]), rel=1e-4)


def test_asking_leaves_no_trace_in_the_memory():
    ask, memory, _ = remembered(CHOICES)
    before = memory.state_dict()
    ask(memory, np.zeros((2, 2), np.float32), np.array([0, 1]))
    assert same(memory.state_dict(), before)
