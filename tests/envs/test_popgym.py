"""POPGym's environments as they come: each of the 42 that need no maze library is made, acted in and learned from."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.rollout import step

FAMILIES = [
    "Autoencode", "Battleship", "Concentration", "CountRecall", "HigherLower", "MineSweeper", "MultiarmedBandit",
    "NoisyPositionOnlyCartPole", "NoisyPositionOnlyPendulum", "PositionOnlyCartPole", "PositionOnlyPendulum",
    "RepeatFirst", "RepeatPrevious", "VelocityOnlyCartpole",
]  # fmt: skip
ALL = [f"popgym-{family}{level}-v0" for family in FAMILIES for level in ("Easy", "Medium", "Hard")]

pytest.importorskip("popgym", reason="needs the extra `popgym`")


@pytest.fixture(scope="module")
def environment():
    return environment_config("popgym", {"num_envs": 2})


@pytest.fixture(scope="module")
def settings():
    return agent_config("ppo num_steps=4 epochs=1 minibatch_size=8 show_previous=action", core="store")


def test_the_list_is_theirs_and_has_every_kind_of_space():
    from popgym import envs

    theirs = {about["id"] for about in {**envs.ALL_EASY, **envs.ALL_MEDIUM, **envs.ALL_HARD}.values()}
    assert {id for id in theirs if "Labyrinth" not in id} == set(ALL) and len(ALL) == 42
    seen = {type(gymnasium.make(id).observation_space) for id in ALL}
    acted = {type(gymnasium.make(id).action_space) for id in ALL}
    assert seen == {spaces.Tuple, spaces.Discrete, spaces.MultiDiscrete, spaces.Box}
    assert acted == {spaces.Discrete, spaces.MultiDiscrete, spaces.Box}


@pytest.mark.parametrize("id", ALL)
def test_ppo_with_a_core_learns_from_it(id, environment, settings):
    vector = build_environments(OmegaConf.create(environment | {"id": id}))
    agent = build_agent(OmegaConf.create(settings), vector, 0)
    before = torch.cat([parameter.detach().flatten().clone() for parameter in agent.policy.parameters()])
    observation, _ = vector.reset(seed=0)
    metrics = {}
    for _ in range(4):
        transition = step(vector, observation, agent.act(observation))
        agent.observe(transition)
        metrics |= agent.learn()
        observation = transition.reset_observation
    after = torch.cat([parameter.detach().flatten() for parameter in agent.policy.parameters()])
    assert np.isfinite([*metrics.values()]).all() and "train/explained_variance" in metrics
    assert torch.isfinite(after).all() and (before != after).any()
    vector.close()
