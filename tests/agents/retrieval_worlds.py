"""A memory input on a grid of nine by nine places, and what befalls its environments."""

from functools import partial

import numpy as np
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.retrieval.entries import key_space, value_size
from engram_rl.agents.retrieval.memory_input import MemoryInput
from engram_rl.agents.retrieval.options import RetrievalOptions
from engram_rl.agents.retrieval.situations import PlaceSituations
from engram_rl.agents.retrieval.tokens import NEIGHBOURS, SHOWN
from engram_rl.memory import Confidence, DifferentiableNeuralDictionary

SPACE = spaces.MultiDiscrete([9, 9])
ACTIONS = spaces.Discrete(4)
REACH = 8.0


def memory_input(num_envs=2, control=None, situations=None, make_memory=None, **options):
    situations = situations or PlaceSituations(SPACE, 0, reach=REACH)
    defaults = {"neighbours": 2, "reward_sites": 2, "discount": 0.5, "min_confidence": 0.0, "memory_dropout": 0.0}
    options = RetrievalOptions(**(defaults | options))
    make_memory = make_memory or partial(
        DifferentiableNeuralDictionary,
        key_space(situations, options.separate, options.reward_sites > 0),
        value_size(situations, ACTIONS),
        500,
        write_rule="last",
        forgetting=Confidence(lost_decay=0.8),
    )
    return MemoryInput(
        situations=situations,
        make_memory=make_memory,
        action_space=ACTIONS,
        num_envs=num_envs,
        options=options,
        generator=torch.Generator().manual_seed(0),
        control=control,
    )


def tell(made, before, after, *, reward=None, done=None, action=None):
    """One vector step."""
    E = len(before)
    done = np.array(done if done is not None else [False] * E)
    made.observe(
        Transition(
            observation=np.array(before),
            action=np.array(action if action is not None else [0] * E),
            reward=np.array(reward if reward is not None else [0.0] * E),
            terminated=done,
            truncated=np.zeros(E, bool),
            next_observation=np.array(after),
            reset_observation=np.array(after),
        )
    )


def show(made, places):
    """Tokens by name, and which are there."""
    shown = made.read(np.array(places), explore=True)
    tokens = shown[NEIGHBOURS]
    names = ["kind", "rank", "way", "rewarded", "return", "key", "distance", "action", "fresh", "confidence"]
    parts = tokens.split([1, 1, 2, 1, 1, 2, 1, 4, 1, 1], dim=2)
    return {name: part.squeeze(2) for name, part in zip(names, parts, strict=True)}, shown[SHOWN]


def found_at(made, env, place, others=None):
    """One environment finds reward at `place` in an episode of one step; the others stay where they are."""
    E = len(made._envs)
    before = [[0, 8]] * E
    after = [[0, 8]] * E
    after[env] = place
    hit = [e == env for e in range(E)]
    tell(made, before, after, reward=np.array(hit, float), done=hit)
