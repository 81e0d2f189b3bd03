"""Actors and a learner: the same seed gives the same run, one that was stopped too; an actor that dies costs little."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from benchmarks.same_run import episodes, final_state, metrics, same, score
from engram_rl.training.api import evaluate, train
from engram_rl.training.distributed.actor import Step, joined
from engram_rl.training.errors import UsageError

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here"), pytest.mark.filterwarnings("default")]

SMALL = {
    "seed": 1,
    "progress": False,
    "evaluation": {"every": 0, "episodes": 1},
    "log": {"every": 48, "video": False, "memory": False, "retrieved": 0},
    "checkpoint": {"every": 64},
    "env.num_envs": 4,
    "env.max_episode_steps": 15,
    "env.vectorization": "sync",
    "cluster.actors": 2,
    "cluster.round": 8,
}
OWN = {
    "nec": {"agent.learn_after": 20, "agent.n_step": 5},
    "episodic": {},
    "ppo_gru": {"agent.num_steps": 16, "agent.minibatch_size": 32},
    "retrieval_ppo": {"agent.num_steps": 8, "agent.minibatch_size": 32, "agent.retrieval.neighbours": 4},
}
WHERE = {"nec": "cartpole", "episodic": "cornergoal", "ppo_gru": "cartpole", "retrieval_ppo": "newgoal_searched"}


def run(agent, folder, steps=160, **more):
    return train(agent, WHERE[agent], folder=folder, steps=steps, **(SMALL | OWN[agent] | more))


@pytest.mark.parametrize(("agent", "staleness", "actors"), [("nec", 1, 2), ("ppo_gru", 0, 1)])
def test_a_run_that_was_stopped_goes_on_as_one_that_was_not(tmp_path, agent, staleness, actors):
    way = {"cluster.staleness": staleness, "cluster.actors": actors}
    whole = run(agent, tmp_path / "whole", **way)
    run(agent, tmp_path / "stopped", steps=76, **way)  # in the middle of a round
    with pytest.raises(UsageError, match=rf"The run was made with cluster.actors={actors}.*resume it with as many"):
        train(resume=tmp_path / "stopped", steps=160, progress=False, **{"cluster.actors": None})
    parts = train(resume=tmp_path / "stopped", steps=160, progress=False)
    assert len(whole.episodes()) >= 8 and max(row["step"] for row in whole.episodes()) <= 160
    assert all(same(part(whole.path), part(parts.path)) for part in (episodes, score, learned))
    behind = [row.get("cluster/steps_behind", 0.0) for row in metrics(whole.path)]
    assert max(behind) == 4 * 8 * staleness
    assert evaluate(whole, episodes=1).mean == evaluate(parts, episodes=1).mean


def learned(folder):
    return {name: part for name, part in final_state(folder)["agent"].items() if name not in ("explore", "generator")}


def test_an_actor_that_dies_costs_its_open_episodes_and_nothing_else(tmp_path):
    killed = []

    def kill(moment):
        if moment.step >= 60 and not killed:
            killed.append(children_named("ActorWorker")[0])
            os.kill(killed[0], signal.SIGKILL)

    made = train("nec", "cartpole", folder=tmp_path / "run", steps=200, callbacks=[kill], **(SMALL | OWN["nec"]))
    assert killed and made.summary["steps"] == 200
    lost = [row.get("cluster/lost_episodes", 0) for row in made.metrics()]
    assert lost[0] == 0 and max(lost) == 2
    assert all(one["return"] == one["length"] <= 15 for one in made.episodes())
    assert max(one["step"] for one in made.episodes()) > 120


def children_named(name):
    """Processes of this Ray that say of themselves that they are that."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if name in entry.read_bytes().decode(errors="replace"):
                found.append(int(entry.parent.name))
    return found


@pytest.mark.parametrize(
    ("words", "more", "told"),
    [
        ("agent=ppo", {"cluster.actors": 5}, r"cluster.actors is 5, but there are only 4 environments"),
        (
            "agent=ppo",
            {"env.vectorization": "async"},
            r"env.vectorization is async, but with cluster.actors",
        ),
        (
            "agent=ppo",
            {"cluster.workers": 2},
            r"cluster.workers and .* are for env.vectorization=ray",
        ),
        ("agent=ppo", {"cluster.staleness": 2}, r"cluster.staleness is 2; it is 0, .*or 1"),
        ("agent=ppo", {"cluster.round": 0}, r"cluster.round is 0; it must be at least 1"),
        ("agent=nec shards=here", {}, r"A memory in shards cannot be sent to actors"),
    ],
)
def test_what_cannot_be_on_actors_is_refused_before_anything_is_trained(tmp_path, words, more, told):
    agent, *others = words.split()
    world = "shiftwall" if "fast_slow" in agent else "cartpole"
    given = {name: one for name, one in SMALL.items() if name != "env.max_episode_steps" or world == "cartpole"}
    with pytest.raises(UsageError, match=told):
        train(agent.partition("=")[2], world, *others, folder=tmp_path / "run", steps=40, **(given | more))
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_an_exception_in_an_environment_ends_the_run_with_its_place(tmp_path):
    given = SMALL | {"env.wrappers": [{"_target_": "distant_worlds.Stuck", "_partial_": True}], "steps": 400}
    with pytest.raises(UsageError, match=r"distant_worlds.py, line \d+"):
        train("ppo", "cartpole", folder=tmp_path / "run", **given)
    assert "arm is stuck" in (tmp_path / "run" / "summary.json").read_text()


def test_infos_that_differ_are_put_side_by_side_where_they_are_numbers():
    from engram_rl.agents.agent import Transition

    def part(size, info, mask=None):
        rows, none = np.zeros((size, 2)), np.zeros(size, bool)
        return Step(Transition(rows, none * 0, none * 0.0, none, none, rows, rows, info, mask), {"seen": rows})

    infos = [
        {"a": np.ones(2), "deep": {"b": np.ones((2, 3))}},
        {"c": np.ones(1, bool), "a": np.ones((1, 4)), "deep": {}},
    ]
    whole = joined([part(2, infos[0]), part(1, infos[1], np.array([[True, False]]))])
    assert whole.transition.info["c"].tolist() == [False, False, True] and "a" not in whole.transition.info
    assert whole.transition.info["deep"]["b"].tolist() == [[1] * 3, [1] * 3, [0] * 3]
    assert whole.transition.mask.tolist() == [[True, True], [True, True], [True, False]]
    assert whole.noted["seen"].shape == (3, 2) and whole.transition.next_mask is None
