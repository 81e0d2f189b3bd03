"""Determinism, and a resumed run that equals the uninterrupted one bit for bit, for every agent."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.same_run import differences
from engram_rl.training import train
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.runs.folder import RunFolder

CONF = Path(train.__file__).parents[1] / "conf"
TINY = ["progress=false", "log.every=100", "evaluation.every=150", "evaluation.episodes=2", "checkpoint.every=200"]
TINY += ["log.video=false", "log.memory=false"]
AGENTS = {
    "nec": [
        "agent.learn_after=50", "agent.memory.capacity=150", "agent.memory.k=5", "agent.n_step=7",
        "+agent.replay_capacity=90",
    ],
    "nec_sample_efficient": ["agent.learn_after=50", "agent.memory.capacity=150", "agent.memory.k=5", "agent.n_step=7"],
    "nec_atari": ["agent.learn_after=50", "agent.memory.capacity=150", "agent.memory.k=5", "agent.n_step=7"],
    "mfec": ["agent.memory.capacity=150", "+agent.novelty=0.1", "+agent.bootstrap=true"],
    "episodic": ["agent.memory.capacity=150"],
    "episodic_continuous": ["agent.memory.capacity=150", "agent.n_step=7"],
    "fast_slow": ["agent.fast=true", "agent.memory.capacity=300"],
    "fast_slow_grid": ["agent.memory.capacity=150"],
    "fast_slow_partial": ["agent.memory.capacity=1000"],
    "fast_slow_paper": ["+agent.branches=10", "+agent.depth=8"],
    "go_explore": ["agent.memory.capacity=520", "agent.explore_steps=5", "agent.way_back=plan", "agent.hidden=[16]"],
    "ppo": [
        "agent.num_steps=12", "agent.minibatch_size=40", "+agent.normalise_observations=true",
        "+agent.scale_rewards=true",
        "agent.learning_rate={_target_:engram_rl.agents.common.schedules.Linear,start:1e-3,end:0.0,steps:500}",
    ],
    "ppo_gru": ["agent.num_steps=12", "agent.minibatch_size=24", "agent.recurrent=8"],
    "ppo_gru_carried": ["agent.num_steps=12", "agent.minibatch_size=24", "agent.recurrent=8"],
    "retrieval_ppo": [
        "agent.num_steps=12", "agent.minibatch_size=40", "agent.retrieval.neighbours=2", "agent.memory.capacity=60",
    ],
    "self_imitation_ppo": ["agent.num_steps=12", "agent.minibatch_size=40", "agent.capacity=90"],
    "retrieval_ppo_view": ["agent.num_steps=12", "agent.minibatch_size=40", "agent.memory.capacity=60"],
}  # fmt: skip
"""By agent: settings under which a few hundred steps pass every stage, eviction and wrap-around included."""

FEW = ["env.num_envs=4", "+env.kwargs.max_steps=25"]
"""Episodes short enough that they end in these runs, and that evaluations are no more than those."""

ENVIRONMENTS = {
    "vector": ["env=cartpole"],
    "dict": ["env=minigrid", "+env.kwargs.max_steps=25"],
    "goal shown": ["env=shiftwall"],
    "goal hidden": ["env=hiddengoal"],
    "whole grid": ["env=emptyshift_full", *FEW],
    "numbers": ["env=pointmassshift", "env.num_envs=4", "+env.kwargs.step_limit=20"],
    "pendulum": ["env=gym", "env.id=Pendulum-v1", "env.num_envs=4", "env.max_episode_steps=25"],
    "places told": ["env=newgoal_searched", "env.num_envs=4"],
    "part of the grid": ["env=emptyshift_partial", *FEW],
}
MEETS = {
    "episodic_continuous": ["pendulum", "numbers"],
    "fast_slow": ["goal shown", "goal hidden"],
    "fast_slow_grid": ["whole grid"],
    "fast_slow_partial": ["part of the grid"],
    "fast_slow_paper": ["goal shown"],
    "retrieval_ppo": ["places told"],
}
"""Environments of the agents that go for places; the others meet a vector and a Dict observation."""

CASES = [(agent, env) for agent in AGENTS for env in MEETS.get(agent, ["vector", "dict"])]


def test_every_agent_is_tried_here():
    assert {path.stem for path in (CONF / "agent").glob("*.yaml")} == AGENTS.keys()


def run(folder, agent, env, steps, seed=1, more=None):
    prepare()
    settings = AGENTS[agent] if more is None else more
    overrides = [f"agent={agent}", *ENVIRONMENTS[env], f"seed={seed}", f"steps={steps}", *TINY, *settings]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides)
    train.train(config, RunFolder(folder))


def resume(folder, steps):
    stored = RunFolder(folder)
    config = OmegaConf.merge(stored.config(), {"steps": steps})
    train.train(config, stored, stored.load_checkpoint())


@pytest.mark.parametrize(("agent", "env"), CASES)
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, agent, env):
    run(tmp_path / "whole", agent, env, steps=600)
    run(tmp_path / "parts", agent, env, steps=200)
    resume(tmp_path / "parts", steps=400)
    resume(tmp_path / "parts", steps=600)
    assert differences(tmp_path / "whole", tmp_path / "parts") == []


CORES = {
    "dnc": ["ppo", "agent.core.slots=6"],
    "store": ["ppo", "agent.core.capacity=20", "+agent.show_previous=true"],
    "compressive": ["ppo_gru_carried", "agent.core.window=4", "agent.core.compressed=4"],
    "lifelong": ["ppo", "agent.core.memory.capacity=60", "agent.core.memory.k=3"],
    "lstm": ["self_imitation_ppo", "agent.capacity=90"],
}
"""Memory cores, by an agent that has them here and settings of it."""


@pytest.mark.parametrize("core", CORES)
def test_a_resumed_run_with_a_core_equals_the_uninterrupted_one(tmp_path, core):
    agent, *settings = CORES[core]
    more = [f"core={core}", "agent.num_steps=12", "agent.minibatch_size=24", "agent.recurrent=8", *settings]
    run(tmp_path / "whole", agent, "vector", steps=600, more=more)
    run(tmp_path / "parts", agent, "vector", steps=200, more=more)
    resume(tmp_path / "parts", steps=400)
    resume(tmp_path / "parts", steps=600)
    assert differences(tmp_path / "whole", tmp_path / "parts") == []


@pytest.mark.parametrize("agent", AGENTS)
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path, agent):
    for name, seed in (("first", 1), ("second", 1), ("other", 2)):
        run(tmp_path / name, agent, dict(reversed(CASES))[agent], steps=300, seed=seed)
    assert differences(tmp_path / "first", tmp_path / "second") == []
    assert "state" in differences(tmp_path / "first", tmp_path / "other")


def test_what_a_crashed_run_wrote_after_its_checkpoint_is_not_counted_twice(tmp_path):
    run(tmp_path / "whole", "nec", "vector", steps=400)
    run(tmp_path / "crashed", "nec", "vector", steps=200)
    with (tmp_path / "crashed" / "episodes.jsonl").open("a") as file:
        file.write('{"step": 296, "return": 9.0, "length": 9}\n{"step": 30')
    resume(tmp_path / "crashed", steps=400)
    assert differences(tmp_path / "whole", tmp_path / "crashed") == []


def test_a_run_that_is_asked_to_stop_is_saved_and_goes_on_as_if_it_never_had(tmp_path, monkeypatch):
    run(tmp_path / "whole", "mfec", "vector", steps=400)
    asked = iter([False] * 30)

    class Asked(train.StopRequest):
        def __bool__(self):
            return next(asked, True)

    monkeypatch.setattr(train, "StopRequest", Asked)
    run(tmp_path / "stopped", "mfec", "vector", steps=400)
    assert 200 < RunFolder(tmp_path / "stopped").load_checkpoint()["step"] < 400
    monkeypatch.undo()
    resume(tmp_path / "stopped", steps=400)
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []
