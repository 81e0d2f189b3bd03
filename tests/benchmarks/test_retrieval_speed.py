"""The bench of what recall costs runs, and says of how many entries."""

import json

from benchmarks.retrieval_speed import main


def test_it_measures_both_sides(tmp_path):
    out = tmp_path / "rows.jsonl"
    assert main(["env=minigrid_fixed", "num_envs=2", "entries=1500", "steps=64", "rounds=1", f"out={out}"]) == 0
    recalling, plain = map(json.loads, out.read_text().splitlines())
    assert recalling["entries"] >= 1500 and plain["entries"] == 0
    assert plain["of_plain"] == 1 and recalling["steps_per_second"] > 0
