"""On-policy agents are timed turn by turn with Stable-Baselines3's PPO, which has their values."""

import json

import pytest

from benchmarks.control.runs import resolve_agent
from benchmarks.ppo_speed import QUICK, THEIRS, is_on_policy, take_turns, their_model, theirs
from benchmarks.throughput import main
from engram_rl.training.errors import UsageError

SMALL = "ppo num_steps=16 minibatch_size=32 epochs=2"


def test_a_row_each_beside_the_library_with_the_same_values(tmp_path):
    pytest.importorskip("stable_baselines3", reason="needs the extra `compare`")
    out = tmp_path / "rows.jsonl"
    arguments = ["env=cartpole", "env.num_envs=4", f"agents=['{SMALL}']", "seconds=0.1", "threads=1", f"out={out}"]
    assert main(arguments) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["agent"] for row in rows] == ["sb3_ppo", SMALL]
    assert rows[0]["times_sb3"] == 1
    assert all(row["steps_per_second"] > 0 and row["rollouts"] >= 5 for row in rows)


def test_the_librarys_ppo_has_the_agents_values(monkeypatch):
    built = []
    monkeypatch.setattr("benchmarks.ppo_speed.build_model", lambda run: built.append(run.settings))
    their_model("cartpole", {"num_envs": 4}, SMALL + " discount=0.9 learning_rate=0.5")
    chosen = {"n_envs": 4, "n_steps": 16, "batch_size": 32, "n_epochs": 2, "gamma": 0.9, "learning_rate": 0.5}
    assert built[0].items() >= (chosen | {"normalize": False, "net_arch": [64, 64]}).items()


def test_the_library_has_minigrid_as_it_is_and_as_we_make_it():
    pytest.importorskip("stable_baselines3", reason="needs the extra `compare`")
    names = [entrant.name for entrant in theirs("MiniGrid-Empty-5x5-v0", {"num_envs": 2}, SMALL)]
    assert names == [THEIRS, QUICK]
    assert [entrant.steps for entrant in theirs("cartpole", {"num_envs": 2}, SMALL)] == [16 * 2]


def test_everybody_has_equally_many_turns():
    turns = []
    taken = take_turns([lambda: turns.append("a"), lambda: turns.append("b")], seconds=0)
    assert turns == ["a", "b"] * 6, "one to warm up, then five"
    assert [len(times) for times in taken] == [5, 5]


def test_on_policy_agents_are_told_from_episodic_ones():
    assert is_on_policy(resolve_agent("ppo_gru", "CartPole-v1"))
    assert not is_on_policy(resolve_agent("nec", "CartPole-v1"))
    with pytest.raises(UsageError, match="two commands"):
        main(["agents=[ppo,nec]"])
