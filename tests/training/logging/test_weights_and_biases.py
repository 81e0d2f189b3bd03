"""Weights & Biases gets every curve; offline, so that nothing leaves the machine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engram_rl.training import train
from engram_rl.training.errors import UsageError
from engram_rl.training.logging.logger import read_rows
from engram_rl.training.logging.weights_and_biases import WeightsAndBiases

TINY = (
    "agent=mfec", "env=cartpole", "progress=false", "steps=400", "log.every=100", "log.video=false", "log.memory=false",
    "evaluation.every=0", "evaluation.episodes=1", "agent.memory.capacity=200", "tags=[one]",
)  # fmt: skip


class Told:
    """Stands for the library: keeps what it is told."""

    def __init__(self):
        self.points, self.summary, self.finished, self.begun = [], {}, False, {}

    def init(self, **given):
        self.begun = given
        return self

    def Settings(self, **given):
        return given

    def define_metric(self, *names, **given):
        pass

    def log(self, point):
        self.points.append(point)

    def finish(self):
        self.finished = True

    def Video(self, path, **given):
        return path, given


def test_what_it_is_told_of_a_run_and_of_its_end(tmp_path, monkeypatch):
    told = Told()
    monkeypatch.setitem(sys.modules, "wandb", told)
    curves = WeightsAndBiases(tmp_path / "run", {"seed": 1, "tags": []}, project="mine", entity="we")
    begun = dict(told.begun)
    assert re.fullmatch("[0-9a-f]{16}", begun.pop("id"))
    assert begun == {
        "project": "mine", "entity": "we", "mode": "online", "dir": str(tmp_path / "run"), "name": "run",
        "resume": "allow", "config": {"seed": 1, "tags": []}, "tags": None, "settings": {"silent": True},
    }  # fmt: skip
    curves.write(10, {"train/loss": 1.5, "time/fps": 2.0})
    curves.close()
    assert told.points == [{"train/loss": 1.5, "time/fps": 2.0, "step": 10}]
    assert told.finished and told.summary == {}, "a run that was stopped came to nothing yet"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text('{"score": 2.0, "scores": {"online": 2.0}, "seed": 1}')
    (tmp_path / "run" / "episode.gif").touch()
    curves.close()
    assert told.summary == {"score": 2.0, "scores": {"online": 2.0}}
    assert told.points[1:] == [{"episode": (str(tmp_path / "run" / "episode.gif"), {"format": "gif"})}]


def test_it_is_told_what_the_run_records(command, monkeypatch):
    told = Told()
    monkeypatch.setitem(sys.modules, "wandb", told)
    status, printed = command(train.main, *TINY, "logger=wandb", "logger.project=mine", "hydra.run.dir=done")
    assert status == 0, printed
    rows = read_rows(Path("done/metrics.jsonl"))
    for point, row in zip(told.points, rows, strict=True):
        row.pop("closing", None)
        assert row == {name: point[name] for name in row}
    assert told.begun["project"] == "mine" and told.begun["tags"] == ["one"] and told.begun["config"]["seed"] == 1
    assert told.summary["score"] == json.loads(Path("done/summary.json").read_text())["score"]
    assert told.finished
    first = told.begun["id"]
    assert command(train.main, "resume=done", "steps=500")[0] == 0
    assert told.begun["id"] == first  # the curves go on where they were


def test_without_the_package_or_with_another_mode_it_says_so_before_anything_is_trained(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    status, printed = command(train.main, *TINY, "logger=wandb", "hydra.run.dir=none")
    assert status == 2 and "pip install 'engram-rl[wandb]'" in printed
    assert not (tmp_path / "none" / "config.yaml").exists()
    with pytest.raises(UsageError, match="Did you mean offline"):
        WeightsAndBiases(tmp_path, {}, project="x", mode="ofline")


def test_offline_it_writes_to_the_run_folder(tmp_path):
    pytest.importorskip("wandb")
    words = [*TINY, "logger=wandb", "logger.mode=offline", f"hydra.run.dir={tmp_path / 'done'}"]
    environment = {**os.environ, "WANDB_SILENT": "true", "OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "engram_rl", "train", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (tmp_path / "done" / "wandb").glob("offline-run-*/*.wandb")
    assert file.stat().st_size > 1000
