"""Training with environments on workers: the run of one process, and what is refused before anything is trained."""

import sys
from dataclasses import replace

import pytest

from benchmarks.cluster.measure import state_of_agent
from benchmarks.same_run import episodes, metrics, same
from engram_rl.agents.ppo import make_ppo
from engram_rl.training.api import evaluate, train
from engram_rl.training.distributed import cluster as connection
from engram_rl.training.distributed.cluster import Cluster, require_room
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import require_turns

pytestmark = pytest.mark.filterwarnings("default")
on_ray = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here")]

SMALL = {"steps": 160, "seed": 1, "progress": False, "evaluation": {"every": 80, "episodes": 2}}
SMALL |= {"log": {"every": 40, "video": False, "memory": False, "retrieved": 0}, "checkpoint": {"every": 80}}
CARTPOLE = {"env.num_envs": 4, "agent.learn_after": 20}


@pytest.fixture(scope="module", params=[pytest.param("nec", marks=on_ray)])
def runs(request, tmp_path_factory, ray_here):
    """The same run in one process and on two workers."""
    folder = tmp_path_factory.mktemp(request.param)
    return [
        train(request.param, "cartpole", folder=folder / how, **SMALL, **CARTPOLE, **{"env.vectorization": how}, **more)
        for how, more in (("sync", {}), ("ray", {"cluster.workers": 2}))
    ]


def test_a_run_on_workers_is_the_run_of_one_process(runs):
    one, other = (run.path for run in runs)
    assert len(episodes(one)) > 2
    for part in (state_of_agent, metrics, episodes):
        assert same(part(one), part(other)), part


def test_it_goes_on_where_it_stopped_with_another_number_of_workers(runs):
    one, other = (run.path for run in runs)
    for folder, more in ((one, {}), (other, {"cluster.workers": 1})):
        train(resume=folder, steps=240, progress=False, **more)
    for part in (state_of_agent, metrics, episodes):
        assert same(part(one), part(other)), part
    assert evaluate(other, episodes=2).mean > 0


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_here")
def test_not_in_step_who_acts_for_some_is_trained_and_others_are_refused(tmp_path):
    turns = {"env.num_envs": 3, "env.vectorization": "ray", "cluster.asynchronous": True}
    run = train("mfec", "cartpole", folder=tmp_path / "run", **SMALL, **turns)
    assert sum(one["length"] for one in run.episodes()) <= run.summary["steps"] < 160 + 3
    assert all(one["return"] == one["length"] for one in run.episodes())
    made = make_environments("CartPole-v1", 2, vectorization="ray", cluster={"workers": 1, "asynchronous": True})
    agent = make_ppo(made.single_observation_space, made.single_action_space, 2, 0)
    with pytest.raises(UsageError, match=r"PPO acts for all of its environments at once.*leave cluster.asynchronous"):
        require_turns(agent, made)
    made.close()


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_here")
def test_a_cluster_without_room_says_what_is_wanted_and_what_is_there():
    with pytest.raises(UsageError, match=r"2 workers of cluster.worker_cpus=500 .*need 1000; the cluster has"):
        make_environments("CartPole-v1", 2, vectorization="ray", cluster={"worker_cpus": 500})


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
