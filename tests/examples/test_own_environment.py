"""An environment of a user's own, in a folder of their own, trains, resumes and is evaluated."""

from pathlib import Path

import pytest

from engram_rl.training import evaluate, train
from engram_rl.training.runs.folder import RunFolder

OWN = str(Path(train.__file__).parents[1] / "examples" / "own_environment")
TINY = ("progress=false", "log.every=80", "evaluation.every=0", "evaluation.episodes=2", "agent.memory.capacity=300")


@pytest.mark.parametrize("agent", ["nec", "mfec"])
def test_it_trains_resumes_and_is_evaluated(command, agent):
    given = ("--config-dir", OWN, "env=warehouse", f"agent={agent}", "agent.memory.k=5", *TINY, "steps=200")
    status, printed = command(train.main, *given, *["agent.learn_after=80"] * (agent == "nec"))
    assert status == 0, printed
    folder = RunFolder.open(Path("latest"))
    assert folder.config().agent.modalities.order.kind == "discrete"
    status, printed = command(train.main, "--config-dir", OWN, f"resume={folder.path}", "steps=280")
    assert status == 0, printed
    status, printed = command(evaluate.main, "--config-dir", OWN, f"run={folder.path}", "episodes=2")
    assert status == 0, printed


def test_without_its_folder_another_user_does_not_trust_it(command, monkeypatch, tmp_path):
    command(train.main, "--config-dir", OWN, "env=warehouse", "agent=mfec", *TINY, "steps=40")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of_another_user"))
    status, printed = command(evaluate.main, "run=latest", "episodes=1")
    assert status == 2
    assert "asks to import the module of warehouse:Warehouse-v0" in printed
    assert "--config-dir" in printed
