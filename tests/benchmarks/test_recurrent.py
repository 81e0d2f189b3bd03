"""The benchmark beside RecurrentPPO: that both are given the same, that it runs, and what its table says."""

import numpy as np
import pytest

from benchmarks import recurrent
from benchmarks.again import REPEATABLE
from benchmarks.provenance import complete
from benchmarks.report.markers import KINDS
from benchmarks.report.page import _table
from benchmarks.runs import read_rows
from engram_rl.training.errors import UsageError

pytest.importorskip("sb3_contrib")


def test_both_have_the_same_values():
    ours, theirs = recurrent.both("RepeatFirstEasy", 3, 64)
    own, other = ours.settings, theirs.settings
    for one, name in {
        "num_steps": "n_steps",
        "epochs": "n_epochs",
        "minibatch_size": "batch_size",
        "discount": "gamma",
        "gae_lambda": "gae_lambda",
        "learning_rate": "learning_rate",
        "clip": "clip_range",
        "entropy_coefficient": "ent_coef",
        "recurrent": "lstm_hidden_size",
        "hidden": "net_arch",
    }.items():
        assert own[one] == other[name], one
    assert (own["show_previous"], own["scale_rewards"], own["cut_at_episode_ends"]) == (False, False, True)
    assert ours.environment == theirs.environment and ours.environment["num_envs"] == other["n_envs"]
    assert own["core"]["_target_"].endswith("LSTM") and ours.key != theirs.key


def test_both_run_and_their_rows_lead_back_to_them(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    assert recurrent.main(["only=[RepeatFirstEasy]", "seeds=1", "steps=1024", f"out={out}", "progress=false"]) == 0
    shown = capsys.readouterr().out
    assert "| RepeatFirstEasy | 1024 | 1 |" in shown and "| 0.2 | - |" in shown
    rows = read_rows(out)
    assert [row["agent"].split()[0] for row in rows] == ["ppo", "sb3_recurrent_ppo"]
    for row in rows:
        assert complete(row) and row["episodes"] >= 16 and row["cpu_seconds"] > 0
        assert recurrent.run_of(row).key == row["key"]
    assert REPEATABLE["benchmarks.recurrent"] == ("benchmarks.recurrent",) * 2
    assert KINDS["recurrent"](rows, []) == recurrent.table(rows) == _table(rows)[0]


@pytest.mark.parametrize(("shift", "spread", "equal"), [(0.0, 0.01, "yes"), (0.15, 0.01, "no"), (0.0, 0.5, "no")])
def test_equal_is_an_interval_within_the_bound(shift, spread, equal):
    noise = spread * np.array([1, -1] * 5)
    rows = [
        {"env": "PositionOnlyCartPoleEasy", "agent": agent, "seed": seed, "steps": 9, "last": last, "cpu_seconds": cost}
        for agent, cost, score in (("ppo", 2.0, 0.5 + shift + noise), ("sb3_recurrent_ppo", 6.0, np.full(10, 0.5)))
        for seed, last in enumerate(score)
    ]
    line = recurrent.table(rows).splitlines()[2]
    assert line.endswith(f"| 0.1 | {equal} | 3.00 |") and f"{shift:+.3f} [" in line
    assert "| - |" in recurrent.table(rows[:9] + rows[10:19]).splitlines()[2]
    none_ended = [row | {"last": None} for row in rows[:1]]
    assert "| 9 | 9 |" in recurrent.table(none_ended + rows[1:]).splitlines()[2]


def test_a_world_whose_returns_have_no_known_range_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"only=\['CartPole-v1'\]: the range of returns is known of Position"):
        recurrent.main(["only=[CartPole-v1]", f"out={tmp_path / 'rows.jsonl'}"])
