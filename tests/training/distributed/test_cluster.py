"""What is refused before Ray is begun, or where it cannot be: one message each, with what to do."""

import logging
import os
import sys
from dataclasses import FrozenInstanceError, asdict, replace

import pytest
from omegaconf import OmegaConf

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
    monkeypatch.setattr(connection, "ray", lambda needed_by: Nobody())
    with pytest.raises(UsageError, match=message):
        connection.enter(Cluster.of(given))


def test_room_is_counted_in_processors():
    few = Cluster.of({"worker_cpus": 1})
    require_room(Nobody(), 4, few)
    require_room(Nobody(), 400, replace(few, worker_cpus=0))
    with pytest.raises(UsageError, match="5 workers"):
        require_room(Nobody(), 5, few)


@pytest.mark.parametrize(
    "given",
    [
        {"workers": 1},
        {"worker_cpus": 0},
        {"restarts": 0},
        {"object_store": 80},
        {"patience": 0.01},
        {"address": "auto"},
        {"actors": 1},
        {"round": 1},
        {"staleness": 0},
    ],
)
def test_the_limits_themselves_are_taken_and_all_else_is_as_the_yaml_has_it(given):
    defaults = {"workers": None, "address": None, "worker_cpus": 0, "asynchronous": False}
    defaults |= {"patience": 300, "restarts": 3, "object_store": 128}
    defaults |= {"actors": None, "round": 128, "staleness": 1}
    assert asdict(Cluster.of(given)) == {**defaults, **given}
    assert asdict(Cluster.of()) == defaults
    with pytest.raises(FrozenInstanceError):
        Cluster.of().workers = 3


@pytest.mark.parametrize("name", ["workers", "worker_cpus", "restarts", "object_store", "patience", "actors", "round"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_what_is_no_number_of_anything_is_refused(name, value):
    with pytest.raises(UsageError, match=rf"cluster.{name} is {value}; it must be"):
        Cluster.of({name: value})


@pytest.mark.parametrize(("store", "least"), [(79, 80), (79.5, 80)])
def test_ray_takes_no_smaller_store(store, least):
    with pytest.raises(UsageError, match=f"cluster.object_store is {store}; it must be at least {least}"):
        Cluster.of({"object_store": store})


class TestHowRayIsBegun:
    def begun(self, threads, **given):
        assert connection.enter(Cluster.of(given)) is threads
        connection.leave()

    @pytest.fixture(autouse=True)
    def _kept(self, threads, monkeypatch):
        """What it was begun with stays to be looked at, and the environment is as it was afterwards."""
        threads.shutdown = lambda: None
        monkeypatch.setattr(os, "environ", {})

    @pytest.mark.parametrize(
        ("there", "given", "processors"),
        [
            (4, {}, 4),
            (None, {}, 1),
            (4, {"workers": 7}, 7),
            (4, {"workers": 3, "worker_cpus": 1.5}, 5),
            (4, {"workers": 2, "worker_cpus": 1.5}, 4),
            (1, {"worker_cpus": 2.5}, 3),
        ],
    )
    def test_on_this_machine_with_processors_for_all_workers(self, threads, monkeypatch, there, given, processors):
        monkeypatch.setattr(os, "cpu_count", lambda: there)
        self.begun(threads, **given)
        assert threads.begun == {
            "address": "local",
            "num_cpus": processors,
            "include_dashboard": False,
            "object_store_memory": 128 * 1024 * 1024,
            "log_to_driver": True,
            "logging_level": logging.ERROR,
        }

    def test_quietly_and_as_urgent_as_the_agent_unless_the_user_says_otherwise(self, threads):
        os.environ.update(RAY_worker_niceness="5")
        self.begun(threads)
        assert {name: value for name, value in os.environ.items() if name.startswith("RAY_")} == {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_worker_niceness": "5",
        }

    def test_where_an_address_is_given_it_is_joined(self, threads):
        self.begun(threads, address="head:6379", workers=3)
        assert threads.begun == {"address": "head:6379", "log_to_driver": True, "logging_level": logging.ERROR}
        assert not any(name.startswith("RAY_") for name in os.environ)


@pytest.mark.parametrize("error", [ConnectionError, RuntimeError, ValueError, OSError])
@pytest.mark.parametrize("given", [{}, {"address": "head:6379"}])
def test_why_it_cannot_be_begun_or_joined_is_said(threads, error, given):
    def init(**more):
        raise error("")

    threads.init = init
    with pytest.raises(UsageError, match=f": {error.__name__}\\. (Its logs|Begin one)"):
        connection.enter(Cluster.of(given))
    connection._users += 1
    connection.leave()
    assert threads.ended == 0


def test_room_is_counted_in_what_workers_reserve():
    require_room(Nobody(), 2, Cluster.of({"worker_cpus": 2}))
    with pytest.raises(UsageError, match=r"2 workers of .*=2\.1 processors each need 4\.2; the cluster has 4"):
        require_room(Nobody(), 2, Cluster.of({"worker_cpus": 2.1}))

    class Empty:
        def cluster_resources(self):
            return {}

    require_room(Empty(), 5, Cluster.of({}))
    with pytest.raises(UsageError, match="the cluster has 0"):
        require_room(Empty(), 1, Cluster.of({"worker_cpus": 0.5}))


class TestRayForShards:
    def run(self, target=connection.SHARDED, **memory):
        return OmegaConf.create({"agent": {"memory": {"_target_": target} | memory}, "cluster": {}})

    def test_who_has_no_shards_on_ray_needs_none(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        for config in (self.run(where="here"), self.run("my.Own", where="ray"), OmegaConf.create({"agent": {}})):
            with connection.ray_for_shards(config):
                pass

    def test_the_extra_that_is_missing_is_named_with_what_does_without(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        message = r"shards=ray needs the package ray.*pip install 'engram-rl\[cluster\]'. shards=here keeps the shards"
        with pytest.raises(UsageError, match=message), connection.ray_for_shards(self.run()):
            pass

    def test_ray_is_there_until_the_run_is_over_however_it_ends(self, monkeypatch):
        told = []
        monkeypatch.setattr(connection, "enter", lambda cluster, needed_by: told.append((cluster.patience, needed_by)))
        monkeypatch.setattr(connection, "leave", lambda: told.append("left"))
        with pytest.raises(KeyError), connection.ray_for_shards(self.run(where="ray")):
            raise KeyError
        assert told == [(300, "shards=ray"), "left"]
