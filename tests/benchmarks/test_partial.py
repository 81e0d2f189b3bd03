"""The benchmark of partial views: what defines a run, what it scores, and that it runs."""

import json

import numpy as np
import pytest

from benchmarks import partial
from benchmarks.partial import EPOCH, PartialBench, measure, scores, settings_of, shortened, table
from benchmarks.report.markers import KINDS
from benchmarks.report.page import _table
from benchmarks.runs import read_rows
from engram_rl.training.errors import UsageError


def test_the_measure_is_the_largest_mean_of_an_epoch():
    ended_at = [100, EPOCH, EPOCH + 1, 2 * EPOCH, 3 * EPOCH]
    found = scores([1.0, 2.0, 5.0, 6.0, -4.0], ended_at)
    assert found == {"mmer": 5.5, "last": 2.0, "solved": None, "by_epoch": [1.5, 5.5, -4.0]}
    many = np.arange(150.0)
    assert scores(many.tolist(), list(range(1, 151)))["last"] == pytest.approx(many[-100:].mean())
    assert scores([], []) == {"mmer": None, "last": None, "solved": None, "by_epoch": []}
    assert scores([0.0, 0.5, 1.0, 2.0], [1, 2, 3, 4], success_above=0.5)["solved"] == 0.5
    assert scores([0.0] * 100 + [1.0] * 100, range(1, 201), success_above=0.0)["solved"] == 1.0


def test_an_epoch_without_an_end_counts_for_nothing():
    assert scores([-3.0, -1.0], [5, 3 * EPOCH])["by_epoch"] == [-3.0, -1.0]


def test_settings_are_those_of_agent_and_core_and_what_is_given_replaces_them():
    given = settings_of("ppo discount=0.5 show_previous=true", "store capacity=64")
    assert (given["discount"], given["show_previous"], given["core"]["capacity"]) == (0.5, True, 64)
    assert given["core"]["_target_"].endswith("StoreCore") and given["hidden"] == []
    assert settings_of("ppo", "none")["recurrent"] == 0


def test_a_schedule_is_given_as_one_word_and_shown_short():
    linear = "engram_rl.agents.common.schedules.Linear"
    agent = f"ppo discount=0.9 entropy_coefficient={{_target_:{linear},start:1.0,end:0.003,steps:700000}} epochs=2"
    given = settings_of(agent, "gru")
    assert given["entropy_coefficient"] == {"_target_": linear, "start": 1.0, "end": 0.003, "steps": 700000}
    assert shortened(agent) == "ppo discount=0.9 entropy_coefficient=Linear(start:1.0,end:0.003,steps:700000) epochs=2"
    assert shortened("ppo discount=0.5") == "ppo discount=0.5"


@pytest.mark.parametrize(("agent", "core", "message"), [
    ("ppo", "drc", "There is no core 'drc'. Did you mean dnc"),
    ("ppo", "gru slots=3", "slots"),
    ("pppo", "gru", "There is no agent 'pppo'"),
])  # fmt: skip
def test_what_is_misspelt_is_refused_before_anything_runs(agent, core, message):
    with pytest.raises(UsageError, match=message):
        settings_of(agent, core)


def test_an_environment_has_arguments_of_its_own_behind_its_name_and_a_row_leads_back_to_it():
    bench = PartialBench(cores=["gru"], only=["tmaze_passive length=7 active=true"], seeds=[0], tiny=True)
    (run,) = partial._runs(bench)
    assert run.environment["kwargs"] == {"length": 7, "active": True, "penalty": None, "layout_seed": None}
    row = measure(run)
    assert 0 <= row["solved"] <= 1
    again = partial.run_of({**row, "steps": run.steps})
    assert again.environment == run.environment and again.env == run.env
    (run,) = partial._runs(PartialBench(cores=["gru"], only=["MiniGrid-MemoryS9-v0 agent_view_size=5"], seeds=[0]))
    assert run.environment["kwargs"] == {"agent_view_size": 5}
    assert partial.run_of({**row, "env": run.env, "environment": run.environment}).environment == run.environment
    wrapped = "MiniGrid-MemoryS9-v0 agent_view_size=5 wrappers=[minigrid.wrappers.OneHotPartialObsWrapper]"
    (run,) = partial._runs(PartialBench(cores=["gru"], only=[wrapped], seeds=[0]))
    (wrapper,) = run.environment["wrappers"]
    assert wrapper == {"_target_": "minigrid.wrappers.OneHotPartialObsWrapper", "_partial_": True}
    again = partial.run_of({**row, "env": run.env, "environment": run.environment, "steps": run.steps, "agent": "ppo"})
    assert again.environment == run.environment and again.key == run.key
    (run,) = partial._runs(PartialBench(cores=["gru"], only=["emptyshift_full wrappers=[]"], seeds=[0]))
    assert run.environment["wrappers"] == []
    for wrong, message in (
        ("tmaze_passive length", "is no argument with a value"),
        ("tmaze_passive =7", "is no argument with a value"),
        ("tmaze_passive length=[7", "has a value that is no number, text or list of YAML; write it as length=100"),
        ("tmaze_passive length=2024-01-01", "has a value that is no number, text or list of YAML"),
        ("tmaze_passive length=${env.x}", "refers to another value; write the value itself"),
        ("tmaze_passive length=7 length=8", "has length twice; give it once"),
        ("tmaze_passive lenght=7", "tmaze_passive.yaml names no argument 'lenght'. Did you mean length"),
        ("cartpole gravity=7", "names no argument 'gravity'. It names none. An id, CartPole-v1, takes any"),
        ("tmaze_passive wrappers=3", "are no list; write wrappers="),
        ("tmaze_passive wrappers=minigrid.wrappers.FlatObsWrapper", "are no list; write wrappers="),
        ("tmaze_passive wrappers=[3]", "3 in .* is no wrapper"),
        ("tmaze_passive wrappers=[nope]", "'nope' in .* is no wrapper"),
        ("tmaze_passive wrappers=[minigrid.wrappers.Nope]", "'minigrid.wrappers.Nope' in .* is no wrapper"),
        ("tmaze_pasive", "tmaze_passive"),
        ("", "There is no environment ''"),
    ):
        with pytest.raises(UsageError, match=message):
            list(partial._runs(PartialBench(only=[wrong])))


def test_runs_that_differ_have_other_keys_and_rows_keep_theirs(tmp_path):
    bench = PartialBench(cores=["none", "gru"], only=["RepeatPreviousEasy", "CartPole-v1"], seeds=[0, 1], tiny=True)
    runs = list(partial._runs(bench))
    assert len({run.key for run in runs}) == 8 and [run.seed for run in runs[:4]] == [0] * 4
    assert runs[0].environment["id"] == "popgym-RepeatPreviousEasy-v0" and runs[2].environment["id"] == "CartPole-v1"
    out = tmp_path / "rows.jsonl"
    out.write_text(json.dumps(measure(runs[0])) + "\n")
    (row,) = read_rows(out)
    assert row["key"] == runs[0].key
    assert row["episodes"] == 16 and -1 <= row["mmer"] <= 1


def test_it_runs_and_repeats_nothing(tmp_path, capsys, monkeypatch):
    out = tmp_path / "rows.jsonl"
    arguments = ["tiny=true", "seeds=1", "cores=[none,delta]", f"out={out}", "progress=false"]
    assert partial.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "| RepeatPreviousEasy | ppo | delta | 960 | 1 |" in shown and "MMER" in shown
    monkeypatch.setattr(partial, "measure", lambda run: pytest.fail("measured twice"))
    assert partial.main(arguments) == 0
    assert capsys.readouterr().out == shown


def test_the_table_has_a_line_for_each_environment_agent_and_core():
    row = {"env": "A", "agent": "ppo", "core": "gru", "steps": 9, "mmer": 0.5, "last": 0.25}
    row |= {"steps_per_second": 10.0, "parameters": 7, "state_bytes": 8}
    assert _table([row]) == [table([row]), ""] and KINDS["partial"]([row], ["core=gru"]) == table([row])
    lines = table([row, row | {"mmer": 0.7}, row | {"core": "dnc", "mmer": None, "last": None}]).splitlines()
    assert lines[2] == "| A | ppo | gru | 9 | 2 | 0.600 (0.100) | 0.250 (0.000) | - | 10 | 7 | 8 |"
    assert "| dnc | 9 | 1 | none ended | none ended | - |" in lines[3]


def test_what_others_have_published_stands_below_with_its_budget_and_source():
    row = {"env": "RepeatPreviousHard", "agent": "ppo", "core": "gru", "steps": 9, "mmer": 0.5, "last": 0.25}
    row |= {"steps_per_second": 10.0, "parameters": 7, "state_bytes": 8}
    other = row | {"env": "Own-v0"}
    lines = table([row, other, row | {"core": "store"}]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| RepeatPreviousHard"] * 2 + ["| Own-v0"]
    assert "| RepeatPreviousHard | LMU, best of 13 | 15000000 | 3 | 0.191 | Morad et al. 2023" in lines[-2]
    assert "| RepeatPreviousHard | SHM | 15000000 | - | -0.194 (0.099) | Le et al. 2024" in lines[-1]
    assert "published" not in table([other])
