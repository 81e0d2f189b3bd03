"""A disk that fills while a checkpoint is written, for real: what was saved is whole, and resuming loses nothing."""

import resource
import shlex
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
from hydra import compose, initialize_config_dir

from benchmarks.same_run import differences, same
from engram_rl.training import train
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.runs.checkpoint import load_checkpoint
from engram_rl.training.runs.folder import RunFolder

ROOT = Path(train.__file__).parents[1]
FIRST, SECOND = "step_000000000200", "step_000000000400"
TINY = (
    "agent=mfec", "agent.memory.capacity=1000", "steps=400", "checkpoint.every=200", "checkpoint.best=false",
    "log.every=100", "log.video=false", "log.memory=false", "progress=false", "evaluation.every=0",
    "evaluation.episodes=1",
)  # fmt: skip
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
"""In which anyone may mount a file system that nobody else sees."""


def config():
    prepare()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", list(TINY))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that met no limit."""
    folder = tmp_path_factory.mktemp("whole")
    train.train(config(), RunFolder(folder))
    return folder


def command(folder):
    return [sys.executable, str(ROOT / "train.py"), *TINY, f"hydra.run.dir={folder}"]


def size(folder):
    """Bytes on a disk of blocks of 4096 that a run took before it showed what it came to."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png" and path.stem != "summary"]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def tensors(whole, step):
    return (whole / "checkpoints" / step / "state.safetensors").stat().st_size


def check(done, folder, whole):
    """It failed while writing the second checkpoint; what was saved before is whole; resumed, it is the whole run."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{SECOND} could not be written" in done.stderr
    assert f"Earlier checkpoints are intact: {FIRST}. Make room" in done.stderr
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [FIRST]
    saved, expected = (load_checkpoint(one / "checkpoints" / FIRST) for one in (folder, whole))
    assert same(saved["agent"], expected["agent"])
    stored = RunFolder.open(folder)
    train.train(stored.config(), stored, stored.checkpoint_to_resume())
    assert differences(whole, folder) == []


def test_a_file_that_may_not_grow_further_ends_the_run_and_loses_nothing(whole, tmp_path):
    limit = (tensors(whole, FIRST) + tensors(whole, SECOND)) // 2  # met in the middle of the second checkpoint

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        command(tmp_path / "run"), cwd=tmp_path, capture_output=True, text=True, preexec_fn=limited, check=False
    )
    assert "File too large" in done.stderr
    check(done, tmp_path / "run", whole)


def may_mount():
    tried = [*NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    return bool(which("unshare")) and subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="no disk of a chosen size can be mounted here")
def test_a_disk_without_room_ends_the_run_and_loses_nothing(whole, tmp_path):
    room = size(whole) - tensors(whole, SECOND) // 2
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    steps = [
        f"mount -t tmpfs -o size={room} tmpfs {shlex.quote(str(disk))}",
        shlex.join(command(disk / "run")),
        f"status=$?; cp -r {shlex.quote(str(disk / 'run'))} {shlex.quote(str(copy))}; exit $status",
    ]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", "\n".join(steps)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "No space left on device" in done.stderr
    check(done, copy, whole)
