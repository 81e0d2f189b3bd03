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
    assert groups[1]["range"][0] < 20 < groups[1]["range"][1] and groups[1]["interval"] is None
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


def ended(folder, score, words, **config):
    run = RunFolder(folder, given=words)
    run.start(OmegaConf.create({"agent": {}, "env": {"id": "X-v0"}, "seed": 1} | config))
    run.write_json("summary.json", {"score": score})


def test_the_newest_sweep_is_meant_where_none_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for day in ("2026-01-02", "2026-01-03", "2026-01-01"):
        ended(Path("runs") / f"{day}_sweep" / "0", 5.0, ["agent.lr=1"])
    for arguments in ([], ["sweep=latest"]):
        assert main(arguments) == 0
        assert "Written to runs/2026-01-03_sweep/sweep.json" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["engram sweep-summary", "sweep=runs/2026-01-01_sweep"])
    assert main() == 0
    assert "Written to runs/2026-01-01_sweep/sweep.json" in capsys.readouterr().out
    for wrong in ("sweeps=runs", "runs/2026-01-01_sweep", "sweep"):
        with pytest.raises(UsageError, match="no argument here; give the folder of a sweep as sweep=FOLDER"):
            main([wrong])


def test_of_the_sweeps_of_one_second_the_last_is_the_newest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2026-01-03_sweep", "2026-01-03_sweep_2", "2026-01-03_sweep_10", "2026-01-04_sweeping", "_sweep_of"):
        (Path("runs") / name).mkdir(parents=True)
    assert find("latest") == Path("runs/2026-01-03_sweep_10")


def test_brackets_in_what_was_given_are_shown(tmp_path, capsys):
    for number, tags in enumerate(("[bold]", "[/one]")):
        ended(tmp_path / f"{number}", 1.0, [f"tags={tags}"])
    main([f"sweep={tmp_path}"])
    printed = capsys.readouterr().out
    assert "[bold]" in printed and "[/one]" in printed


def test_the_table_and_the_file_say_everything(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")  # narrow as a window may be, numbers are not broken
    for number, (rate, seed, score) in enumerate([(0.00125, 1, 10), (0.00125, 2, 20), (0.5, 1, 123.456)]):
        config = {"agent": {"rate": rate, "kind": "a"}, "seed": seed}
        ended(tmp_path / f"{number}", score, ["steps=9"], **config)
        (tmp_path / f"{number}" / "overrides.json").unlink()  # as before it was kept what was given
    assert main([f"sweep={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")] for line in printed.splitlines()]
    assert ["agent.rate", "runs", "score", "least to most", "95 % interval"] in rows
    assert ["0.5", "1", "123.5", "123.5 to 123.5", "-"] in rows
    assert ["0.00125", "2", "15", "10 to 20", "-"] in rows
    assert "have not ended" not in printed
    settings = [
        {"setting": {"agent.rate": 0.5}, "seeds": [1], "scores": [123.456], "score": 123.456,
         "range": [123.456, 123.456], "interval": None},
        {"setting": {"agent.rate": 0.00125}, "seeds": [1, 2], "scores": [10.0, 20.0], "score": 15.0,
         "range": [10.0, 20.0], "interval": None},
    ]  # fmt: skip
    text = (tmp_path / SUMMARY).read_text()
    assert text == json.dumps({"settings": settings, "unfinished": 0}, indent=2) + "\n"


def test_where_one_run_does_not_say_what_it_was_given_all_are_compared_by_what_they_are(tmp_path):
    for number, rate in enumerate((1, 2)):
        ended(tmp_path / f"{number}", rate, [f"name={number}"], agent={"rate": rate})
    assert [group["setting"] for group in summarise(tmp_path)[0]] == [{"name": "1"}, {"name": "0"}]
    (tmp_path / "0" / "overrides.json").unlink()
    assert [group["setting"] for group in summarise(tmp_path)[0]] == [{"agent.rate": 2}, {"agent.rate": 1}]


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
