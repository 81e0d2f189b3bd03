"""What tests of several folders share."""

import sys
from itertools import count

import pytest
from hydra.core.global_hydra import GlobalHydra

from engram_rl.training.cli import run_command


def pytest_ignore_collect(collection_path, config):
    """Where only tests for a cluster are asked for, files that do not name one need not be imported."""
    only = config.option.markexpr == "cluster" and collection_path.suffix == ".py"
    return True if only and "cluster" not in collection_path.read_text(encoding="utf-8") else None


@pytest.fixture(scope="session")
def _states(tmp_path_factory):
    """Paths of folders, each another, that are made by whoever writes there."""
    folder = tmp_path_factory.mktemp("states")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def _users_files(_states, monkeypatch):
    """What the project keeps for a user goes to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(next(_states)))


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command as from a shell in an empty folder; returns (exit status, what it printed)."""
    monkeypatch.chdir(tmp_path)

    def run(main, *arguments):
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        status = 0
        try:
            run_command(main)
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


@pytest.fixture(scope="session")
def ray_here():
    """One Ray on this machine for all tests that need it."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'engram-rl[cluster]'")
    from engram_rl.training.distributed import cluster

    cluster.enter(cluster.Cluster.of({"workers": 2}))
    yield
    cluster.leave()
