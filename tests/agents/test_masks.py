"""No agent ever takes an action that is masked, and what it learns of masked actions stays finite."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config
from engram_rl.agents.agent import Transition
from engram_rl.agents.policy_gradient.rollouts import Rollout
from engram_rl.agents.random import RandomAgent
from engram_rl.training.construction import build_agent

E, STEPS = 3, 40
PLACES = spaces.Box(0, 9, (2,), np.float32)
AGENTS = {
    "random": "",
    "mfec": "mfec memory.capacity=500 exploration=0.5 modalities=null",
    "episodic": "episodic memory.capacity=500 modalities=null",
    "nec": "nec memory.capacity=500 learn_after=20 n_step=5 exploration=0.3 modalities=null",
    "nec, double": "nec memory.capacity=500 learn_after=20 n_step=5 +double=true modalities=null",
    "ppo": "ppo num_steps=16 minibatch_size=16 entropy_coefficient=0.1",
    "ppo_gru": "ppo_gru num_steps=16 minibatch_size=16 entropy_coefficient=0.1",
    "self_imitation": "self_imitation_ppo num_steps=16 minibatch_size=16",
    "retrieval_view": "retrieval_ppo_view num_steps=16 minibatch_size=16 memory.capacity=500",
    "fast_slow": "fast_slow memory.capacity=500",
    "fast_slow_paper": "fast_slow_paper memory.capacity=500",
    "fast_slow, fast": "fast_slow memory.capacity=500 slow=none fast=true",
    "go_explore": "go_explore memory.capacity=500 +learn_every=4",
    "go_explore, plan": "go_explore memory.capacity=500 way_back=plan explore_steps=3",
}
OF_PARTS = ("random", "mfec", "nec", "ppo")


class Spaces:
    def __init__(self, action_space):
        self.single_observation_space, self.single_action_space, self.num_envs = PLACES, action_space, E


def made(given, action_space):
    if not given:
        return RandomAgent(batch_space(action_space, E), 0)
    return build_agent(OmegaConf.create(agent_config(given)), Spaces(action_space), 0)


def masks(sizes, rng):
    """Rows that allow one choice of each part at least. `[E, sum of sizes]`."""
    parts = []
    for size in sizes:
        part = rng.random((E, size)) < 0.4
        part[np.arange(E), rng.integers(size, size=E)] = True
        parts.append(part)
    return np.concatenate(parts, axis=1)


def play(agent, sizes, start=0):
    """Random worlds with random masks: the parts of every action must be allowed."""
    rng = np.random.default_rng(1)
    shown, mask, reports = rng.integers(0, 4, (E, 2)).astype(np.float32), masks(sizes, rng), []
    for _ in range(STEPS):
        following, next_mask = rng.integers(0, 4, (E, 2)).astype(np.float32), masks(sizes, rng)
        for explore in (False, True):
            action = agent.act(shown, explore=explore, mask=mask)
            codes = action.reshape(E, -1) - start + np.cumsum([0, *sizes])[:-1]
            assert np.take_along_axis(mask, codes, axis=1).all()
        terminated, truncated = rng.random(E) < 0.1, rng.random(E) < 0.1
        reward = -rng.random(E)
        step = Transition(shown, action, reward, terminated, truncated & ~terminated, following, following)
        agent.observe(dataclasses.replace(step, mask=mask, next_mask=next_mask))
        reports.append(agent.learn())
        shown, mask = following, next_mask
    return reports


@pytest.mark.parametrize("name", AGENTS)
def test_no_masked_action_is_ever_taken(name):
    for report in play(made(AGENTS[name], spaces.Discrete(5)), [5]):
        assert all(np.isfinite(value) for value in report.values()), report


@pytest.mark.parametrize("name", OF_PARTS)
def test_parts_are_masked_each_by_its_own_choices(name):
    play(made(AGENTS[name], spaces.MultiDiscrete([2, 3])), [2, 3])


def test_actions_that_count_from_elsewhere_are_masked_by_their_place():
    for name in ("random", "mfec", "ppo"):
        play(made(AGENTS[name], spaces.Discrete(4, start=3)), [4], start=3)


@pytest.mark.parametrize("name", [name for name in AGENTS if AGENTS[name]])
@pytest.mark.parametrize("wrong", [np.ones((E, 4), bool), np.ones((E + 1, 5), bool), np.arange(E)[:, None] < [1] * 5])
def test_a_mask_that_does_not_fit_or_allows_nothing_is_refused(name, wrong):
    with pytest.raises(ValueError, match="action mask"):
        made(AGENTS[name], spaces.Discrete(5)).act(np.zeros((E, 2), np.float32), mask=wrong)


@pytest.mark.parametrize("name", ["mfec", "nec", "nec, double"])
def test_what_follows_a_cut_is_worth_the_best_of_what_is_allowed_there(name):
    agent = made(AGENTS[name], spaces.Discrete(2))
    here, no, yes = np.ones((E, 2), np.float32), np.zeros(E, bool), np.ones(E, bool)
    for action, reward in ((0, 1.0), (1, 5.0)):
        agent.act(here)
        agent.observe(Transition(here, np.full(E, action), np.full(E, reward), yes, no, here, here))
    cut = Transition(here, np.zeros(E, int), np.zeros(E), no, yes, here, here)
    assert agent._final_values(cut) == pytest.approx(5.0, rel=1e-3)
    only = np.tile([True, False], (E, 1))
    assert agent._final_values(dataclasses.replace(cut, next_mask=only)) == pytest.approx(1.0, rel=1e-3)


def test_acting_and_learning_judge_by_the_same_mask():
    agent = made(AGENTS["ppo"], spaces.Discrete(5))
    rng = np.random.default_rng(0)
    shown, mask = rng.random((E, 2)).astype(np.float32), masks([5], rng)
    action = agent.act(shown, mask=mask)
    kept = agent.acted
    judged = agent.policy(kept["seen"], agent.state, kept["starts"][None], kept["extras"], kept["mask"])
    among = torch.tensor([np.log(1 / row.sum()) for row in mask])  # a fresh policy is all but indifferent
    assert judged.distribution.log_prob(torch.as_tensor(action)).detach() == pytest.approx(among, abs=0.1)
    assert judged.distribution.entropy().detach() == pytest.approx(-among, abs=0.1)


@pytest.mark.parametrize("name", ["ppo", "self_imitation", "retrieval_view"])
@pytest.mark.parametrize("late", [False, True])
def test_a_mask_at_some_steps_only_is_one_that_allows_all_at_the_others(name, late):
    rng, no = np.random.default_rng(0), np.zeros(E, bool)
    agents = [made(AGENTS[name], spaces.Discrete(5)) for _ in range(2)]
    learned = 0
    for t in range(80):
        shown, mask = rng.random((E, 2)).astype(np.float32), masks([5], rng)
        given = [mask, mask] if t % 3 == late else [None, np.ones((E, 5), bool)]
        actions = [agent.act(shown, mask=one) for agent, one in zip(agents, given, strict=True)]
        assert np.array_equal(*actions)
        ended = np.full(E, t % 4 == 3)
        for agent in agents:
            agent.observe(Transition(shown, actions[0], rng.random(E) * 0 + t % 2, ended, no, shown, shown))
        first, second = (agent.learn() for agent in agents)
        assert first == second
        learned += bool(first)
    assert learned


def test_steps_of_other_parts_are_refused():
    rollout = Rollout(4, E)
    rollout.add(torch.zeros(E, 0), {"seen": torch.zeros(E, 2)}, np.zeros(E), np.zeros(E, bool), np.zeros(E))
    with pytest.raises(RuntimeError, match="extras"):
        step = {"seen": torch.zeros(E, 2), "extras": torch.zeros(E)}
        rollout.add(torch.zeros(E, 0), step, np.zeros(E), np.zeros(E, bool), np.zeros(E))
