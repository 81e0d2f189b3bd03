"""The benchmarks of what one waits for: fresh interpreters, and long episodes."""

import json

from benchmarks import long_episodes, start
from benchmarks.provenance import complete


def test_the_start_is_timed_in_fresh_interpreters_and_told_against_its_limits(tmp_path, monkeypatch, capsys):
    quick = {"import torch": ["-c", "0"], "import engram_rl.memory": ["-c", "sum(range(3_000_000))"]}
    monkeypatch.setattr(start, "COMMANDS", quick | {"engram train --help": ["-c", "import json"]})
    out = tmp_path / "rows.jsonl"
    assert start.main(["rounds=1", f"out={out}"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(complete(row) for row in rows) and "holds" not in rows[0]
    assert rows[0]["of_torch"] == 1 and not rows[1]["holds"] and rows[2]["holds"]
    assert "<= 1.5 s" in capsys.readouterr().out


def test_every_step_of_a_long_episode_comes_back_timed(tmp_path):
    out = tmp_path / "rows.jsonl"
    assert long_episodes.main(["steps=300", "environments=2", f"out={out}"]) == 0
    row = json.loads(out.read_text())
    assert complete(row) and row["us_a_step"] > 0 and row["holds"] == (row["times"] <= 1.3)
