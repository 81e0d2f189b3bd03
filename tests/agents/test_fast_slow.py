"""The fast/slow agent: finds out what actions do, corrects itself by contradiction, and comes back exactly."""

import numpy as np
import pytest
import torch

import envs  # noqa: F401
from agents.fast_slow import make_fast_slow
from agents.views import Columns
from memory import Planner, TransitionMemory
from training.environments import make_environments
from training.rollout import step

PUBLISHED = {"slow": "branches", "fast": True}
SEARCH = {"slow": "search", "fast": False}
BOTH = {"slow": "search", "fast": True}
CASES = [("ShiftWall", SEARCH), ("ShiftWall", PUBLISHED), ("ShiftWall", BOTH), ("HiddenGoal", SEARCH)]


def make_agent(environments, seed=0, **changes):
    settings = {
        "view": lambda space: Columns(space, [0, 1], [2, 3]),
        "danger": True,
        "slow": "search",
        "fast": False,
        "share_memory": False,
        "memory": lambda *args, **kwargs: TransitionMemory(*args, 2000, **kwargs),
        "planner": lambda *args, **kwargs: Planner(*args, unknown_cost=1.2, doubt_cost=np.inf, **kwargs),
        "branches": 30,
        "depth": 12,
        "hidden": [32],
        "optimiser": torch.optim.Adam,
        "batch_size": 32,
        "visit_weight": 1.0,
    }
    return make_fast_slow(
        environments.single_observation_space,
        environments.single_action_space,
        environments.num_envs,
        seed,
        **(settings | changes),
    )


def make(name="ShiftWall", num_envs=2, **options):
    return make_environments(f"engram/{name}-v0", num_envs, vectorization="vector_entry_point", kwargs=options)


def play(agent, environments, steps, observation=None):
    """Steps and the transitions they made."""
    if observation is None:
        observation, _ = environments.reset(seed=3)
    transitions = []
    for _ in range(steps):
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        agent.learn()
        transitions.append(transition)
        observation = transition.reset_observation
    return transitions


def episode_lengths(transitions, env=0):
    ends = np.flatnonzero([t.done[env] for t in transitions])
    return np.diff(np.concatenate([[-1], ends]))


def same(one, other):
    """Whether two states of an agent are equal, whatever they consist of."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (np.ndarray, torch.Tensor)):
        return bool(np.array_equal(np.asarray(one), np.asarray(other)))
    return one == other


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_saved_agent_continues_as_if_nothing_had_happened(name, settings):
    environments = make(name)
    agent = make_agent(environments, **settings)
    transitions = play(agent, environments, 60)
    saved = agent.state_dict()
    other = make_agent(environments, seed=5, **settings)
    other.load_state_dict(saved)
    assert same(other.state_dict(), saved)
    replica = make(name)
    replica.reset(seed=3)
    for transition in transitions:
        replica.step(transition.action)
    observation = transitions[-1].reset_observation
    one, two = (play(a, e, 60, observation) for a, e in ((agent, environments), (other, replica)))
    assert all(np.array_equal(a.action, b.action) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("settings", [SEARCH, PUBLISHED, BOTH])
def test_the_same_seed_gives_the_same_actions(settings):
    runs = []
    for _ in range(2):
        environments = make()
        runs.append([t.action for t in play(make_agent(environments, **settings), environments, 80)])
    assert np.array_equal(*runs)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_acting_without_exploring_changes_nothing(name, settings):
    environments = make(name)
    agent = make_agent(environments, **settings)
    play(agent, environments, 30)
    before = agent.state_dict()
    strange, _ = make(name).reset(seed=77)
    agent.act(strange, explore=False)
    assert same(agent.state_dict(), before)


def test_search_solves_every_episode_and_loses_little_after_the_wall_has_moved():
    environments = make(num_envs=1)
    transitions = play(make_agent(environments), environments, 860)
    lengths = episode_lengths(transitions)[:100]
    assert len(lengths) == 100 and lengths.max() < 100
    assert lengths.sum() - 755 <= 100
