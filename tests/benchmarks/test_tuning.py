"""The search of settings: the agent as it is first, no settings twice, the best shown first."""

import json

import pytest

from benchmarks.tuning import SPACES, drawn, main
from engram_rl.training.errors import UsageError


def test_the_first_trial_is_the_agent_as_it_is_and_none_is_twice():
    for name in SPACES:
        trials = drawn(name, 12)
        assert trials[0] == name and len(set(trials)) == len(trials) <= 12
        assert trials == drawn(name, 12)
    with pytest.raises(UsageError, match="r_max"):
        drawn("r_mx", 2)


def test_each_trial_is_one_row_over_all_tuning_runs_and_none_is_done_twice(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    small = [
        "env=shiftwall",
        "env.n=4",
        "agents=[r_max]",
        "trials=3",
        "seeds=[200]",
        "layout_seeds=[7,8]",
        "episodes=3",
    ]
    for _ in range(2):
        assert main([*small, f"out={out}", "progress=false"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 3 and all(row["layout_seeds"] == [7, 8] for row in rows)
    assert all(row["mean_steps"] == sum(row["steps_of_each"]) / 2 for row in rows)
    shown = [float(line.split("|")[3]) for line in capsys.readouterr().out.splitlines() if "r_max" in line]
    assert shown == sorted(shown[:3]) * 2
