"""Recall on a grid of nine by nine places, and what befalls its environments."""

from functools import partial

import numpy as np
import torch
from gymnasium import spaces

from engram_rl.agents.agent import Transition
from engram_rl.agents.controls import Control
from engram_rl.agents.entries import key_space, value_size
from engram_rl.agents.recall import Recall
from engram_rl.agents.situations import Places
from engram_rl.memory import Confidence, DifferentiableNeuralDictionary

SPACE = spaces.MultiDiscrete([9, 9])
ACTIONS = spaces.Discrete(4)
REACH = 8.0


def recall(num_envs=2, separate=True, here=2, found=2, control=None, situations=None, **options):
    situations = situations or Places(SPACE, 0, part=None, columns=None, reach=REACH)
    make_memory = partial(
        DifferentiableNeuralDictionary,
        key_space(situations, separate, found),
        value_size(situations, ACTIONS),
        500,
        write_rule="last",
        forgetting=Confidence(lost_decay=0.8),
    )
    return Recall(
        situations=situations,
        action_space=ACTIONS,
        num_envs=num_envs,
        separate=separate,
        here=here,
        found=found,
        generator=torch.Generator().manual_seed(0),
        **(
            {"discount": 0.5, "refuted": 0.05, "by_action": False, "least_trust": 0.0, "hide": 0.0, "votes": False}
            | {"make_memory": make_memory}
            | options
        ),
        control=control or Control(),
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
    tokens = shown[Recall.TOKENS]
    names = ["kind", "rank", "way", "rewarded", "return", "key", "distance", "action", "fresh", "trust"]
    parts = tokens.split([1, 1, 2, 1, 1, 2, 1, 4, 1, 1], dim=2)
    return {name: part.squeeze(2) for name, part in zip(names, parts, strict=True)}, shown[Recall.VALID]


def found_at(made, env, place, others=None):
    """One environment finds reward at `place` in an episode of one step; the others stay where they are."""
    E = len(made._streams)
    before = [[0, 8]] * E
    after = [[0, 8]] * E
    after[env] = place
    hit = [e == env for e in range(E)]
    tell(made, before, after, reward=np.array(hit, float), done=hit)
