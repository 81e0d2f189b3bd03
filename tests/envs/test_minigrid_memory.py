"""MiniGrid's memory tasks go the way of all of MiniGrid: by id, through `env=minigrid`."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.rollout import step

IDS = [f"MiniGrid-Memory{size}-v0" for size in ("S7", "S9", "S11", "S13", "S13Random", "S17Random")]


def environments(id):
    return build_environments(OmegaConf.create(environment_config("minigrid", {"id": id, "num_envs": 2})))


@pytest.mark.parametrize("id", IDS)
def test_each_is_made_and_shows_its_view_and_direction(id):
    vector = environments(id)
    observation, _ = vector.reset(seed=0)
    assert set(observation) == {"image", "direction"} and observation["image"].shape == (2, 7, 7, 3)
    vector.close()


def test_ppo_with_a_core_learns_from_it():
    vector = environments(IDS[0])
    settings = agent_config(
        "ppo num_steps=4 epochs=1 minibatch_size=8 picture_features=16 core.capacity=8", core="store"
    )
    agent, metrics = build_agent(OmegaConf.create(settings), vector, 0), {}
    observation, _ = vector.reset(seed=0)
    for _ in range(4):
        transition = step(vector, observation, agent.act(observation))
        agent.observe(transition)
        metrics |= agent.learn()
        observation = transition.reset_observation
    assert agent.state["entries"].shape == (2, 8, 7 * 7 * 3 + 4) and np.isfinite([*metrics.values()]).all() and metrics
    vector.close()
