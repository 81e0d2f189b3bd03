"""Nothing on the way of a run, an evaluation or a memory file asks for what Windows does not have or do."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.checks import ram
from engram_rl.training import evaluate, train
from engram_rl.training.runs import lock
from engram_rl.training.runs.folder import RunFolder

SMALL = (
    "progress=false", "agent=mfec", "agent.memory.capacity=100", "steps=64", "evaluation.every=0",
    "evaluation.episodes=1", "checkpoint.every=16", "checkpoint.keep=1",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is open is looked up in /proc")


def held(path):
    """Whether this process has a file open, or in its memory, that lies here."""
    name = str(Path(path).resolve())
    links = list(Path("/proc/self/fd").iterdir())
    opened = {str(one.readlink()) for one in links if one.is_symlink()}
    opened |= {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    return any(one == name or one.startswith(f"{name}{os.sep}") for one in opened)


@pytest.fixture
def windows(monkeypatch):
    """What is missing there is hidden, and what is refused there is refused."""
    for missing in ("sysconf", "getuid", "fork", "mkfifo", "sched_getaffinity"):
        monkeypatch.delattr(os, missing, raising=False)
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)
    ram.cache_clear()

    def not_while_open(call):
        def changed(path, *more, **options):
            if held(path):
                raise PermissionError(errno.EACCES, "The process cannot access the file: it is being used", str(path))
            return call(path, *more, **options)

        return changed

    for name in ("unlink", "remove", "rename", "replace", "rmdir"):
        monkeypatch.setattr(os, name, not_while_open(getattr(os, name)))
    opened, synced = os.open, os.fsync

    def no_folders(path, *more, **options):
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *more, **options)

    def only_what_may_be_written(descriptor):
        flags = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split("flags:")[1].split()[0]
        if not int(flags, 8) & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EBADF, "Bad file descriptor")
        synced(descriptor)

    monkeypatch.setattr(os, "open", no_folders)
    monkeypatch.setattr(os, "fsync", only_what_may_be_written)
    yield
    monkeypatch.undo()
    ram.cache_clear()


def test_a_run_is_trained_resumed_and_evaluated(windows, command):
    assert command(train.main, *SMALL, "hydra.run.dir=r")[0] == 0
    for steps in (128, 256):
        status, printed = command(train.main, "resume=r", f"steps={steps}")
        assert status == 0, printed
    status, printed = command(evaluate.main, "run=r", "episodes=1", "video=true")
    assert status == 0, printed
    folder = RunFolder(Path("r"))
    assert folder.load_checkpoint()["step"] == 256
    left = {path.name for path in folder.path.iterdir()}
    assert left >= {"summary.json", "learning_curve.png", "evaluation.json", "episode.gif"}


def test_a_run_that_is_refused_leaves_nothing(windows, command):
    assert command(train.main, *SMALL, "seed=-1")[0] == 2
    assert not [path for path in Path().rglob("*") if path.name != "runs"]


def test_a_memory_is_saved_over_a_file_that_it_was_loaded_from(windows, tmp_path):
    path = tmp_path / "memory.safetensors"
    memory = DifferentiableNeuralDictionary(2, 1, 10)
    memory.write(torch.eye(2), torch.ones(2, 1))
    memory.save(path)
    again = DifferentiableNeuralDictionary.load(path)
    again.write(torch.ones(1, 2), torch.ones(1, 1))
    again.save(path)
    assert len(DifferentiableNeuralDictionary.load(path)) == 3


def test_where_the_system_does_not_say_how_much_memory_it_has_nothing_is_refused_for_it(windows):
    assert ram(torch.device("cpu")) > 2**40 or Path("/sys/fs/cgroup/memory.max").exists()
    DifferentiableNeuralDictionary(2, 1, 10)
