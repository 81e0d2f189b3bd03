"""Sweeps: the shipped launchers compose and run, and one command says what came of them."""

import importlib.util
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from engram_rl.training import train
from engram_rl.training.errors import UsageError
from engram_rl.training.runs.folder import RunFolder
from engram_rl.training.sweep_summary import SUMMARY, find, main, summarise

TINY = (
    "progress=false", "steps=40", "evaluation.every=0", "evaluation.episodes=1", "agent=mfec", "env=shiftwall",
    "agent.memory.capacity=100", "log.video=false", "log.memory=false",
)  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    """Two settings with three seeds each, one run of which has not ended."""
    for number, (lr, seed, score) in enumerate(
        [(1, 1, 10), (1, 2, 30), (1, 3, 20), (2, 1, 50), (2, 2, 60), (2, 3, None)]
    ):
        folder = RunFolder(tmp_path / f"{number}")
        folder.start(OmegaConf.create({"agent": {"lr": lr, "k": 5}, "env": {"id": "X-v0"}, "seed": seed, "steps": 9}))
        if score is not None:
            folder.write_json("summary.json", {"score": score})
    return tmp_path


def test_settings_are_compared_over_their_seeds_best_first(sweep, capsys):
    groups, unfinished = summarise(sweep)
    assert [group["setting"] for group in groups] == [{"agent.lr": 2}, {"agent.lr": 1}]
    assert [group["score"] for group in groups] == [55.0, 20.0]
    assert groups[1]["seeds"] == [1, 2, 3]
    assert groups[1]["interval"][0] < 20 < groups[1]["interval"][1]
    assert unfinished == 1
    assert main([f"sweep={sweep}"]) == 0
    assert "1 runs have not ended" in capsys.readouterr().out
    assert json.loads((sweep / SUMMARY).read_text())["settings"] == groups


def test_only_what_was_given_is_compared(tmp_path, capsys):
    given = [("nec", "1e-3", 1), ("nec", "1e-3", 2), ("ppo", "1e-3", 1), ("ppo", "1e-4", 1)]
    for number, (agent, rate, seed) in enumerate(given):
        words = [f"agent={agent}", f"+agent.learning_rate={rate}", f"seed={seed}", "steps=9"]
        folder = RunFolder(tmp_path / f"{number}", given=words)
        folder.start(OmegaConf.create({"agent": {f"of_{agent}": 3, "k": number}, "env": {"id": "X-v0"}, "seed": seed}))
        folder.write_json("summary.json", {"score": 10 * number})
    groups, _ = summarise(tmp_path)
    assert [group["setting"] for group in groups] == [
        {"agent": "ppo", "agent.learning_rate": "1e-4"},
        {"agent": "ppo", "agent.learning_rate": "1e-3"},
        {"agent": "nec", "agent.learning_rate": "1e-3"},
    ]
    assert [group["seeds"] for group in groups] == [[1], [1], [1, 2]]
    assert main([f"sweep={tmp_path}"]) == 0
    assert "of_nec" not in capsys.readouterr().out


def test_what_is_no_sweep_is_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no sweep below runs/"):
        find("latest")
    with pytest.raises(UsageError, match="nowhere does not exist"):
        find("nowhere")
    with pytest.raises(UsageError, match="no run that has ended"):
        summarise(tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # their own
@pytest.mark.parametrize(
    ("kind", "package"),
    [
        ("joblib", "hydra_plugins.hydra_joblib_launcher"),
        ("submitit", "hydra_plugins.hydra_submitit_launcher"),
        ("optuna", "hydra_plugins.hydra_optuna_sweeper"),
    ],
)
def test_a_sweep_runs_with_its_launcher_or_says_what_to_install(command, kind, package):
    asked = ("hydra.sweeper.n_trials=1", "agent=nec") if kind == "optuna" else ("seed=1,2",)
    status, printed = command(train.main, "-m", *TINY, f"sweep={kind}", *asked)
    if not _installed(package):
        assert status == 2
        assert "pip install 'engram-rl[" in printed
        return
    assert status in (0, None), printed
    sweep = find("latest")
    assert len(list(sweep.rglob("summary.json"))) == (1 if kind == "optuna" else 2)
    assert main([f"sweep={sweep}"]) == 0


def test_the_slurm_sweep_names_slurm_and_what_a_job_needs():
    shipped = OmegaConf.load(Path(train.__file__).parents[1] / "conf" / "sweep" / "slurm.yaml")
    assert {"override /hydra/launcher": "submitit_slurm"} in list(shipped.defaults)
    assert {"timeout_min", "mem_gb", "cpus_per_task", "partition"} <= shipped.hydra.launcher.keys()


def _installed(package):
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
