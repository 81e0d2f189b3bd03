"""The throughput command times every environment, and says so if a grid family is too slow."""

import json
import sys

from benchmarks import env_throughput
from engram_rl import envs


def test_every_environment_is_timed_together_and_alone(tmp_path, monkeypatch, capsys):
    out = tmp_path / "throughput.jsonl"
    tiny = ["num_envs=4", "steps=20", "repeats=1", "single_steps=20", f"out={out}"]
    monkeypatch.setattr(sys, "argv", ["benchmark", *tiny])
    assert env_throughput.main() == 1  # four at once are far from a million steps a second
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["env"] for row in rows} == {f"engram/{name}-v0" for name in envs.SUITE}
    assert all(row["steps_per_second"] > 0 and row["single_steps_per_second"] > 0 for row in rows)
    assert "slowest grid family" in capsys.readouterr().out
