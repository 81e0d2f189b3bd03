"""The benchmark of a step's parts: what is timed adds up, and only one thing is varied at a time."""

import json

import pytest

from benchmarks import performance
from benchmarks.provenance import complete
from benchmarks.report.performance import draw
from engram_rl.training.errors import UsageError


def run(path, *words):
    assert performance.main([f"out={path}", "steps=32", *words]) == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(complete(row) for row in rows)
    return rows


def test_the_parts_of_a_step_add_up_to_it(tmp_path, capsys):
    rows = run(tmp_path / "rows.jsonl", "only=[parts]", "agents=[mfec,ppo]")
    assert [row["agent"] for row in rows] == ["mfec", "ppo"] and "ms a step" in capsys.readouterr().out
    for row in rows:
        assert row["total_ms"] == pytest.approx(sum(row[f"{part}_ms"] for part in performance.PARTS), abs=1e-4)
        assert row["act_ms"] > 0 and row["environment_ms"] > 0


def test_one_thing_is_varied_at_a_time_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(performance, "GROWTH", {"entries": (60, 120), "actions": (2, 3)})
    monkeypatch.setattr(performance, "USUAL", performance.USUAL | {"entries": 60})
    rows = run(tmp_path / "rows.jsonl", "only=[growth]")
    assert [(row["varied"], row["entries"], row["actions"]) for row in rows] == [
        ("entries", 60, 4), ("entries", 120, 4), ("actions", 60, 2), ("actions", 60, 3),
    ]  # fmt: skip
    agents = run(tmp_path / "agents.jsonl", "only=[parts]", "agents=[mfec]")
    draw([*agents, *rows], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_what_there_is_not_to_time_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"nothing 'part' to time.*parts"):
        performance.main([f"out={tmp_path / 'x'}", "only=[part]"])
