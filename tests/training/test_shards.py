"""Runs whose memory lies in shards: those of one memory, and what is refused."""

import os
import signal
from shutil import copytree

import pytest

from benchmarks.same_run import episodes, final_state, metrics, same, score
from engram_rl.memory.sharded import memory as sharded
from engram_rl.training.api import Run, evaluate, load_agent, train
from engram_rl.training.errors import UsageError

SMALL = {
    "steps": 80,
    "seed": 1,
    "progress": False,
    "evaluation": {"every": 40, "episodes": 1},
    "env.num_envs": 4,
    "agent.memory.capacity": 1000,
}
SMALL |= {
    "agent.memory.capacity": 1000,
    "log": {"every": 40, "video": False, "memory": True, "retrieved": 0},
    "checkpoint": {"every": 40},
}
OWN = {
    "nec": {"agent.learn_after": 20, "agent.n_step": 10, "env.max_episode_steps": 20},
    "mfec": {"env.max_episode_steps": 20},
    "episodic": {"env.max_episode_steps": 12, "env.vectorization": "sync"},
    "retrieval_ppo": {"env.max_episode_steps": 10, "env.vectorization": "sync", "agent.retrieval.neighbours": 4},
}
WHERE = {"nec": "cartpole", "mfec": "cartpole", "episodic": "cornergoal", "retrieval_ppo": "newgoal_searched"}


def run(agent, folder, *words, **more):
    return train(agent, WHERE[agent], *words, folder=folder, **(SMALL | OWN[agent] | more))


def curves(folder):
    """The points of the curves, but for what only shards say; of equally near entries the order may be another."""
    lacking = ("memory/lost", "memory/hit_distance")
    return [{name: value for name, value in row.items() if name not in lacking} for row in metrics(folder)]


def learned(folder):
    """What was trained."""
    agent = final_state(folder)["agent"]
    return {name: agent[name] for name in ("encoder", "optimiser", "policy", "explore") if name in agent}


def is_same(one, other):
    return all(same(part(one.path), part(other.path)) for part in (episodes, curves, learned, score))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The run of each agent with one memory, made when first asked for."""
    made = {}

    def of(agent):
        if agent not in made:
            made[agent] = run(agent, tmp_path_factory.mktemp("plain") / agent)
        return made[agent]

    return of


@pytest.mark.parametrize(("agent", "shards"), [("nec", 3), ("mfec", 2), ("episodic", 1), ("retrieval_ppo", 2)])
def test_a_run_in_shards_is_the_run_of_one_memory(plain, tmp_path, agent, shards):
    one = plain(agent)
    other = run(agent, tmp_path / "run", "shards=here", **{"agent.memory.shards": shards})
    assert len(episodes(one.path)) > 3 and is_same(one, other)
    assert all(row["memory/lost"] == 0 for row in other.metrics())
    shown = "memory_keys.tsv" if agent == "retrieval_ppo" else "memory_metadata.tsv"  # of equals others may be hit
    tables = [sorted((each.path / shown).read_text().splitlines()) for each in (one, other)]
    assert len(tables[0]) > 10 and tables[0] == tables[1]


def test_it_goes_on_with_another_number_of_shards_as_one_memory_does(plain, tmp_path):
    one = Run(copytree(plain("nec").path, tmp_path / "one"))
    other = run("nec", tmp_path / "run", "shards=here", **{"agent.memory.shards": 3})
    train(resume=one, steps=160, progress=False)
    train(resume=other, steps=160, progress=False, **{"agent.memory.shards": 2})
    assert is_same(one, other)
    assert evaluate(other, episodes=1, memory="fresh").mean == evaluate(one, episodes=1, memory="fresh").mean
    memories = load_agent(other).agent.memories
    assert memories[0].shards == 2 and len(memories) == len(load_agent(one).agent.memories)


def test_a_state_of_one_memory_is_not_one_of_shards(plain):
    given = {"agent.memory._target_": "engram_rl.memory.sharded.ShardedMemory", "steps": 200}
    with pytest.raises(UsageError, match=r"no state of a memory in shards.*begun without shards is one without"):
        train("mfec", "cartpole", "+agent.memory.where=here", resume=plain("mfec"), **given)


@pytest.mark.parametrize(
    ("agent", "values", "message"),
    [
        (
            "ppo",
            {},
            r"make_ppo makes an agent without a memory of this kind. Leave shards=... out, or choose",
        ),
        ("episodic_continuous", {}, "make_episodic_continuous makes an agent whose memory cannot lie in shards"),
        ("fast_slow", {}, "make_fast_slow makes an agent whose memory cannot lie in shards"),
        ("nec", {"+agent.memory.match_within": 0.1}, "match_within is 0.1.*does not offer.*give rows an identity"),
        ("nec", {"agent.memory.shards": 0}, "shards is 0; it must be at least 1"),
        ("nec", {"agent.memory.where": "moon"}, "unknown place of shards.*'moon': choose from here, ray"),
    ],
)
def test_what_is_not_offered_is_named_before_anything_is_trained(tmp_path, agent, values, message):
    words = [f"{name}={value}" for name, value in values.items()]
    with pytest.raises((UsageError, ValueError), match=message):
        train(agent, "cartpole", "shards=here", *words, folder=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_what_a_run_and_its_evaluations_held_is_ended(tmp_path, monkeypatch):
    held = {"begun": 0, "ended": 0}

    class Counted(sharded.Here):
        def __init__(self, settings):
            super().__init__(settings)
            held["begun"] += 1

        def close(self):
            held["ended"] += 1

    monkeypatch.setattr(sharded, "Here", Counted)
    made = run("mfec", tmp_path / "run", "shards=here")
    evaluate(made, episodes=1)
    assert held["begun"] == held["ended"] > 2 * 3


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_here")
@pytest.mark.filterwarnings("default")
def test_on_ray_it_is_the_same_run_again_and_nothing_is_left(plain, tmp_path):
    other = run("mfec", tmp_path / "run", "shards=ray", **{"agent.memory.shards": 2})
    assert is_same(plain("mfec"), other)
    from engram_rl.memory.sharded.crew import Hosts

    assert Hosts._all == {}


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_here")
@pytest.mark.filterwarnings("default")
def test_a_shard_that_is_killed_does_not_end_the_run(tmp_path):
    killed = []

    def kill(moment):
        if moment.step > 60 and not killed:
            killed.append(moment.agent.memories[0]._crew.processes()[1])
            os.kill(killed[0], signal.SIGKILL)

    with pytest.warns(RuntimeWarning, match="shard 1 of 2 died.*begun anew with .* entries from the latest checkpoint"):
        other = run("mfec", tmp_path / "run", "shards=ray", callbacks=[kill])
    assert killed and other.summary["steps"] == 80 and other.summary["memory_entries"] > 0
    assert other.metrics()[-1]["memory/lost"] > 0
