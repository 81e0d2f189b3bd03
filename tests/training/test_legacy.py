"""What the first version left loads: runs go on and are evaluated with the same numbers, memories answer alike."""

import json
import tarfile
from pathlib import Path

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.training import evaluate, train
from engram_rl.training.legacy import config_today, named_today, state_today

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
    monkeypatch.setattr("engram_rl.training.legacy.STATES", {"extras.*.ballot": "extras.*.votes", "trace": "episode"})
    state = {"extras": {"0": {"ballot": {"low": 1}}}, "trace": {"rows": 2}, "steps": 3}
    assert state_today(state) == {"extras": {"0": {"votes": {"low": 1}}}, "episode": {"rows": 2}, "steps": 3}
