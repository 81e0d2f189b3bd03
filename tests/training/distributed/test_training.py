"""Training with environments on workers: the run of one process, bit for bit; and not in step, where agents can."""

import pytest

from benchmarks.cluster.measure import state_of_agent
from benchmarks.same_run import episodes, metrics, same
from engram_rl.agents.ppo import make_ppo
from engram_rl.training.api import evaluate, train
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import require_turns

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here"), pytest.mark.filterwarnings("default")]

SMALL = {"steps": 160, "seed": 1, "progress": False, "evaluation": {"every": 80, "episodes": 2}}
SMALL |= {"log": {"every": 40, "video": False, "memory": False, "retrieved": 0}, "checkpoint": {"every": 80}}
CARTPOLE = {"env.num_envs": 4, "agent.learn_after": 20}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, ray_here):
    """The same run in one process and on two workers."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        train("nec", "cartpole", folder=folder / how, **SMALL, **CARTPOLE, **{"env.vectorization": how}, **more)
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


def test_a_cluster_without_room_says_what_is_wanted_and_what_is_there():
    with pytest.raises(UsageError, match=r"2 workers of cluster.worker_cpus=500 .*need 1000; the cluster has"):
        make_environments("CartPole-v1", 2, vectorization="ray", cluster={"worker_cpus": 500})
