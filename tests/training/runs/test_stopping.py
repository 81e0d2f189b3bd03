"""Whatever stops a run, what was saved is whole, nobody else writes to it, and the error says what to do."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf
from safetensors import SafetensorError

from engram_rl.training import train
from engram_rl.training.cli import explain
from engram_rl.training.errors import UsageError
from engram_rl.training.runs import checkpoint
from engram_rl.training.runs.checkpoint import load_checkpoint, save_checkpoint
from engram_rl.training.runs.folder import CONFIG, RunFolder
from engram_rl.training.runs.restoring import restore_agent

ROOT = Path(train.__file__).parents[1]


@pytest.fixture
def run(tmp_path):
    """A run folder with checkpoints of steps 1, 2 and 3."""
    folder = RunFolder(tmp_path / "run")
    folder.start(OmegaConf.create({"seed": 1}))
    for step in (1, 2, 3):
        folder.save_checkpoint(step, {"value": step}, keep=3)
    return folder


def damage(run, step):
    (run.checkpoints / f"step_{step:012d}" / "state.safetensors").write_bytes(b"")


def test_a_run_goes_on_from_the_newest_checkpoint_that_is_whole(run, capsys):
    damage(run, 3)
    damage(run, 2)
    assert run.checkpoint_to_resume()["value"] == 1
    assert capsys.readouterr().err.count("is damaged") == 2
    run.save_checkpoint(2, {"value": "again"}, keep=1)
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == ["step_000000000002", "step_000000000002.damaged", "step_000000000003.damaged"]


def test_a_checkpoint_of_a_newer_version_is_not_set_aside_as_damaged(run):
    path = run.checkpoints / "step_000000000003" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(UsageError, match=r"version 99; .* Install the newer engram-rl that wrote it"):
        run.checkpoint_to_resume()
    assert path.exists()


def test_where_every_checkpoint_is_damaged_nothing_is_changed(run):
    for step in (1, 2, 3):
        damage(run, step)
    with pytest.raises(UsageError, match=r"Every checkpoint .* is damaged: step_000000000003"):
        run.checkpoint_to_resume()
    assert len(list(run.checkpoints.iterdir())) == 3


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(tmp_path):
    folder = RunFolder(tmp_path)
    folder.start(OmegaConf.create({"seed": 1}))
    opened = RunFolder.open(tmp_path)
    assert opened.checkpoint_to_resume() is None
    opened.start(OmegaConf.create({"seed": 2}))
    assert opened.config().seed == 1


def test_the_best_is_kept_beside_the_last_and_goes_with_a_future_that_did_not_happen(run):
    run.save_best(1, {"value": "good"})
    run.save_best(3, {"value": "better"})
    assert run.load_checkpoint("best")["value"] == "better"
    assert len(list(run.checkpoints.glob("best_step_*"))) == 1
    damage(run, 3)
    assert run.checkpoint_to_resume()["step"] == 2
    with pytest.raises(UsageError, match="no best checkpoint yet"):
        run.load_checkpoint("best")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")]
)
def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(run, monkeypatch, error):
    def full(tensors, path):
        path.write_bytes(b"part")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UsageError, match=r"could not be written: .*No space left.*resume="):
        run.save_checkpoint(4, {"value": 4}, keep=3)
    monkeypatch.undo()
    assert run.load_checkpoint()["value"] == 3
    assert not list(run.checkpoints.glob(".*")), "what was half written is gone"


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "Make room"), (errno.EACCES, "hydra.run.dir"), (errno.EROFS, "hydra.run.dir")]
)
def test_what_the_system_refuses_is_explained_with_a_remedy(number, remedy):
    message = explain(OSError(number, os.strerror(number), "runs/x"))
    assert remedy in message
    assert "runs/x" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match=r"could not be written.*Permission denied"):
        save_checkpoint(tmp_path / "c", {"a": 1})
    tmp_path.chmod(0o700)


def test_two_runs_cannot_share_a_folder_and_a_dead_one_holds_none(run):
    holding = "from pathlib import Path; from engram_rl.training.runs.folder import RunFolder; import os, sys\n"
    holding += f"with RunFolder(Path({str(run.path)!r})).lock(): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", holding], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        other.stdout.readline()
        with pytest.raises(UsageError, match=rf"in use by another run \(process {other.pid} on"), run.lock():
            pass
        other.kill()
    with run.lock():
        pass


def test_a_refused_run_leaves_no_lock_behind(tmp_path):
    with pytest.raises(ValueError, match="refused"), RunFolder(tmp_path).lock():
        raise ValueError("refused")
    assert not list(tmp_path.iterdir())


BOMB = "a: &a [1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"), [(BOMB, "refers to parts of itself"), ("a: 1\n" * 200_001, "at most 1000000")]
)
def test_a_strangers_configuration_cannot_grow_without_bound(tmp_path, text, why):
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(UsageError, match=why):
        RunFolder.open(tmp_path).config()


def test_a_strangers_checkpoint_cannot_claim_more_than_its_file_holds(tmp_path):
    """safetensors gives each tensor's shape and place; both are checked against the file before anything is made."""
    save_checkpoint(tmp_path / "c", {"a": np.zeros(1000, dtype=np.float32)})
    path = tmp_path / "c" / "state.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"shape":[1000]', b'"shape":[9999]'))
    header = (tmp_path / "c" / "state.json").read_text()
    digest = json.loads(header)["sha256"]
    (tmp_path / "c" / "state.json").write_text(header.replace(digest, checkpoint._sha256(path)))
    with pytest.raises(UsageError, match="damaged"):
        load_checkpoint(tmp_path / "c")


def test_nesting_beyond_reason_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c", {"a": 1})
    path = tmp_path / "c" / "state.json"
    deep = '{"list":[' * 900 + "1" + "]}" * 900
    path.write_text(path.read_text().replace('["a", 1]', f'["a", {deep}]'))
    with pytest.raises(UsageError, match="damaged"):
        load_checkpoint(tmp_path / "c")


def test_a_state_that_does_not_fit_is_explained():
    class Agent:
        def load_state_dict(self, state):
            raise KeyError("weights")

    with pytest.raises(UsageError, match=r"agent saved in runs/x do not fit.*KeyError: 'weights'"):
        restore_agent(Agent(), {"agent": {}}, Path("runs/x"))


@pytest.mark.parametrize(
    ("score", "mode", "launcher"),
    [(1.0, "MULTIRUN", "Basic"), (np.nan, "RUN", "Basic"), (np.nan, "MULTIRUN", "Joblib")],
)
def test_a_run_that_is_stopped_ends_the_sweep_that_would_go_on_in_its_process(score, mode, launcher):
    def command(mode, launcher):
        return OmegaConf.create({"mode": RunMode[mode], "launcher": {"_target_": f"hydra.launcher.{launcher}Launcher"}})

    train.end_sweep_if_stopped(score, command(mode, launcher))
    with pytest.raises(SystemExit, match="The sweep ends with it"):
        train.end_sweep_if_stopped(np.nan, command("MULTIRUN", "Basic"))
