"""Every agent that computes on a device trains, is saved, goes on, is judged and acts on an NVIDIA GPU."""

import numpy as np
import pytest
import torch

from engram_rl import evaluate, load_agent, make_env, train
from engram_rl.memory.sharded.packing import packed, unpacked
from engram_rl.training.composing import composed
from engram_rl.training.construction import build_agent
from engram_rl.training.distributed.actor import Actor, Orders
from engram_rl.training.distributed.actors import _plain
from engram_rl.training.distributed.changes import leaves

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]

QUICK = {
    "progress": False,
    "log": {"every": 200, "retrieved": 200, "video": False},
    "evaluation": {"episodes": 2, "every": 300, "max_steps": 200},
    "checkpoint": {"every": 300},
}
SHORT = ("agent.num_steps=32", "agent.minibatch_size=32")
AGENTS = {
    "nec": ("nec", "agent.learn_after=50"),
    "nec_sample_efficient": ("nec_sample_efficient", "agent.learn_after=50"),
    "mfec": ("mfec",),
    "episodic": ("episodic",),
    "ppo": ("ppo", *SHORT),
    "ppo_gru": ("ppo_gru", *SHORT),
    "ppo_gru_carried": ("ppo_gru_carried", *SHORT),
    "ppo_store": ("ppo", "core=store", *SHORT),
    "ppo_dnc": ("ppo", "core=dnc", *SHORT),
    "ppo_lifelong": ("ppo", "core=lifelong", *SHORT),
    "retrieval_ppo": ("retrieval_ppo", *SHORT),
    "retrieval_ppo_view": ("retrieval_ppo_view", *SHORT),
    "self_imitation_ppo": ("self_imitation_ppo", *SHORT),
    "go_explore": ("go_explore", "agent.memory.capacity=2000"),
}
WORLDS = {
    "vectors": ("CartPole-v1", ()),
    "pictures": ("benchmarks.worlds.corridor:Corridor-v0", ("+env.kwargs.observation=picture",)),
    "parts": ("benchmarks.worlds.corridor:Corridor-v0", ("+env.kwargs.observation=with_picture",)),
}
READS_VECTORS = {"retrieval_ppo"}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", AGENTS)
def test_it_trains_goes_on_is_judged_and_acts(name, world, tmp_path):
    if name in READS_VECTORS and world != "vectors":
        pytest.skip("reads places from the columns of a vector")
    (agent, *words), (env, more) = AGENTS[name], WORLDS[world]
    given = (*words, *more, "agent.device=cuda", "env.num_envs=2")
    train(agent, env, *given, folder=tmp_path / "run", steps=300, **QUICK)
    run = train(resume=tmp_path / "run", steps=600, progress=False)
    assert np.isfinite(run.score) and run.summary["steps"] == 600
    assert np.isfinite(evaluate(run, episodes=2).mean)
    acting = load_agent(run)
    devices = {tensor.device.type for tensor in tensors_of(acting.agent.state_dict())}
    assert "cuda" in devices, devices
    with make_env(run) as one:
        observation, _ = one.reset(seed=0)
        for _ in range(5):
            observation, *_ = one.step(acting.act(observation))


def tensors_of(state):
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for part in state.values():
            yield from tensors_of(part)
    elif isinstance(state, list | tuple):
        for part in state:
            yield from tensors_of(part)


@pytest.mark.parametrize("name", ["nec", "ppo_gru", "retrieval_ppo", "self_imitation_ppo"])
def test_it_learns_from_what_a_copy_on_the_processor_did(name, device="cuda"):
    agent, *words = AGENTS[name]
    given = [f"agent={agent}", "env=cartpole", "env.num_envs=2", *words, f"agent.device={device}"]
    with composed("train", given) as config:
        actor = Actor(Orders(_plain(config), np.arange(2), 0))
        actor.reset([1, 2])
        learner = build_agent(config.agent, actor.environments, 1)
        for _ in range(5):
            for one in unpacked(actor.play(packed(leaves(learner.knowledge())), True, 16).steps):
                learner.note(one.noted, one.transition)
                learner.observe(one.transition)
                told = learner.learn()
    assert all(np.isfinite(list(told.values())))
    assert device in {tensor.device.type for tensor in tensors_of(learner.state_dict())}
