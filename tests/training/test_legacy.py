"""What the first version left loads: runs go on and are evaluated with the same numbers, memories answer alike."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config
from engram_rl.agents.common.replay import Replay
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.training import evaluate, train
from engram_rl.training.legacy import checkpoint_today, config_today, named_today, run_today, state_today
from engram_rl.training.legacy_agents import SCALED

FIXTURE = Path(__file__).parent / "fixtures" / "first_version.tar.xz"
AGENTS = ("nec", "mfec", "fast_slow", "ppo", "retrieval_ppo")
MEMORIES = ("plain", "lru", "fifo", "priority", "decay", "trust")


@pytest.fixture(scope="module")
def first_version(tmp_path_factory):
    """Run folders of 600 steps and memory files, written by commit 49521ca, and what became of them there."""
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "first_version"


@pytest.mark.parametrize("agent", AGENTS)
def test_its_runs_are_evaluated_alike(first_version, command, tmp_path, agent):
    status, printed = command(evaluate.main, f"run={first_version / agent}", "episodes=3", f"out={tmp_path}")
    assert status == 0, printed
    then, now = (json.loads((path / "evaluation.json").read_text()) for path in (first_version / agent, tmp_path))
    for name in ("trained", "untrained"):
        assert now["agents"][name]["returns"] == then["agents"][name]["returns"]
        assert now["agents"][name]["lengths"] == then["agents"][name]["lengths"]


@pytest.mark.parametrize("agent", AGENTS)
def test_its_runs_go_on_with_the_same_episodes(first_version, command, agent):
    run = first_version / agent
    status, printed = command(train.main, f"resume={run}", "steps=900", "progress=false")
    assert status == 0, printed
    assert (run / "episodes.jsonl").read_text() == (run / "episodes_after_resuming.jsonl").read_text()


@pytest.mark.parametrize("name", MEMORIES)
def test_its_memory_files_answer_alike(first_version, name):
    memory = DifferentiableNeuralDictionary.load(first_version / "memories" / f"{name}.safetensors")
    then = json.loads((first_version / "memories" / f"{name}.json").read_text())
    found = memory.lookup({part: torch.tensor(rows) for part, rows in then["query"].items()}, touch=False)
    assert found.slots.tolist() == then["slots"]
    torch.testing.assert_close(found.value, torch.tensor(then["value"]))
    assert memory.forgetting.weakest(10, memory.used).tolist() == then["weakest"]
    torch.testing.assert_close(memory.strength(memory.slots).tolist(), then["strength"])


BETWEEN = Path(__file__).parent / "fixtures" / "one_rule_of_scaling.tar.xz"
BETWEEN_AGENTS = ("nec", "mfec", "ppo", "self_imitation_ppo", "retrieval_ppo_view")


@pytest.fixture(scope="module")
def between(tmp_path_factory):
    """Run folders of 400 steps in symbols of MiniGrid, written by commit 46e22e6, and what became of them there."""
    folder = tmp_path_factory.mktemp("between")
    with tarfile.open(BETWEEN) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("agent", BETWEEN_AGENTS)
def test_runs_of_the_time_when_there_was_one_rule_of_scaling_are_evaluated_and_go_on_with_it(
    between, command, tmp_path, agent
):
    run = between / agent
    status, printed = command(evaluate.main, f"run={run}", "episodes=3", f"out={tmp_path}")
    assert status == 0, printed
    then, now = (json.loads((path / "evaluation.json").read_text()) for path in (run, tmp_path))
    assert now["memory"] == "frozen"
    for name in ("trained", "untrained"):
        assert now["agents"][name]["returns"] == then["agents"][name]["returns"]
    status, printed = command(train.main, f"resume={run}", "steps=600", "progress=false")
    assert status == 0, printed
    assert (run / "episodes.jsonl").read_text() == (run / "episodes_after_resuming.jsonl").read_text()
    assert OmegaConf.load(run / "config.yaml").agent.scale_rule == 1
    status, printed = command(train.main, f"resume={run}", "steps=640", "progress=false")
    assert status == 0, printed


@pytest.mark.parametrize("factory", SCALED)
def test_only_runs_of_agents_of_ours_begun_before_there_were_two_rules_keep_the_first(factory):
    ours = {"_target_": f"engram_rl.agents.x.{factory}", "retrieval": {"neighbours": 3}, "view": VIEW}
    kept = run_today({"agent": ours, "seed": 1})["agent"]
    assert kept["scale_rule"] == 1 and kept["view"].get("scale_rule", 1) == 1
    assert kept.get("bootstrap", kept["retrieval"].get("bootstrap", False)) is False
    assert run_today({"agent": kept, "seeding": "counted"})["agent"] == kept
    for agent, more in ((ours, {"seeding": "spawned"}), (ours | {"_target_": f"mine.{factory}"}, {})):
        assert run_today({"agent": agent} | more)["agent"] == agent


VIEW = {"_target_": "engram_rl.agents.retrieval.situations.ProjectionSituations"}


BEFORE_NAMES = Path(__file__).parent / "fixtures" / "before_named_states.tar.xz"


@pytest.fixture(scope="module")
def before_names(tmp_path_factory):
    """Run folders of 600 steps whose recurrent state was one tensor, and what became of them then."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(BEFORE_NAMES) as archive:
        archive.extractall(folder, filter="data")
    return folder / "before_named_states"


@pytest.mark.parametrize("agent", ["ppo_gru", "ppo_gru_carried"])
def test_runs_whose_recurrent_state_had_no_names_go_on_and_are_evaluated_alike(before_names, command, tmp_path, agent):
    run = before_names / agent
    status, printed = command(evaluate.main, f"run={run}", "episodes=3", f"out={tmp_path}")
    assert status == 0, printed
    then, now = (json.loads((path / "evaluation.json").read_text()) for path in (run, tmp_path))
    assert now["agents"]["trained"]["returns"] == then["agents"]["trained"]["returns"]
    status, printed = command(train.main, f"resume={run}", "steps=900", "progress=false")
    assert status == 0, printed
    assert (run / "episodes.jsonl").read_text() == (run / "episodes_after_resuming.jsonl").read_text()


def test_a_recurrent_state_gets_names_where_it_had_none():
    gru = {"core._gru.weight_ih_l0": torch.ones(6, 3), "encoder.0.bias": torch.zeros(3)}
    old = {"policy": gru, "state": torch.ones(4, 2), "rollout": {"initial_state": torch.zeros(4, 2), "steps": {}}}
    new = checkpoint_today({"agent": old}, version=2)["agent"]
    assert [*new["policy"]] == ["core.unit.weight_ih_l0", "encoder.0.bias"]
    assert torch.equal(new["state"]["hidden"], torch.ones(4, 2))
    assert torch.equal(new["rollout"]["initial_state"]["hidden"], torch.zeros(4, 2))
    none = {"policy": {}, "state": torch.ones(4, 0), "rollout": {"initial_state": None}}
    assert checkpoint_today({"agent": none}, version=2)["agent"]["state"] == {}
    for unchanged in ({"agent": new}, {"agent": {"state": torch.ones(4)}}, {"agent": 3}):
        assert checkpoint_today(unchanged, version=2) == unchanged
    assert checkpoint_today({"agent": old}, version=3) == {"agent": old}


GIVEN = {
    "nec": "nec learn_after=200 memory.capacity=500 +replay_capacity=500 hidden=[16] key_size=8",
    "mfec": "mfec memory.capacity=500 +bootstrap=false",
    "fast_slow": "fast_slow memory.capacity=500 fast=true hidden=[16]",
    "ppo": "ppo hidden=[16,16] num_steps=32 minibatch_size=64",
    "retrieval_ppo": "retrieval_ppo cut_at_episode_ends=false hidden=[16,16] num_steps=16 minibatch_size=64 "
    "memory.capacity=500",
}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """The same folders, which no run has gone on in."""
    folder = tmp_path_factory.mktemp("untouched")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "first_version"


@pytest.mark.parametrize("agent", AGENTS)
def test_its_configurations_are_those_that_todays_yamls_give(untouched, agent):
    stored = OmegaConf.to_container(OmegaConf.load(untouched / agent / "config.yaml"))
    assert config_today(stored)["agent"] == agent_config(GIVEN[agent])


def test_what_an_old_run_had_of_its_own_reaches_what_takes_it():
    old = {"_target_": "agents.nec.make_nec", "optimiser": None, "learn_every": 16, "double": False}
    own = {"_target_": "agents.retrieval_ppo.make_retrieval_ppo", "here": 3, "least_trust": 0.5, "refuted": 0.05}
    linear = {"_target_": "agents.schedules.Linear", "start": 0.2, "end": 0.2, "steps": 1}
    assert config_today({"agent": old})["agent"] == {
        "_target_": "engram_rl.agents.nec.make_nec",
        "learning_rate": None,
        "learn_every": 16,
    }
    assert config_today({"agent": own | {"clip": linear}})["agent"] == {
        "_target_": "engram_rl.agents.retrieval_ppo.make_retrieval_ppo",
        "retrieval": {
            "_target_": "engram_rl.agents.retrieval.options.RetrievalOptions",
            "neighbours": 3,
            "min_confidence": 0.5,
            "bootstrap": False,
        },
        "clip": 0.2,
    }


def test_names_that_were_never_ours_stay():
    assert named_today("agents.nec.make_nec") == "engram_rl.agents.nec.make_nec"
    for name in ("torch.optim.Adam", "my_agents.nec.make", "memory", "engram_rl.memory.Decay"):
        assert named_today(name) == name


def test_places_are_moved_for_agents_of_ours_only(monkeypatch):
    monkeypatch.setattr(
        "engram_rl.training.legacy.KEYS", {"agent.horizon": "agent.deep.n_step", "log.film": "log.video"}
    )
    old = {"agent": {"_target_": "agents.nec.make_nec", "horizon": 5}, "log": {"film": True}, "env": {"kwargs": {}}}
    assert config_today(old) == {
        "agent": {"_target_": "engram_rl.agents.nec.make_nec", "deep": {"n_step": 5}},
        "log": {"video": True},
        "env": {"kwargs": {}},
    }
    own = {"agent": {"_target_": "mine.make", "horizon": 5}}
    assert config_today(own) == own


def test_parts_of_states_are_moved_by_pattern(monkeypatch):
    table = {"extras.*.ballot": "extras.*.votes", "trace": "episode", "net.a._layers.1.*": "net.a.2.*"}
    monkeypatch.setattr("engram_rl.training.legacy.STATES", table)
    state = {"extras": [{"ballot": {"low": 1}}, {"rows": 4}], "trace": {"rows": 2}, "steps": [3, 4]}
    weights = {"net": {"a._layers.1.bias": 5, "b.1.bias": 6}, "optimiser": {0: {"step": 7}}}
    assert state_today(state | weights) == {
        "extras": [{"votes": {"low": 1}}, {"rows": 4}],
        "episode": {"rows": 2},
        "steps": [3, 4],
        "net": {"a.2.bias": 5, "b.1.bias": 6},
        "optimiser": {0: {"step": 7}},
    }


@pytest.mark.parametrize("count", [0, 3, 9])
def test_what_self_imitation_kept_in_a_ring_of_its_own_is_a_replay(count):
    ring = {"gained": torch.zeros(4), "seen": torch.zeros(4, 2)} if count else {}
    for step in range(count):
        ring["gained"][step % 4] = step
    draws = torch.Generator().manual_seed(1).get_state()
    old = {"imitation": {"kept": ring, "count": count, "returns": {"count": np.zeros(2)}, "draws": draws}}
    replay = Replay(4, torch.Generator())
    replay.load_state_dict(state_today(old)["imitation"]["replay"])
    assert len(replay) == min(count, 4)
    if count:
        replay.add({"gained": np.full(1, count, np.float32), "seen": np.zeros((1, 2), np.float32)})
        assert set(replay.sample(100)["gained"]) == set(range(max(count - 3, 0), count + 1))
