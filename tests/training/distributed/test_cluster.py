"""What is refused before Ray is begun, or where it cannot be: one message each, with what to do."""

import sys
from dataclasses import replace

import pytest

from engram_rl.training.distributed import cluster as connection
from engram_rl.training.distributed.cluster import Cluster, require_room
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "cluster.workers is 0; it must be at least 1"),
        ({"worker_cpus": -1}, "cluster.worker_cpus is -1; it must be at least 0"),
        ({"object_store": 10}, "cluster.object_store is 10; it must be at least 80"),
        ({"patience": 0}, "cluster.patience is 0"),
        ({"wrokers": 3}, "has no wrokers; it has workers"),
    ],
)
def test_values_out_of_range_are_named(given, message):
    with pytest.raises(UsageError, match=message):
        Cluster.of(given)


def test_more_workers_than_environments_are_refused_before_ray_is_begun(monkeypatch):
    monkeypatch.setattr(connection, "enter", lambda cluster: pytest.fail("begun"))
    with pytest.raises(UsageError, match=r"cluster.workers is 3, but there are only 2 environments.*env.num_envs"):
        make_environments("CartPole-v1", 2, vectorization="ray", cluster={"workers": 3})


def test_the_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'engram-rl\[cluster\]'.*env.vectorization=async"):
        make_environments("CartPole-v1", 2, vectorization="ray")


class Nobody:
    """Stands for a Ray that cannot be joined or begun."""

    def is_initialized(self):
        return False

    def init(self, **given):
        raise ConnectionError("Could not find any running Ray instance.\nA long story")

    def cluster_resources(self):
        return {"CPU": 4.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"address": "nowhere:6379"},
            r"at cluster.address=nowhere:6379: Could not find any running Ray instance\. Begin",
        ),
        ({}, "could not be begun on this machine: Could not find.*cluster.object_store=128 megabytes"),
    ],
)
def test_a_cluster_that_cannot_be_had_is_one_clear_message(monkeypatch, given, message):
    monkeypatch.setattr(connection, "ray", Nobody)
    with pytest.raises(UsageError, match=message):
        connection.enter(Cluster.of(given))


def test_room_is_counted_in_processors():
    few = Cluster.of({"worker_cpus": 1})
    require_room(Nobody(), 4, few)
    require_room(Nobody(), 400, replace(few, worker_cpus=0))
    with pytest.raises(UsageError, match="5 workers"):
        require_room(Nobody(), 5, few)
