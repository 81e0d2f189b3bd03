"""Evaluating agents: what goes on remembering, what rests, and that nothing is stitched together."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from engram_rl.agents.common.observations import batch_size
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.evaluation import evaluate
from engram_rl.training.rollout import step

AGENTS = {
    "mfec": "hiddengoal",
    "nec learn_after=50": "hiddengoal",
    "episodic": "hiddengoal",
    "fast_slow": "hiddengoal",
    "ppo num_steps=16": "hiddengoal",
    "ppo_gru_carried num_steps=16": "hiddengoal",
    "retrieval_ppo num_steps=16": "newgoal_searched",
    "retrieval_ppo_view num_steps=16": "minigrid",
    "self_imitation_ppo num_steps=16": "newgoal_searched",
}


def environments(name, num_envs=2):
    config = environment_config(name, {"num_envs": num_envs})
    return build_environments(OmegaConf.create(config))


def practised(agent, name, steps=60, num_envs=2):
    envs = environments(name, num_envs)
    made = build_agent(OmegaConf.create(agent_config(agent)), envs, 0)
    observation, _ = envs.reset(seed=0)
    for _ in range(steps):
        transition = step(envs, observation, made.act(observation))
        made.observe(transition)
        made.learn()
        observation = transition.reset_observation
    return made


def trained_parts(made):
    """Of an agent's state, what gradients or running statistics have made."""
    state = made.state_dict()
    parts = {name: state[name] for name in ("encoder", "policy", "perception", "descent", "fast") if name in state}
    return [np.array(leaf) for leaf in leaves(parts)]


def leaves(value):
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value.numpy() if isinstance(value, torch.Tensor) else value]


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_goes_on_remembering_while_its_weights_rest(agent):
    made = practised(agent, AGENTS[agent])
    before = trained_parts(made)
    played = evaluate(made, environments(AGENTS[agent]), 12, seed=5, remember=True)
    assert len(played.returns) == 12
    assert played.lengths.sum() > 2 * 16  # more than a rollout holds
    assert all(np.array_equal(a, b) for a, b in zip(before, trained_parts(made), strict=True))


@pytest.mark.parametrize("agent", ["mfec", "nec"])
def test_what_is_remembered_then_is_of_whole_episodes(agent):
    made = practised(agent, "hiddengoal", steps=0, num_envs=1)
    envs, written = environments("hiddengoal", num_envs=1), []
    observation, _ = envs.reset(seed=0)
    for _ in range(5):  # episodes that are left in the middle
        transition = step(envs, observation, made.act(observation))
        made.observe(transition)
        observation = transition.reset_observation
    push = made._returns.push
    made._returns.push = lambda *given: written.append(push(*given)) or written[-1]
    played = evaluate(made, envs, 2, seed=5, remember=True)
    flushed = [len(one.target) for one in written if len(one.target)]
    assert max(flushed) <= max(played.lengths)


def test_observations_may_be_dicts_of_dicts():
    inner = {"place": np.arange(3), "speed": np.zeros((3, 2), np.float32)}
    following = {"inner": inner, "flag": np.ones(3, np.int64)}
    assert batch_size(following) == 3
    last = {"inner": {"place": 7, "speed": np.ones(2, np.float32)}, "flag": 0}
    final = np.array([None, last, None], dtype=object)

    class Ends:
        num_envs = 3

        def step(self, action):
            done = np.array([False, True, False])
            return following, np.zeros(3), done, np.zeros(3, bool), {"final_obs": final}

    transition = step(Ends(), following, np.zeros(3, np.int64))
    assert transition.next_observation["inner"]["place"].tolist() == [0, 7, 2]
    assert transition.next_observation["inner"]["speed"].tolist() == [[0, 0], [1, 1], [0, 0]]
    assert transition.next_observation["flag"].tolist() == [1, 0, 1]
    assert transition.reset_observation is following
