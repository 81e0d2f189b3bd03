"""A run that is killed goes on as if it had not been, and the benchmark that says so would notice if it did not."""

import json

import numpy as np

from benchmarks.kill import KillBench, main, overrides_of
from benchmarks.same_run import differences, same
from engram_rl.training.runs.folder import RunFolder


def test_runs_that_are_killed_equal_the_one_that_is_not(tmp_path):
    out = tmp_path / "kill.jsonl"
    assert main(["agents=[mfec]", "kills=3", "steps=320", "every=80", f"out={out}"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(row["kills"] for row in rows) == 3
    assert all(row["differences"] == [] for row in rows)
    assert all(row["most_steps_lost"] <= row["interval"] + 16 for row in rows)


def test_an_agent_runs_small_in_the_environment_of_its_own_command():
    overrides = overrides_of("fast_slow", KillBench())
    assert "env=shiftwall" in overrides
    assert "agent.memory.capacity=300" in overrides
    assert not any(override.startswith("agent.learn_after") for override in overrides)


def test_a_single_bit_is_a_difference(tmp_path):
    state = {"agent": {"weights": np.zeros(3)}, "best": float("nan"), "list": [1, (2, 3)]}
    assert same(state, {"agent": {"weights": np.zeros(3)}, "best": float("nan"), "list": [1, (2, 3)]})
    assert not same(state, state | {"agent": {"weights": np.array([0, 0, -0.0])}})
    assert not same(state, state | {"list": [1, (2, 4)]})
    for name, value in (("one", 1), ("other", 2)):
        RunFolder(tmp_path / name).save_checkpoint(1, {"value": value, "seconds": value}, keep=1)
    assert differences(tmp_path / "one", tmp_path / "one") == []
    assert differences(tmp_path / "one", tmp_path / "other") == ["state"]
