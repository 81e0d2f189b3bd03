"""The environments of these tests are found as a user's are."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="package", autouse=True)
def _worlds():
    """Let modules be looked for in this folder, here and by workers."""
    here = str(Path(__file__).parent)
    sys.path.append(here)
    yield
    sys.path.remove(here)


@pytest.fixture
def threads(monkeypatch):
    """In the place of Ray one whose workers are threads."""
    from engram_rl.training.distributed import cluster
    from tests.training.distributed.threads import Threads

    there = Threads()
    monkeypatch.setitem(sys.modules, "ray", there)
    monkeypatch.setattr(cluster, "_users", 0)
    monkeypatch.setattr(cluster, "_ours", False)
    return there
