"""What an unknown key was meant to be: here, elsewhere, or in the first version."""

from inspect import signature

import pytest
from omegaconf import OmegaConf

from engram_rl.agents.nec import make_nec
from engram_rl.agents.ppo import make_ppo
from engram_rl.agents.retrieval_ppo import make_retrieval_ppo
from engram_rl.training.configuration.suggestions import ELSEWHERE, suggestion

NEC = {
    "_target_": "engram_rl.agents.nec.make_nec",
    "discount": 0.9,
    "learning_rate": 1e-3,
    "hidden": [3],
    "memory": {"_target_": "x.Y", "_partial_": True, "k": 3, "capacity": 9},
    "exploration": {"start": 1, "end": 0, "steps": 9},
    "planner": None,
}


def meant(key, at="", agent=NEC, **more):
    config = {"agent": agent, "env": {"id": "X", "num_envs": 1}, "steps": 9, "threads": 2, "out": "${env.id}", **more}
    config = OmegaConf.create({**config, "hydra": {"verbose": True, "steps": 3}})
    return suggestion(key, OmegaConf.select(config, at) if at else config)


@pytest.mark.parametrize(
    ("key", "at", "said"),
    [
        ("gamma", "agent", "There is no key 'gamma' under 'agent'. Did you mean agent.discount?"),
        ("gamma", "", "There is no key 'gamma' at the top of the configuration. Did you mean agent.discount?"),
        ("GAMMA", "env", "There is no key 'GAMMA' under 'env'. Did you mean agent.discount?"),
        ("total-timesteps", "", "at the top of the configuration. Did you mean steps?"),
        ("lr", "", "Did you mean agent.learning_rate or +agent.row_learning_rate?"),
        ("buffer_size", "", "Did you mean +agent.replay_capacity or agent.memory.capacity?"),
        ("capacity", "", "Did you mean agent.memory.capacity or +agent.replay_capacity?"),
        ("steps", "env", "Did you mean agent.exploration.steps or steps?"),
        ("exploration_final_eps", "", "Did you mean agent.exploration.end?"),
        ("double", "", "Did you mean +agent.double?"),
        ("k", "agent", "Did you mean agent.memory.k?"),
        ("id", "", "Did you mean env.id?"),
        ("hidden", "env", "Did you mean agent.hidden?"),
        ("planner", "env", "Did you mean agent.planner?"),
        ("num_envz", "env", "Did you mean num_envs?"),
        ("stepz", "", "Did you mean steps?"),
        ("zzzzzz", "env", "Valid names: id, num_envs."),
        ("verbose", "", "Valid names: agent, env, log, out, steps, threads."),
        ("_target_", "env", "Valid names: id, num_envs."),
        ("_partial_", "env", "Valid names: id, num_envs."),
        ("horizon", "agent", "There is no key 'horizon' under 'agent'. agent.horizon is agent.n_step now."),
        ("film", "log", "There is no key 'film' under 'log'. log.film is log.video now."),
        (
            "optimiser",
            "agent",
            "under 'agent'. agent.optimiser.lr is agent.learning_rate now.",
        ),
        (
            "forgetting",
            "agent.memory",
            "under 'agent.memory'. agent.memory.forgetting.doubt is agent.memory.forgetting.lost_decay now.",
        ),
    ],
)
def test_what_was_meant_is_said(key, at, said):
    found = meant(key, at, log={"every": 3})
    assert found.endswith(said) and found.startswith(f"There is no key {key!r}")


def test_no_more_than_three_places_are_said():
    parts = {letter: {"depth": 1} for letter in "abcd"}
    assert meant("depth", **parts).endswith("Did you mean a.depth or b.depth or c.depth?")


def test_what_elsewhere_is_called_otherwise_stands_for_what_there_is_here():
    places = {place for several in ELSEWHERE.values() for place in several}
    assert all(several and len(set(several)) == len(several) for several in ELSEWHERE.values())
    of_agents = {place.split(".")[1] for place in places if place.startswith("agent.")}
    ours = {*signature(make_nec).parameters, *signature(make_ppo).parameters}
    assert of_agents <= ours | {"memory", "exploration"}


@pytest.mark.parametrize(
    "agent",
    [
        None,
        3,
        {"discount": 1},
        {"_target_": 3},
        {"_target_": "nowhere.at_all"},
        {"_target_": "engram_rl.agents.nec.nothing"},
        {"_target_": "engram_rl.agents.nec.RMSPROP"},
        {"_target_": "math.hypot"},
    ],
)
def test_of_an_agent_that_is_not_known_only_what_is_written_is_suggested(agent):
    assert "Did you mean threads?" in meant("num_threads", agent=agent)
    assert "double" not in meant("double", agent=agent).replace("'double'", "")


def test_what_ppo_takes_is_suggested_for_agents_that_hand_it_on():
    retrieving = f"{make_retrieval_ppo.__module__}.{make_retrieval_ppo.__name__}"
    for target in (retrieving, f"{make_ppo.__module__}.{make_ppo.__name__}"):
        assert meant("clip_range", agent={"_target_": target}).endswith("Did you mean +agent.clip?")
        assert meant("clip_range", agent={"_target_": target, "clip": 0.1}).endswith("Did you mean agent.clip?")
    assert meant("control", agent={"_target_": retrieving}).endswith("Did you mean +agent.control?")
    assert "+agent.ppo" not in meant("ppo", agent={"_target_": retrieving})
    assert "Did you mean" not in meant("observation_space", agent={"_target_": retrieving})
    assert "agent.clip" not in meant("clip_range")
