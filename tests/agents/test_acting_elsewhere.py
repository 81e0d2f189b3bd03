"""Copies that act while the agent learns: told of everything after each step they are the agent, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engram_rl.agents.common.observations import map_observation, rows_of, rows_of_mask
from engram_rl.agents.random import RandomAgent
from engram_rl.training.api import make_agent
from engram_rl.training.composing import composed
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.distributed.actor import Step, joined
from engram_rl.training.distributed.actors import require_copies
from engram_rl.training.distributed.changes import leaves, nested
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import act, allowed, step

E = 4
GREEDY = {"agent.exploration": 0.0}
SHORT = ("env.max_episode_steps=9", f"env.num_envs={E}", "env.vectorization=sync")
ROLLOUT = {"agent.num_steps": 8, "agent.minibatch_size": 16}
SMALL = {"agent.memory.capacity": 12}  # it forgets, by what was looked up
RETRIEVAL = {"agent.memory.capacity": 60, "agent.retrieval.memory_dropout": 0.3}
AGENTS = {
    "nec": ("cartpole", GREEDY | SMALL | {"agent.learn_after": 10, "agent.n_step": 5}),
    "mfec": ("cartpole", GREEDY | SMALL),
    "episodic": ("cornergoal", GREEDY | SMALL | {"agent.novelty": 0.1}),
    "ppo": ("cartpole", ROLLOUT),
    "ppo_gru": ("cartpole", ROLLOUT | {"+agent.show_previous": True}),
    "self_imitation_ppo": ("cornergoal", ROLLOUT),
    "retrieval_ppo": (
        "newgoal_searched",
        ROLLOUT | {"agent.memory.capacity": 60, "agent.retrieval.memory_dropout": 0.3},
    ),
}


def built(name, num_envs=E, seed=3, more=()):
    """Environments of an agent's test, and the agent for so many of them."""
    world, values = AGENTS[name][0], AGENTS[name][1] | dict(more)
    words = [f"agent={name}", f"env={world}", *SHORT, *(f"{path}={value}" for path, value in values.items())]
    with composed("train", words) as config:
        config.env.num_envs = num_envs
        environments = build_environments(config.env)
        return environments, build_agent(config.agent, environments, seed)


def state_of(agent):
    """All that is learned from and by; not what only acting draws from or counts, and of uses only their order."""
    apart = {"explore", "generator", "usage", "writes", "known", "uses"}
    state = {place: one for place, one in leaves(agent.state_dict()).items() if not apart & set(place)}
    return {place: one.argsort(stable=True) if place[-1:] == ("score",) else one for place, one in state.items()}


def is_same(one, other):
    same = [np.array_equal(np.asarray(one[place]), np.asarray(other[place])) for place in one if place in other]
    return one.keys() == other.keys() and all(same)


def lived(name, steps, copies=0):
    """An agent after so many vector steps, which it took itself, or copies of it did; and what it was paid."""
    environments, agent = built(name)
    others = [built(name, E // copies)[1] for _ in range(copies)]
    observation, info = environments.reset(seed=list(range(E)))
    mask, paid = allowed(environments, info), []
    for _ in range(steps):
        acted = acted_elsewhere(agent, others, observation, mask) if others else (act(agent, observation, mask), None)
        transition = step(environments, observation, acted[0], mask)
        if others:
            taken_in(agent, others, transition, acted[1])
        agent.observe(transition)
        agent.learn()
        paid.append(transition.reward)
        observation, mask = transition.reset_observation, transition.reset_mask
    environments.close()
    return agent, np.array(paid)


def rows_of_each(copies):
    return np.array_split(np.arange(E), len(copies))


def acted_elsewhere(agent, copies, observation, mask):
    """The actions of copies that know all that the agent knows, and what they note."""
    actions, noted = [], []
    for copy, rows in zip(copies, rows_of_each(copies), strict=True):
        copy.know(nested(leaves(agent.knowledge())), rows)
        if hasattr(agent, "policy"):  # actions and minibatches are drawn from one generator
            copy._generator.set_state(agent._generator.get_state())
        actions.append(act(copy, rows_of(observation, rows), rows_of_mask(mask, rows)))
        if hasattr(agent, "policy"):
            agent._generator.set_state(copy._generator.get_state())
        noted.append(copy.noted())
    return np.concatenate(actions), noted


def taken_in(agent, copies, transition, noted):
    parts = []
    for copy, rows, one in zip(copies, rows_of_each(copies), noted, strict=True):
        part = replace(transition, rows=rows).of_rows()
        copy.follow(replace(part, rows=None))
        parts.append(Step(replace(part, rows=None, info={}), one))
    whole = joined(parts)
    for field in ("observation", "next_observation", "reset_observation", "action", "reward"):
        pairs = map_observation(np.array_equal, getattr(whole.transition, field), getattr(transition, field))
        assert all(pairs.values()) if isinstance(pairs, dict) else pairs
    agent.note(whole.noted, transition)


@pytest.mark.parametrize("name", AGENTS)
def test_a_copy_that_knows_all_acts_as_the_agent_itself_which_learns_the_same(name):
    here, paid_here = lived(name, 60)
    elsewhere, paid = lived(name, 60, copies=1)
    assert np.array_equal(paid_here, paid) and len(np.unique(paid)) >= (1 if "cartpole" in AGENTS[name] else 2)
    assert is_same(state_of(here), state_of(elsewhere))


@pytest.mark.parametrize("name", AGENTS)
def test_what_several_copies_did_is_taken_in_side_by_side(name):
    """`taken_in` compares each joined step with the one that was taken."""
    fresh, (agent, paid) = built(name)[1], lived(name, 40, copies=2)
    assert paid.shape == (40, E) and not is_same(state_of(fresh), state_of(agent))


@pytest.mark.parametrize("name", AGENTS)
def test_a_copy_changes_nothing_that_it_was_told_and_goes_on_from_its_state(name):
    environments, agent = built(name)
    learner, _ = lived(name, 30)
    known = nested(leaves(learner.knowledge()))
    others = [agent, built(name)[1]]
    observation, info = environments.reset(seed=list(range(E)))
    mask = allowed(environments, info)
    for at in range(24):
        if at == 12:  # another goes on in its place
            others[1].load_acting_state(nested(leaves(others[0].acting_state())))
        acting = others[: 1 + (at >= 12)]
        if at in (0, 12):
            for one in acting:
                one.know(nested(leaves(known)), np.arange(E))
        actions = [act(one, observation, mask) for one in acting]
        assert all(np.array_equal(actions[0], other) for other in actions)
        transition = step(environments, observation, actions[0], mask)
        for one in acting:
            one.noted()
            one.follow(transition)
        observation, mask = transition.reset_observation, transition.reset_mask
    told, now = leaves(known), leaves(others[0].knowledge())
    apart = [place for place in told if {"forgetting", "usage", "episodes"} & set(place)]
    assert is_same(*({p: v for p, v in one.items() if p not in apart} for one in (told, now)))
    environments.close()


def test_statistics_of_observations_are_learned_by_the_learner_alone():
    environments, learner = built("ppo", more={"+agent.normalise_observations": True})
    _, copy = built("ppo", more={"+agent.normalise_observations": True})
    _, alone = built("ppo", more={"+agent.normalise_observations": True})
    observation, _ = environments.reset(seed=list(range(E)))
    for _ in range(5):
        actions, noted = acted_elsewhere(learner, [copy], observation, None)
        before = leaves(copy.knowledge())
        transition = step(environments, observation, actions)
        taken_in(learner, [copy], transition, noted)
        alone.act(observation)
        assert is_same(before, leaves(copy.knowledge()))
        assert is_same(leaves(learner.perceive.state_dict()), leaves(alone.perceive.state_dict()))
        observation = transition.reset_observation
    environments.close()


def test_worlds_apart_are_read_as_those_of_the_learners_environments():
    _, learner = built("retrieval_ppo")
    learner, _ = lived("retrieval_ppo", 60)
    environments, whole = built("retrieval_ppo")
    _, half = built("retrieval_ppo", 2)
    rows = np.array([2, 3])
    observation, _ = environments.reset(seed=list(range(E)))
    for copy, which in ((whole, np.arange(E)), (half, rows)):
        copy.know(nested(leaves(learner.knowledge())), which)
    shown = whole.extras[0].read(observation, explore=True)
    own = half.extras[0].read(rows_of(observation, rows), explore=True)
    assert all(torch.equal(shown[name][rows], own[name]) for name in shown) and shown["shown"].any()
    environments.close()


def test_who_cannot_act_elsewhere_is_refused_by_name():
    environments, _ = built("ppo")
    with pytest.raises(UsageError, match=r"RandomAgent cannot act in other processes .*no knowledge, .*agent=nec"):
        require_copies(RandomAgent(environments.action_space, 0))
    lifelong = make_agent("ppo", environments, "core=lifelong")
    with pytest.raises(UsageError, match=r"core=lifelong writes to one memory .*leave cluster.actors out"):
        require_copies(lifelong)
    environments.close()
