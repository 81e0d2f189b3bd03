"""One Ray for all tests of this folder."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ray_here():
    """Ray on this machine, and the folder of these tests where modules are looked for."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'engram-rl[cluster]'")
    from engram_rl.training.distributed import cluster

    here = str(Path(__file__).parent)
    sys.path.append(here)
    cluster.enter(cluster.Cluster.of({"workers": 2}))
    yield
    cluster.leave()
    sys.path.remove(here)
